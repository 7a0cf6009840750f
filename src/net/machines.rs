//! The addresses of nodes and of the API server, to which no request may go (DESIGN §7): who told them, and when. While they
//! are not known, or nobody has confirmed them for long, no request of a Cutover goes anywhere: the rules are closed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, timeout_at};

use super::Net;
use super::address::{AddressRules, Origin};
use crate::world::HttpError;

/// For so long what was told is believed without another word.
const BELIEVED: Duration = Duration::from_secs(300);
/// So long a request waits for what is not known; then it says so.
const PATIENCE: Duration = Duration::from_secs(5);
/// An address that is told of no more stays forbidden for so long: the machine may still have it.
const LEAVING: Duration = Duration::from_secs(600);

/// Whose addresses are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machines {
    Nodes,
    ApiServer,
}

/// Addresses of one kind.
#[derive(Debug, Default)]
struct Told {
    /// When they were last told or confirmed.
    at: Option<Instant>,
    /// When each was last told of.
    addresses: BTreeMap<IpAddr, Instant>,
}

impl Told {
    fn hear(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let now = Instant::now();
        self.at = Some(now);
        self.addresses.extend(addresses.into_iter().map(|ip| (ip, now)));
        self.addresses.retain(|_, last| last.elapsed() < LEAVING);
    }

    /// Why nothing can be said of an address; `None`: something can.
    fn missing(&self, whose: &str, remedy: &str) -> Option<String> {
        match self.at.map(|at| at.elapsed()) {
            None => Some(format!("the addresses of {whose}, which no request may reach, are not known yet: {remedy}")),
            Some(age) if age >= BELIEVED => Some(format!(
                "the addresses of {whose}, which no request may reach, could not be read for {} s: {remedy}",
                age.as_secs()
            )),
            Some(_) => None,
        }
    }
}

/// The rules with all that was told.
#[derive(Debug)]
pub(super) struct Known {
    rules: Arc<AddressRules>,
    /// Forbidden whatever is told.
    always: Vec<IpNet>,
    nodes: Told,
    server: Told,
}

impl Known {
    pub(super) fn new(rules: AddressRules) -> Self {
        let always = rules.deny.clone();
        Self { rules: Arc::new(rules), always, nodes: Told::default(), server: Told::default() }
    }

    /// What has to be known and is not.
    fn missing(&self) -> Option<String> {
        let nodes = || self.nodes.missing("nodes", "the operator has to list and watch nodes");
        let server = "it has to read Service kubernetes in namespace default and its EndpointSlices";
        nodes().or_else(|| self.server.missing("the API server", server))
    }

    fn hear(&mut self, whose: Machines, addresses: impl IntoIterator<Item = IpAddr>) {
        match whose {
            Machines::Nodes => self.nodes.hear(addresses),
            Machines::ApiServer => self.server.hear(addresses),
        }
        let told = self.nodes.addresses.keys().chain(self.server.addresses.keys()).map(|ip| IpNet::from(*ip));
        let deny: Vec<IpNet> = self.always.iter().copied().chain(told).collect();
        let machines = self.nodes.at.is_some() && self.server.at.is_some();
        if deny != self.rules.deny || machines != self.rules.machines {
            self.rules = Arc::new(AddressRules { deny, machines, ..AddressRules::clone(&self.rules) });
        }
    }
}

impl Net {
    /// All addresses of these machines, as they are now. To be said again at least every minute, also when they are the same.
    pub(crate) fn forbid(&self, whose: Machines, addresses: impl IntoIterator<Item = IpAddr>) {
        self.inner.known.send_modify(|known| known.hear(whose, addresses));
    }

    /// The rules, once the machines of the cluster are known; waits a little for that. What the operator's
    /// own configuration names does not wait: no tenant has a say in it.
    ///
    /// # Errors
    /// [`HttpError::Unread`], with what is missing.
    pub(super) async fn rules(&self, origin: Origin, deadline: Instant) -> Result<Arc<AddressRules>, HttpError> {
        let mut known = self.inner.known.subscribe();
        let until = deadline.min(Instant::now() + PATIENCE);
        loop {
            let (rules, missing) = {
                let known = known.borrow_and_update();
                (known.rules.clone(), known.missing())
            };
            let Some(missing) = missing.filter(|_| origin != Origin::Configuration) else { return Ok(rules) };
            if !matches!(timeout_at(until, known.changed()).await, Ok(Ok(()))) {
                return Err(HttpError::Unread(missing));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net() -> Net {
        Net::new(
            AddressRules { deny: vec!["10.0.0.1/32".parse().expect("a net")], ..AddressRules::default() },
            None,
            crate::threads::Threads::start().expect("threads"),
            Default::default(),
        )
    }

    async fn soon(net: &Net, origin: Origin) -> Result<Arc<AddressRules>, HttpError> {
        net.rules(origin, Instant::now() + Duration::from_secs(1)).await
    }

    fn unread(answer: Result<Arc<AddressRules>, HttpError>) -> String {
        match answer {
            Err(HttpError::Unread(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_before_nodes_and_api_server_are_known() {
        let net = net();
        assert!(unread(soon(&net, Origin::Url).await).contains("list and watch nodes"));
        assert!(unread(soon(&net, Origin::Cluster).await).contains("addresses of nodes"));
        assert!(soon(&net, Origin::Configuration).await.is_ok(), "no tenant has a say in it");
        net.forbid(Machines::Nodes, [ip("10.0.0.2")]);
        assert!(unread(soon(&net, Origin::Url).await).contains("Service kubernetes"));
        net.forbid(Machines::ApiServer, [ip("10.0.0.3")]);
        let rules = soon(&net, Origin::Cluster).await.expect("rules");
        for known in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            assert!(rules.check(ip(known), Origin::Cluster).is_err(), "{known}");
        }
        assert!(rules.check(ip("10.0.0.4"), Origin::Cluster).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_until_they_are() {
        let net = net();
        net.forbid(Machines::ApiServer, []);
        let (asked, at) = (net.clone(), Instant::now());
        let waiting = tokio::spawn(async move { soon(&asked, Origin::Url).await.is_ok() });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished());
        net.forbid(Machines::Nodes, []);
        assert!(waiting.await.expect("an end"));
        assert_eq!(at.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_confirms_is_believed_for_a_while_and_what_has_left_is_forbidden_for_a_while() {
        let net = net();
        let confirm = |nodes: &[&str]| {
            net.forbid(Machines::Nodes, nodes.iter().map(|text| ip(text)));
            net.forbid(Machines::ApiServer, []);
        };
        confirm(&["10.0.0.2"]);
        tokio::time::advance(BELIEVED - Duration::from_secs(1)).await;
        confirm(&[]);
        let rules = soon(&net, Origin::Url).await.expect("rules");
        assert!(rules.check(ip("10.0.0.2"), Origin::Cluster).is_err(), "it may still have the address");
        tokio::time::advance(LEAVING - BELIEVED + Duration::from_secs(2)).await;
        assert!(unread(soon(&net, Origin::Url).await).contains("for 30"), "nobody has confirmed it");
        confirm(&[]);
        let rules = soon(&net, Origin::Url).await.expect("rules");
        assert!(rules.check(ip("10.0.0.2"), Origin::Cluster).is_ok(), "somebody else's by now");
        tokio::time::advance(BELIEVED).await;
        assert!(soon(&net, Origin::Configuration).await.is_ok());
    }
}
