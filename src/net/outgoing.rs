//! What the operator's configuration says of notifications: the receivers that it offers by name, and the proxy through which
//! requests leave. Files with secrets are read each time, since they are replaced while the operator runs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kube::core::ObjectMeta;
use url::{Host, Url};

use super::keys::{Data, Source};
use super::request::Read;
use super::sources::read_live;
use crate::api::notify::Notify;
use crate::api::step::KeyRef;

/// Names that are of the cluster itself, which no proxy knows.
const IN_CLUSTER: [&str; 2] = [".svc", ".cluster.local"];

/// A receiver that is offered. Each of its secrets is a file: the name of a [`KeyRef`] is its folder, the key its name, so that
/// a mounted Secret is read as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Its kind, and nothing else of it.
    pub receiver: Notify,
    /// The namespaces whose Cutovers may name it; `None`: all.
    pub namespaces: Option<BTreeSet<String>>,
}

/// A proxy that takes CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub host: Host<String>,
    pub port: u16,
    /// Ends of names that are asked without it.
    pub direct: Vec<String>,
}

/// All of it. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outgoing {
    offers: Arc<BTreeMap<String, Offer>>,
    proxy: Option<Arc<Proxy>>,
}

impl Outgoing {
    pub(crate) fn new(offers: BTreeMap<String, Offer>, proxy: Option<Proxy>) -> Self {
        Self { offers: Arc::new(offers), proxy: proxy.map(Arc::new) }
    }

    /// All that are offered, in the order of their names.
    pub(crate) fn offers(&self) -> impl Iterator<Item = (&String, &Offer)> {
        self.offers.iter()
    }

    /// A receiver with its kind: its own, or that of the one which it names. Whatever else a Cutover says of that one does not
    /// count.
    ///
    /// # Errors
    /// There is none of this name for the namespace: a run outlives the configuration that it began with.
    pub(super) fn whole<'a>(&self, receiver: &'a Notify, namespace: &str) -> Result<Cow<'a, Notify>, String> {
        let Some(name) = &receiver.offered else { return Ok(Cow::Borrowed(receiver)) };
        let offered = |offer: &&Offer| offer.namespaces.as_ref().is_none_or(|only| only.contains(namespace));
        let Some(offer) = self.offers.get(name).filter(offered) else {
            return Err(format!(
                "the operator's configuration has no receiver {name:?} for namespace {namespace} any more"
            ));
        };
        Ok(Cow::Owned(Notify {
            name: receiver.name.clone(),
            offered: receiver.offered.clone(),
            events: receiver.events.clone(),
            remind_every: receiver.remind_every,
            texts: receiver.texts.clone(),
            ..offer.receiver.clone()
        }))
    }

    /// The proxy that a URL is asked through: as the variable HTTPS_PROXY has it, those of https alone, and none of the cluster.
    pub(super) fn proxy_of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = self.proxy.as_deref().filter(|_| url.scheme() == "https")?;
        let name = url.host_str()?.trim_end_matches('.');
        let ends = |end: &str| name.ends_with(end) || name == end.trim_start_matches('.');
        let direct = IN_CLUSTER.iter().any(|end| ends(end)) || proxy.direct.iter().any(|end| ends(end));
        (!direct).then_some(proxy)
    }
}

/// Where a file is kept, as a key of a Secret.
///
/// # Errors
/// It is no whole path.
pub(crate) fn key_of(file: &Path) -> Result<KeyRef, String> {
    let parts = file.parent().and_then(Path::to_str).zip(file.file_name().and_then(|name| name.to_str()));
    let (folder, name) = parts
        .filter(|_| file.is_absolute())
        .ok_or_else(|| format!("{} is not a whole path of a file; begin it with /", file.display()))?;
    Ok(KeyRef { name: folder.to_owned(), key: name.to_owned() })
}

/// Reads the files of an offered receiver. One that cannot be read is as a key that is not there; why is told to the log.
pub(super) async fn files(receiver: &Notify) -> Read {
    let mut read = Read::new();
    let keys = crate::notify::secrets(receiver);
    let beside = keys.iter().map(|key| KeyRef { name: key.name.clone(), key: "api-url".into() });
    let all: Vec<(KeyRef, bool)> =
        keys.iter().map(|key| ((*key).clone(), true)).chain(beside.map(|key| (key, false))).collect();
    for (key, needed) in all {
        let path = PathBuf::from(&key.name).join(&key.key);
        let data = read
            .entry(Source::Secret(key.name))
            .or_insert_with(|| Ok(Data { values: BTreeMap::new(), metadata: ObjectMeta::default() }));
        match (read_live("the file", &path).await, data) {
            (Ok(content), Ok(data)) => drop(data.values.insert(key.key, Bytes::from(content))),
            (Err(why), _) if needed => tracing::warn!("{why}"),
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receiver(value: serde_json::Value) -> Notify {
        serde_json::from_value(value).expect("a receiver")
    }

    fn outgoing() -> Outgoing {
        let secret = json!({"name": "/etc/secrets/pager", "key": "key"});
        let offer = |only: Option<&str>| Offer {
            receiver: receiver(json!({"name": "", "pagerDuty": {"secret": secret}})),
            namespaces: only.map(|ns| [ns.to_owned()].into()),
        };
        let offers = [("all".to_owned(), offer(None)), ("shop".to_owned(), offer(Some("shop")))].into();
        let host = Host::Domain("proxy.example".to_owned());
        Outgoing::new(offers, Some(Proxy { host, port: 3128, direct: vec![".corp.example".into()] }))
    }

    #[test]
    fn what_a_cutover_says_of_an_offered_receiver_counts_for_words_and_never_for_its_secret() {
        let own = json!({"secret": {"name": "/etc/passwd", "key": "x"}});
        let given = receiver(json!({"name": "mine", "offered": "all", "teams": own, "texts": {"Default": "t"}}));
        let all = outgoing();
        let whole = all.whole(&given, "prod").expect("offered to all");
        assert_eq!((whole.name.as_str(), whole.texts.len(), &whole.teams), ("mine", 1, &None));
        assert_eq!(whole.pager_duty.as_ref().map(|to| to.secret.name.as_str()), Some("/etc/secrets/pager"));
        let shop = receiver(json!({"name": "mine", "offered": "shop"}));
        assert!(all.whole(&shop, "shop").is_ok());
        let why = all.whole(&shop, "prod").expect_err("it is not for prod");
        assert!(why.contains("no receiver \"shop\" for namespace prod"), "{why}");
        let plain = receiver(json!({"name": "own", "teams": own}));
        assert_eq!(all.whole(&plain, "prod").expect("its own").as_ref(), &plain);
    }

    #[test]
    fn https_goes_through_the_proxy_and_what_is_of_the_cluster_does_not() {
        let all = outgoing();
        let through = |url: &str| all.proxy_of(&Url::parse(url).expect("a URL")).is_some();
        assert!(through("https://hooks.example/x") && through("https://8.8.8.8/"));
        for direct in [
            "http://hooks.example/",
            "https://alerts.monitoring.svc/",
            "https://alerts.monitoring.svc.cluster.local./",
            "https://a.corp.example/",
            "https://corp.example/",
        ] {
            assert!(!through(direct), "{direct}");
        }
        assert!(through("https://notcorp.example/"));
        assert!(Outgoing::default().proxy_of(&Url::parse("https://a.example/").expect("a URL")).is_none());
    }

    #[test]
    fn a_file_is_a_key_of_its_folder() {
        let key = key_of(Path::new("/etc/cutover/secrets/pager/routing-key")).expect("a file");
        assert_eq!((key.name.as_str(), key.key.as_str()), ("/etc/cutover/secrets/pager", "routing-key"));
        for wrong in ["routing-key", "", "/"] {
            assert!(key_of(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
