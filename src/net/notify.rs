//! Sends a notification, and looks beforehand whether it could: Secrets are read as the Cutover's account, each request of the receiver's form is sent under the
//! address rules, and what the answers mean is said by [`crate::notify`].

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use kube::Client;
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::address::Origin;
use super::keys::{self, Source, Unread};
use super::request::{self, BODY_LIMIT, Read, Target, message, parsed, target};
use super::wire::{self, Route};
use super::{Asker, Net, outgoing};
use crate::api::Duration;
use crate::api::notify::Notify;
use crate::api::step::KeyRef;
use crate::effect::Outcome;
use crate::effect::letter::Told;
use crate::effect::protocol::Notification;
use crate::notify::{Answer, Finding, Post, Response, Secrets, form, mail, takes, usable};
use crate::world::{HttpError, HttpResponse};

/// Longest time of a notification, Secrets and all of its requests together.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest time of a look at all receivers of a Cutover.
const LOOK: Duration = Duration::from_secs(2);

/// What a look at receivers has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looked {
    /// What stands in the way of notifications.
    pub findings: Vec<Finding>,
    /// Something could not be looked at: it is neither right nor wrong.
    pub unknown: bool,
}

impl Net {
    /// Looks whether these receivers could be told of something: at their Secrets, and where their addresses are. None of them
    /// is asked anything. At most 2 s, and few looks at a time: what there is no time for is not known.
    pub(crate) async fn receivers(&self, account: &Client, namespace: &str, receivers: &[Notify]) -> Looked {
        let Some(_room) = self.inner.budget.look(namespace).await else {
            return Looked { unknown: true, ..Looked::default() };
        };
        let deadline = Instant::now() + LOOK.std();
        let each = receivers.iter().map(|receiver| self.look(account, namespace, receiver, deadline));
        let mut all = Looked::default();
        for one in futures::future::join_all(each).await {
            all.findings.extend(one.findings);
            all.unknown |= one.unknown;
        }
        all
    }

    async fn look(&self, account: &Client, namespace: &str, receiver: &Notify, deadline: Instant) -> Looked {
        let mut looked = Looked::default();
        // What is not offered is refused already, and stands in the condition Accepted.
        let Ok(receiver) = self.inner.outgoing.whole(receiver, namespace) else { return looked };
        let read = timeout_at(deadline, read(account, namespace, &receiver)).await.ok();
        let Some(read) = read.filter(|read| unanswered(read).is_none()) else {
            return Looked { unknown: true, ..looked };
        };
        let get = |key: &KeyRef| text_of(&read, key);
        let found = usable(&receiver, &Secrets(&get));
        looked.findings = found.findings;
        for (field, url) in found.urls {
            let aimed = match mail::is_mail(&url) {
                true => self.mail_server(&url, origin(&receiver), deadline).await.map(drop),
                false => self.aim(&url, origin(&receiver), deadline).await.map(drop),
            };
            match aimed {
                Ok(()) => {}
                Err(HttpError::NotSent(why)) => looked.findings.push(Finding { field, why }),
                // The cluster's own addresses are not known yet, or names are resolved slowly.
                Err(_) => looked.unknown = true,
            }
        }
        if let Some(name) = &receiver.offered {
            for Finding { field, why } in std::mem::take(&mut looked.findings) {
                tracing::warn!(receiver = name, "a receiver that is offered is of no use: {field}: {why}");
                let field = format!("spec.notify[{}].offered", receiver.name);
                let finding = Finding { field, why: unusable(name) };
                if !looked.findings.contains(&finding) {
                    looked.findings.push(finding);
                }
            }
        }
        looked
    }

    /// Sends a notification once.
    pub(crate) async fn notify(&self, asker: &Asker<'_>, it: &Notification) -> Outcome {
        if let Some(wait) = self.inner.budget.notification(asker.namespace) {
            let why = format!("namespace {} sends too many notifications (more than 120 a minute)", asker.namespace);
            let pause = Some(Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
            return Outcome::Told(Told::Not { why, pause });
        }
        let deadline = Instant::now() + LIMIT.std();
        match timeout_at(deadline, self.tell(asker, it, deadline)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(why)) => {
                // Where an offered receiver is, and what is wrong with it, is its administrator's.
                let why = match &it.receiver.offered {
                    Some(name) if self.inner.outgoing.whole(&it.receiver, asker.namespace).is_ok() => {
                        tracing::warn!(receiver = name, "a receiver that is offered was not told: {why}");
                        unusable(name)
                    }
                    _ => why,
                };
                Outcome::Told(Told::Not { why, pause: None })
            }
            Err(_) => Outcome::Told(Told::Not { why: format!("no answer within {LIMIT}"), pause: None }),
        }
    }

    async fn tell(&self, asker: &Asker<'_>, it: &Notification, deadline: Instant) -> Result<Outcome, String> {
        let receiver = self.inner.outgoing.whole(&it.receiver, asker.namespace)?;
        let form = form(&receiver).ok_or("this version knows no receiver of its kind")?;
        let read = match takes(&receiver, it.letter.event) || it.letter.again {
            true => read(asker.account, asker.namespace, &receiver).await,
            false => {
                let answer = "nothing to send".to_owned();
                return Ok(Outcome::Told(Told::Received { answer, thread: it.thread.clone() }));
            }
        };
        if let Some(why) = unanswered(&read) {
            return Err(why);
        }
        let get = |key: &KeyRef| text_of(&read, key);
        let secrets = Secrets(&get);
        let (mut answer, mut thread) = ("nothing to send".to_owned(), it.thread.clone());
        for post in form.posts(&it.letter, &secrets, it.thread.as_deref())? {
            let response = self.post(asker, &post, origin(&receiver), deadline).await?;
            let retry_after = response.headers.get("retry-after").and_then(|text| text.trim().parse().ok());
            let response = Response { status: response.status, retry_after, body: response.body.as_bytes() };
            match form.answer(&response) {
                Answer::Taken { answer: said, thread: of } => {
                    answer = said;
                    // What is sent into a thread has a name of its own, which nobody needs.
                    thread = thread.or(of);
                }
                Answer::Not { why, pause } => {
                    let pause = pause.map(|seconds| Duration::from_secs(seconds.min(3600)));
                    return Ok(Outcome::Told(Told::Not { why, pause }));
                }
            }
        }
        Ok(Outcome::Told(Told::Received { answer, thread }))
    }

    async fn post(
        &self,
        asker: &Asker<'_>,
        post: &Post,
        origin: Origin,
        deadline: Instant,
    ) -> Result<HttpResponse, String> {
        let words = |e: HttpError| match e {
            HttpError::NotSent(why) | HttpError::Unread(why) | HttpError::Lost(why) => why,
        };
        if mail::is_mail(&post.url) {
            return self.mail(asker, post, origin, deadline).await.map_err(words);
        }
        let (target, server) = self.aim(&post.url, origin, deadline).await.map_err(words)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
        for (name, value) in &post.headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| format!("header {name}: the Secret has characters that no header may have"))?;
            value.set_sensitive(post.sensitive.contains(name));
            let name: HeaderName = name.parse().map_err(|_| format!("header {name}: not the name of a header"))?;
            headers.insert(name, value);
        }
        let message = message(http::Method::POST, &target, &headers, Bytes::from(post.body.clone())).map_err(words)?;
        let route = Route {
            to: target.to,
            tls: target.tls.clone(),
            deadline,
            limit: BODY_LIMIT,
            roots: &self.inner.roots,
            namespace: asker.namespace,
            budget: &self.inner.budget,
        };
        wire::exchange_through(&route, server.as_deref(), message).await.map_err(words)
    }

    /// Where a URL is asked: at its own address, or at that of the proxy, which leads to HOST:PORT. The proxy resolves names,
    /// and says which it leads to; an address that is written out is held to the rules here, too.
    async fn aim(&self, text: &str, origin: Origin, deadline: Instant) -> Result<(Target, Option<String>), HttpError> {
        let (url, name, port) = parsed(text)?;
        let Some(proxy) = self.inner.outgoing.proxy_of(&url) else {
            return Ok((self.url(text, None, origin, deadline).await?, None));
        };
        let local = |name: &str| name == "localhost" || name.ends_with(".localhost");
        match &name {
            Host::Domain(name) if !local(name.trim_end_matches('.')) => {}
            _ => self.pin(name.clone(), origin, deadline).await.map(|_| ())?,
        }
        let at = self.pin(proxy.host.clone(), Origin::Configuration, deadline).await?;
        Ok((target(&url, None, SocketAddr::new(at, proxy.port)), Some(format!("{name}:{port}"))))
    }
}

/// Where the URLs of a receiver come from.
fn origin(receiver: &Notify) -> Origin {
    if receiver.offered.is_some() { Origin::Configuration } else { Origin::Url }
}

/// What tenants hear of an offered receiver that is not as it should be.
fn unusable(name: &str) -> String {
    format!(
        "the operator's receiver {name} cannot be told of anything now; its administrator finds why in the operator's log"
    )
}

/// The Secrets that a receiver names; those of an offered one are files of the operator.
async fn read(account: &Client, namespace: &str, receiver: &Notify) -> Read {
    match receiver.offered {
        Some(_) => outgoing::files(receiver).await,
        None => keys::read_all(account, namespace, secrets_of(receiver).into_iter().map(Source::Secret)).await,
    }
}

/// The Secrets that a receiver names.
fn secrets_of(receiver: &Notify) -> BTreeSet<String> {
    crate::notify::secrets(receiver).into_iter().map(|key| key.name.clone()).collect()
}

/// Why the API server has not said what is in the Secrets, where it has not.
fn unanswered(read: &Read) -> Option<String> {
    read.values().find_map(|found| match found {
        Err(Unread::Transient(why)) => Some(why.clone()),
        _ => None,
    })
}

/// What a key of a Secret holds.
fn text_of(read: &Read, key: &KeyRef) -> Result<String, String> {
    let source = Source::Secret(key.name.clone());
    let value = request::value(read, &source, key)?;
    String::from_utf8(value.to_vec()).map_err(|_| format!("{source}, key {}: it is no text", key.key))
}
