//! Where a Service of a Cutover's namespace leads: to one endpoint, a pod of that namespace under the address rules, which the
//! request is pinned to (DESIGN §7). What the Service's own address leads to is up to whoever writes its EndpointSlices:
//! a node, the API server, somebody else's pod. So nothing is sent there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::{Instant, timeout_at};

use super::address::{AddressRules, Origin};
use super::call::{Unanswered, answered};
use super::keys::brief;
use super::{Asker, Net};
use crate::effect::ServicePort;
use crate::world::HttpError;

/// How long an endpoint is asked without another look: a probe may ask ten times a second.
const FRESH: Duration = Duration::from_secs(1);
/// Most Services remembered; beyond it all are looked up anew.
const LIMIT: usize = 1024;
/// Most pods looked at for one request.
const TRIES: usize = 4;
/// The label by which EndpointSlices belong to a Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// What the watches of a namespace have shown of a Service.
pub(crate) struct Shown {
    pub slices: Vec<EndpointSlice>,
    /// The address of each pod that these name, as far as it is there and has one.
    pub pods: HashMap<String, IpAddr>,
}

/// The watches of namespaces, for whoever must not ask the API server each time.
pub(crate) trait Watched: Send + Sync {
    /// What they have shown; none where they have not shown everything.
    fn shown(&self, namespace: &str, service: &str) -> Option<Shown>;
}

type Key = (String, ServicePort);
/// Held by whoever looks it up, so that all who ask at once wait for one look.
type Place = Arc<tokio::sync::Mutex<Option<(SocketAddr, Instant)>>>;

/// What was found last, by namespace and Service.
#[derive(Default)]
pub(super) struct Endpoints {
    places: Mutex<HashMap<Key, Place>>,
    /// Whose turn it is, since users of a Service are spread over its pods, too.
    turn: AtomicUsize,
}

impl Endpoints {
    fn place(&self, key: Key) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= LIMIT && !places.contains_key(&key) {
            places.clear();
        }
        places.entry(key).or_default().clone()
    }
}

impl Net {
    /// The address of one pod that the Service leads to.
    ///
    /// # Errors
    /// [`HttpError::Unread`] where the API server did not answer, [`HttpError::NotSent`] where no pod is ready, or where one
    /// of its endpoints is not a pod of the namespace that may be asked.
    pub(super) async fn behind(
        &self,
        asker: &Asker<'_>,
        service: &ServicePort,
        deadline: Instant,
    ) -> Result<SocketAddr, HttpError> {
        let late = || HttpError::Unread(format!("the endpoints of Service {}: no time left", service.name));
        let rules = self.rules(Origin::Cluster, deadline).await?;
        let place = self.inner.endpoints.place((asker.namespace.to_owned(), service.clone()));
        let mut found = timeout_at(deadline, place.lock()).await.map_err(|_| late())?;
        if let Some((at, when)) = *found
            && when.elapsed() < FRESH
        {
            return Ok(at);
        }
        *found = None;
        let turn = self.inner.endpoints.turn.fetch_add(1, Ordering::Relaxed);
        let shown = asker.watched.and_then(|watched| watched.shown(asker.namespace, &service.name));
        let at = match shown.and_then(|shown| of_shown(&shown, asker.namespace, service, &rules, turn)) {
            Some(known) => known?,
            None => {
                let look = look(asker.operator, asker.namespace, service, &rules, turn);
                timeout_at(deadline, look).await.map_err(|_| late())??
            }
        };
        *found = Some((at, Instant::now()));
        Ok(at)
    }

    /// A request to what was found came to nothing: the next one looks again.
    pub(super) fn forget(&self, asker: &Asker<'_>, service: &ServicePort) {
        let mut places = self.inner.endpoints.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.remove(&(asker.namespace.to_owned(), service.clone()));
    }
}

/// One that what was shown is enough for; none where it is to be looked up, since slices and pods do not agree yet.
fn of_shown(
    shown: &Shown,
    namespace: &str,
    service: &ServicePort,
    rules: &AddressRules,
    turn: usize,
) -> Option<Result<SocketAddr, HttpError>> {
    let all = match in_turn(&shown.slices, service, namespace, rules, turn) {
        Ok(all) if all.is_empty() => return Some(Err(not_ready(service))),
        Ok(all) => all,
        Err(why) => return Some(Err(why)),
    };
    let checked = all.into_iter().find(|endpoint| shown.pods.get(&endpoint.pod) == Some(&endpoint.at.ip()));
    checked.map(|endpoint| Ok(endpoint.at))
}

/// The ready endpoints, from another one on each time.
fn in_turn(
    slices: &[EndpointSlice],
    service: &ServicePort,
    namespace: &str,
    rules: &AddressRules,
    turn: usize,
) -> Result<Vec<Endpoint>, HttpError> {
    let mut all = ready(slices, service, namespace, rules).map_err(|why| refused(service, &why))?;
    let count = all.len().max(1);
    all.rotate_left(turn % count);
    // IPv4 first, as with names.
    all.sort_by_key(|endpoint| endpoint.at.is_ipv6());
    Ok(all)
}

fn refused(service: &ServicePort, why: &str) -> HttpError {
    HttpError::NotSent(format!("Service {} may not be asked: {why}", service.name))
}

fn not_ready(service: &ServicePort) -> HttpError {
    HttpError::NotSent(format!("no endpoint of Service {} is ready", service.name))
}

async fn look(
    client: &Client,
    namespace: &str,
    service: &ServicePort,
    rules: &AddressRules,
    turn: usize,
) -> Result<SocketAddr, HttpError> {
    let name = &service.name;
    let api = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let of_service = ListParams::default().labels(&format!("{OF_SERVICE}={name}"));
    let slices = answered(api.list(&of_service)).await.map_err(|error| {
        HttpError::Unread(format!("the endpoints of Service {name} cannot be read: {}", said(&error)))
    })?;
    let all = in_turn(&slices.items, service, namespace, rules, turn)?;
    let count = all.len();
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    for endpoint in all.into_iter().take(TRIES) {
        // The right to list is enough for one pod, too.
        let of_name = ListParams::default().fields(&format!("metadata.name={}", endpoint.pod));
        let found = answered(pods.list(&of_name)).await.map_err(|error| {
            HttpError::Unread(format!("pod {} behind Service {name} cannot be read: {}", endpoint.pod, said(&error)))
        })?;
        let pod = found.items.into_iter().next();
        // One that has gone since, or has no address: its slice will follow.
        let Some(addresses) = pod.map(addresses).filter(|all| !all.is_empty()) else { continue };
        if !addresses.contains(&endpoint.at.ip()) {
            let (slice, ip, pod) = (&endpoint.slice, endpoint.at.ip(), &endpoint.pod);
            let why = format!("its EndpointSlice {slice} leads to {ip}, which is not the address of pod {pod}");
            return Err(refused(service, &why));
        }
        return Ok(endpoint.at);
    }
    Err(match count {
        0 => not_ready(service),
        _ => HttpError::NotSent(format!("the pods behind Service {name} are gone")),
    })
}

fn said(error: &Unanswered) -> String {
    match error {
        Unanswered::Error(kube::Error::Api(status)) => brief(&status.message),
        other => brief(&other.to_string()),
    }
}

fn addresses(pod: Pod) -> Vec<IpAddr> {
    let Some(status) = pod.status else { return vec![] };
    let all = status.pod_ips.into_iter().flatten().map(|ip| ip.ip).chain(status.pod_ip);
    all.filter_map(|ip| ip.parse().ok()).collect()
}

/// An endpoint that says that it is a pod.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    at: SocketAddr,
    pod: String,
    slice: String,
}

/// The ready endpoints. One that may not be asked forbids the Service: whoever made it wants to get past the check.
fn ready(
    slices: &[EndpointSlice],
    service: &ServicePort,
    namespace: &str,
    rules: &AddressRules,
) -> Result<Vec<Endpoint>, String> {
    let mut all = vec![];
    for slice in slices {
        let name = slice.metadata.name.clone().unwrap_or_default();
        let wanted = service.port.as_deref().unwrap_or_default();
        let ports = slice.ports.iter().flatten();
        let tcp = ports.filter(|p| p.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let port = tcp.filter(|p| p.name.as_deref().unwrap_or_default() == wanted).find_map(|p| p.port);
        let port = port.and_then(|port| u16::try_from(port).ok());
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            if !conditions.and_then(|c| c.ready).unwrap_or(true) {
                continue;
            }
            for address in &endpoint.addresses {
                let ip: IpAddr = address.parse().map_err(|_| format!("its EndpointSlice {name} leads to a name"))?;
                let leads = |why: &str| format!("its EndpointSlice {name} leads to {ip}, which is {why}");
                rules.check(ip, Origin::Cluster).map_err(|why| leads(&why.to_string()))?;
                let pod = endpoint.target_ref.as_ref().filter(|target| {
                    target.kind.as_deref() == Some("Pod") && target.namespace.as_deref().is_none_or(|n| n == namespace)
                });
                let pod = pod.and_then(|target| target.name.clone());
                let pod = pod.ok_or_else(|| leads("no pod of this namespace"))?;
                if let Some(port) = port {
                    all.push(Endpoint { at: SocketAddr::new(ip, port), pod, slice: name.clone() });
                }
            }
        }
    }
    all.sort_by(|a, b| (&a.pod, a.at).cmp(&(&b.pod, b.at)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::asker;
    use super::*;

    fn web() -> ServicePort {
        ServicePort { name: "web".into(), port: Some("http".into()) }
    }

    fn rules() -> AddressRules {
        AddressRules { deny: vec!["10.9.0.1/32".parse().expect("a node")], ..AddressRules::for_tests() }
    }

    fn slice(endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "web-x", "labels": {OF_SERVICE: "web"}}, "addressType": "IPv4",
            "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}, {"name": "udp", "port": 53, "protocol": "UDP"}],
        }))
        .expect("a slice")
    }

    fn endpoint(ip: &str, pod: Option<(&str, &str)>, is_ready: bool) -> Value {
        let target = pod.map(|(namespace, name)| json!({"kind": "Pod", "namespace": namespace, "name": name}));
        json!({"addresses": [ip], "conditions": {"ready": is_ready}, "targetRef": target})
    }

    fn found(endpoints: Value) -> Result<Vec<String>, String> {
        let all = ready(&[slice(endpoints)], &web(), "prod", &rules())?;
        Ok(all.into_iter().map(|e| format!("{} {}", e.pod, e.at)).collect())
    }

    #[test]
    fn only_pods_of_the_namespace_are_endpoints_of_a_service() {
        let (a, b) = (Some(("prod", "a")), Some(("prod", "b")));
        let good =
            json!([endpoint("10.0.0.2", b, true), endpoint("10.0.0.1", a, true), endpoint("10.0.0.3", a, false)]);
        assert_eq!(found(good), Ok(vec!["a 10.0.0.1:8080".to_owned(), "b 10.0.0.2:8080".to_owned()]));
        let table = [
            (endpoint("10.9.0.1", a, true), "an address of a node"),
            (endpoint("169.254.169.254", a, true), "metadata"),
            (endpoint("::ffff:169.254.169.254", a, true), "metadata"),
            (endpoint("10.0.0.7", None, true), "no pod of this namespace"),
            (endpoint("10.0.0.7", Some(("other", "a")), true), "no pod of this namespace"),
            (
                json!({"addresses": ["10.0.0.7"], "targetRef": {"kind": "Node", "name": "n"}}),
                "no pod of this namespace",
            ),
            (json!({"addresses": ["kubernetes.default.svc"], "targetRef": {"kind": "Pod", "name": "a"}}), "a name"),
        ];
        for (bad, words) in table {
            // Beside a good one, which does not make it better.
            let why = found(json!([endpoint("10.0.0.1", a, true), bad])).expect_err("refused");
            assert!(why.contains("EndpointSlice web-x leads to") && why.contains(words), "{why}");
        }
        assert_eq!(found(json!([endpoint("10.9.0.1", a, false)])), Ok(vec![]), "nobody is led there");
    }

    #[test]
    fn the_port_is_that_of_the_name() {
        let all = [slice(json!([endpoint("10.0.0.1", Some(("prod", "a")), true)]))];
        for (port, wanted) in [(Some("http"), 1), (Some("udp"), 0), (Some("other"), 0), (None, 0)] {
            let service = ServicePort { name: "web".into(), port: port.map(str::to_owned) };
            assert_eq!(ready(&all, &service, "prod", &rules()).map(|all| all.len()), Ok(wanted), "{port:?}");
        }
    }

    /// Watches that have shown this of every Service.
    struct Seen(Value, &'static [(&'static str, &'static str)]);

    impl Watched for Seen {
        fn shown(&self, _: &str, _: &str) -> Option<Shown> {
            let pods = self.1.iter().map(|(pod, ip)| ((*pod).to_owned(), ip.parse().expect("an address")));
            Some(Shown { slices: vec![slice(self.0.clone())], pods: pods.collect() })
        }
    }

    #[tokio::test]
    async fn what_the_watches_have_shown_is_checked_alike_and_asks_nobody() {
        let (a, b) = (Some(("prod", "a")), Some(("prod", "b")));
        let both = || json!([endpoint("10.0.0.1", a, true), endpoint("10.0.0.2", b, true)]);
        let node = || json!([endpoint("10.0.0.1", a, true), endpoint("10.9.0.1", b, true)]);
        let pods: &[_] = &[("a", "10.0.0.1"), ("b", "10.0.0.2")];
        // What is shown, what comes of it, and whether the API server is asked.
        let table = [
            (Seen(both(), pods), "Ok(10.0.0.1:8080)", false),
            (Seen(both(), &[("b", "10.0.0.2")]), "Ok(10.0.0.2:8080)", false),
            (Seen(json!([endpoint("10.0.0.1", a, false)]), pods), "no endpoint of Service web is ready", false),
            (Seen(node(), pods), "10.9.0.1, which is an address of a node", false),
            // A pod that has another address by now, or is not there yet: the slice is asked for again.
            (Seen(json!([endpoint("10.0.0.7", a, true)]), pods), "Ok(10.0.0.1:8080)", true),
            (Seen(json!([endpoint("10.0.0.1", a, true)]), &[]), "Ok(10.0.0.1:8080)", true),
        ];
        for (seen, words, asks) in table {
            let (client, asked) = api(json!([endpoint("10.0.0.1", a, true)]));
            let net = Net::for_tests(rules(), super::super::wire::Roots::default());
            let asker = Asker { watched: Some(&seen), ..asker(&client) };
            let found = net.behind(&asker, &web(), Instant::now() + Duration::from_secs(5)).await;
            let found = format!("{found:?}");
            assert!(found.contains(words), "{words}: {found}");
            assert_eq!(asked.load(Ordering::Relaxed) > 0, asks, "{words}");
        }
    }

    /// An API server with one slice and the pods `a` and `b`, and how often it was asked.
    fn api(endpoints: Value) -> (Client, Arc<AtomicUsize>) {
        let (body, asked) = (json!({"metadata": {}, "items": [slice(endpoints)]}), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let list = |pod: Value| (200, json!({"metadata": {}, "items": [pod]}));
            let query = request.uri().query().unwrap_or_default();
            let (code, body) = match query.rsplit("metadata.name%3D").next().unwrap_or_default() {
                _ if request.uri().path().ends_with("/endpointslices") => (200, body.clone()),
                "a" => list(json!({"metadata": {"name": "a"}, "status": {"podIPs": [{"ip": "10.0.0.1"}]}})),
                "b" => list(json!({"metadata": {"name": "b"}, "status": {"podIP": "10.0.0.2"}})),
                "busy" => (503, json!({"kind": "Status", "status": "Failure", "code": 503, "message": "busy"})),
                _ => (200, json!({"metadata": {}, "items": []})),
            };
            let body = kube::client::Body::from(serde_json::to_vec(&body).unwrap_or_default());
            std::future::ready(http::Response::builder().status(code).body(body))
        });
        (Client::new(service, "prod"), asked)
    }

    async fn ask(net: &Net, client: &Client) -> Result<String, HttpError> {
        let at = net.behind(&asker(client), &web(), Instant::now() + Duration::from_secs(5)).await;
        at.map(|at| at.to_string())
    }

    fn net() -> Net {
        Net::for_tests(rules(), super::super::wire::Roots::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_goes_to_a_pod_that_has_the_address() {
        let (client, asked) = api(json!([endpoint("10.0.0.1", Some(("prod", "a")), true)]));
        let net = net();
        assert_eq!(ask(&net, &client).await, Ok("10.0.0.1:8080".into()));
        assert_eq!(ask(&net, &client).await, Ok("10.0.0.1:8080".into()));
        assert_eq!(asked.load(Ordering::Relaxed), 2, "slices and pod, once");
        tokio::time::advance(FRESH).await;
        assert_eq!(ask(&net, &client).await, Ok("10.0.0.1:8080".into()));
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        net.forget(&asker(&client), &web());
        assert_eq!(ask(&net, &client).await, Ok("10.0.0.1:8080".into()));
        assert_eq!(asked.load(Ordering::Relaxed), 6, "what came to nothing is looked up again");
    }

    #[tokio::test]
    async fn what_a_slice_says_of_a_pod_is_not_believed() {
        for (pod, ip, words) in [
            ("a", "10.0.0.2", "10.0.0.2, which is not the address of pod a"),
            ("gone", "10.0.0.1", "are gone"),
            ("busy", "10.0.0.1", "busy"),
        ] {
            let (client, _) = api(json!([endpoint(ip, Some(("prod", pod)), true)]));
            let why = ask(&net(), &client).await.expect_err(words);
            let unread = matches!(&why, HttpError::Unread(_));
            let (HttpError::NotSent(text) | HttpError::Unread(text) | HttpError::Lost(text)) = why;
            assert!(text.contains(words) && unread == (pod == "busy"), "{text}");
        }
        let (client, _) = api(json!([]));
        assert_eq!(ask(&net(), &client).await, Err(HttpError::NotSent("no endpoint of Service web is ready".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_over_the_pods() {
        let all =
            json!([endpoint("10.0.0.1", Some(("prod", "a")), true), endpoint("10.0.0.2", Some(("prod", "b")), true)]);
        let (client, _) = api(all);
        let net = net();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            seen.extend(ask(&net, &client).await);
            tokio::time::advance(FRESH).await;
        }
        assert_eq!(seen.len(), 2, "{seen:?}");
    }
}
