//! PURE. From the manifest's `http` to a request out: whom to ask, `${…}` expanded and encoded, how long it may take.

use std::collections::BTreeSet;

use crate::api::duration::Duration;
use crate::api::step::{FormField, Header, Http, KeyRef, Pods, To};
use crate::effect::sealed::{Piece, Place, Sealed};
use crate::effect::{Address, Request, ServicePort};
use crate::endpoints::{pod_port, ready, whole_selector};
use crate::plan::vars::{Bit, Escape, VarError, Vars};
use crate::world::{PodView, PortView, ServiceView};

use super::{Cx, keeping};

/// A request may take this long unless its step says otherwise.
const USUAL: Duration = Duration::from_secs(10);
/// A step whose attempts have more time than this was given it on purpose.
const LONGEST_DEFAULT: Duration = Duration::from_secs(30);
/// Longest request.
const LONGEST: Duration = Duration::from_mins(5);

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRequest {
    /// What it needs may still come.
    Wait(String),
    /// Nobody is there who could answer; that may change.
    Nobody(String),
    /// It never will: names the field.
    Fail(String),
}

/// How long a request of a step may take: 10 s, or the step's own share per attempt where that is longer than usual.
pub fn timeout(step: Duration, attempts: u32) -> Duration {
    let share = Duration::from_millis(step.as_millis() / u64::from(attempts.max(1)));
    if share > LONGEST_DEFAULT { share.min(LONGEST) } else { share.min(USUAL) }
}

/// The request. `to`: where it goes when it does not say.
///
/// # Errors
/// [`NoRequest`].
pub fn build(
    cx: &Cx,
    http: &Http,
    to: To,
    timeout: Duration,
    idempotency_key: Option<String>,
) -> Result<Request, NoRequest> {
    let vars = Vars::new(cx.plan, &cx.journal.captures);
    let fail = |field: &str| {
        let field = field.to_owned();
        move |e: VarError| NoRequest::Fail(format!("http.{field}: {e}"))
    };
    let secret = keeping::secret(cx);
    let mut texts = Texts { vars: &vars, secret: &secret, sealed: vec![] };
    let mut request = Request {
        host: http.host.clone(),
        scheme: http.scheme.unwrap_or_default(),
        method: http.method.unwrap_or_default(),
        headers: texts.headers(&http.headers)?,
        headers_from: http.headers_from.clone(),
        body_from: http.body_from.as_ref().map(|b| b.secret.clone()),
        form: texts.form(&http.form)?,
        files: http.files.clone(),
        timeout,
        idempotency_key,
        ..Request::default()
    };
    if let Some(body) = &http.body {
        request.body = texts.plain(body, Escape::Json, Place::Body).map_err(fail("body"))?;
        let typed = |h: &str| h.eq_ignore_ascii_case("content-type");
        if !http.headers.iter().any(|h| typed(&h.name)) && !http.headers_from.iter().any(|h| typed(&h.name)) {
            // Bodies are escaped as JSON, so that is what they are unless the manifest says otherwise.
            request.headers.push(Header { name: "Content-Type".into(), value: "application/json".into() });
        }
    }
    if let Some(from) = &http.url_from {
        texts.sealed.push(Sealed { place: Place::Url, text: vec![Piece::Secret(from.secret.clone())] });
    }
    request.sealed = texts.sealed;
    match (&http.url, &http.path) {
        _ if http.url_from.is_some() => {}
        (Some(url), _) => request.url = Some(vars.expand(url, Escape::PathSegment).map_err(fail("url"))?),
        (None, Some(path)) => {
            request.path = vars.expand(path, Escape::PathSegment).map_err(fail("path"))?;
            request.to = match http.to.unwrap_or(to) {
                To::Target => target(cx, http)?,
                To::Live => vec![live(cx, http.service.as_deref(), http.port.as_deref())?],
            };
        }
        (None, None) => return Err(NoRequest::Fail("http: there is no path, url or urlFrom".into())),
    }
    Ok(request)
}

/// The texts of a request; those that hold what only a Secret has are put aside.
struct Texts<'a> {
    vars: &'a Vars,
    /// The run's Secret.
    secret: &'a str,
    sealed: Vec<Sealed>,
}

impl Texts<'_> {
    /// A text without secrets, expanded; one with them is sealed.
    fn plain(&mut self, text: &str, escape: Escape, place: Place) -> Result<Option<String>, VarError> {
        let bits = self.vars.bits(text, escape)?;
        if let [Bit::Text(plain)] = bits.as_slice() {
            return Ok(Some(plain.clone()));
        }
        let piece = |bit| match bit {
            Bit::Text(text) => Piece::Text(text),
            Bit::Kept(key) => Piece::Secret(KeyRef { name: self.secret.to_owned(), key }),
        };
        self.sealed.push(Sealed { place, text: bits.into_iter().map(piece).collect() });
        Ok(None)
    }

    fn headers(&mut self, list: &[Header]) -> Result<Vec<Header>, NoRequest> {
        let mut out = vec![];
        for (i, Header { name, value }) in list.iter().enumerate() {
            let value = self.plain(value, Escape::Header, Place::Header(name.clone()));
            let value = value.map_err(|e| NoRequest::Fail(format!("http.headers[{i}] {name}: {e}")))?;
            out.extend(value.map(|value| Header { name: name.clone(), value }));
        }
        Ok(out)
    }

    /// All fields in their order; the value of a sealed one is empty.
    fn form(&mut self, list: &[FormField]) -> Result<Vec<Header>, NoRequest> {
        let mut out = vec![];
        for (i, FormField { name, value, secret }) in list.iter().enumerate() {
            if let Some(key) = secret {
                self.sealed.push(Sealed { place: Place::Form(i), text: vec![Piece::Secret(key.clone())] });
            }
            let value = self.plain(value.as_deref().unwrap_or_default(), Escape::Form, Place::Form(i));
            let value = value.map_err(|e| NoRequest::Fail(format!("http.form[{i}] {name}: {e}")))?;
            out.push(Header { name: name.clone(), value: value.unwrap_or_default() });
        }
        Ok(out)
    }
}

fn target(cx: &Cx, http: &Http) -> Result<Vec<Address>, NoRequest> {
    let (name, service, port) = service_port(cx, http.service.as_deref(), http.port.as_deref())?;
    let pods = target_pods(cx, service).ok_or_else(|| NoRequest::Wait("the pods are being looked up".into()))?;
    let mut found: Vec<Address> = pods.into_iter().filter_map(|pod| address(pod, port)).collect();
    if found.is_empty() {
        let side = &cx.plan.target.name;
        return Err(NoRequest::Nobody(format!("no pod of {side} is ready behind Service {name}")));
    }
    if http.pods.unwrap_or_default() == Pods::Any {
        found.truncate(1);
    }
    Ok(found)
}

/// Ready pods that the Service would have on the target, by name; `None` while the pods are not known.
pub(crate) fn target_pods<'a>(cx: &Cx<'a>, service: &'a ServiceView) -> Option<Vec<&'a PodView>> {
    let pods = cx.world.pods.as_ref()?;
    let selector = whole_selector(&service.selector, &cx.plan.target.selector);
    let names: BTreeSet<&str> = ready(&pods.value, &selector, &service.ports).map(|p| p.name.as_str()).collect();
    let mut found: Vec<&PodView> = pods.value.iter().filter(|p| names.contains(p.name.as_str())).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Some(found)
}

/// Where a pod answers for a Service port.
pub fn address(pod: &PodView, port: &PortView) -> Option<Address> {
    Some(Address { name: pod.name.clone(), ip: pod.ip.clone()?, port: pod_port(pod, port)?, service: None })
}

/// The live Service: its own address, and what it is asked by.
///
/// # Errors
/// [`NoRequest`].
pub fn live(cx: &Cx, service: Option<&str>, port: Option<&str>) -> Result<Address, NoRequest> {
    let (name, service, port) = service_port(cx, service, port)?;
    let headless = || NoRequest::Fail(format!("Service {name} has no address of its own (headless): use http.url"));
    let ip = service.cluster_ip.clone().ok_or_else(headless)?;
    let of = ServicePort { name: name.to_owned(), port: port.name.clone() };
    Ok(Address { name: format!("service/{name}"), ip, port: port.port, service: Some(of) })
}

fn is_port(port: &PortView, wanted: &str) -> bool {
    port.name.as_deref() == Some(wanted) || wanted.parse() == Ok(port.port)
}

/// Why a port alone does not say which Service is meant: two of those that are known have it.
pub fn ambiguous_port(cx: &Cx, service: Option<&str>, port: Option<&str>) -> Option<String> {
    let port = port.filter(|_| service.is_none())?;
    let view = |name: &str| cx.world.services.get(name).and_then(|seen| seen.value.as_ref());
    let has = |name: &&String| view(name).is_some_and(|view| view.ports.iter().any(|p| is_port(p, port)));
    let mut having = cx.plan.services.iter().filter(has);
    let (one, other) = (having.next()?, having.next()?);
    Some(format!(
        "http.port: Services {one} and {other} both have port {port:?}; say service: {one} or service: {other}"
    ))
}

/// The Service that has the port, by number or name; the first port of the first Service where none is named. A port that
/// two Services have needs the Service's name.
///
/// # Errors
/// [`NoRequest`].
pub(crate) fn service_port<'a>(
    cx: &Cx<'a>,
    service: Option<&str>,
    port: Option<&str>,
) -> Result<(&'a str, &'a ServiceView, &'a PortView), NoRequest> {
    if let Some(why) = ambiguous_port(cx, service, port) {
        return Err(NoRequest::Fail(why));
    }
    let mut ports = vec![];
    let mut found: Option<(&str, &ServiceView, &PortView)> = None;
    for name in cx.plan.services.iter().filter(|name| service.is_none_or(|s| s == *name)) {
        let view = match cx.world.services.get(name) {
            None => return Err(NoRequest::Wait(format!("Service {name} is being looked up"))),
            Some(seen) => match &seen.value {
                None => return Err(NoRequest::Fail(format!("Service {name} does not exist"))),
                Some(view) => view,
            },
        };
        if view.external_name {
            return Err(NoRequest::Fail(format!("Service {name} is of type ExternalName, which is never asked")));
        }
        for p in &view.ports {
            let wanted = port.is_none_or(|w| is_port(p, w));
            if wanted {
                found.get_or_insert((name, view, p));
            }
            ports.push(p.name.as_ref().map_or_else(|| p.port.to_string(), |n| format!("{n} ({})", p.port)));
        }
    }
    if let Some(found) = found {
        return Ok(found);
    }
    let services = service.map_or_else(|| cx.plan.services.join(", "), str::to_owned);
    Err(NoRequest::Fail(match port {
        Some(port) => format!("http.port: Service {services} has no port {port:?}; it has {}", ports.join(", ")),
        None => format!("Service {services} has no ports"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, http, pod};
    use crate::world::TargetPort;
    use serde_json::json;

    const T: Duration = Duration::from_secs(10);

    fn built(f: &Fixture, h: &Http) -> Result<Request, NoRequest> {
        build(&f.cx(), h, To::Target, T, None)
    }

    #[test]
    fn any_asks_the_first_ready_pod_and_all_asks_every_one() {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-b", "green"), pod("green-a", "green"), pod("blue-a", "blue")]);
        let one = built(&f, &http(json!({"path": "/x"}))).expect("a request");
        assert_eq!(one.to, [Address { name: "green-a".into(), ip: "10.0.0.1".into(), port: 8080, service: None }]);
        let all = built(&f, &http(json!({"path": "/x", "pods": "All"}))).expect("a request");
        assert_eq!(all.to.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["green-a", "green-b"]);
    }

    #[test]
    fn nobody_ready_is_waited_for_and_a_wrong_port_is_not() {
        let mut f = Fixture::new();
        let mut unready = pod("green-a", "green");
        unready.ready = false;
        f.pods(vec![unready]);
        assert!(matches!(built(&f, &http(json!({"path": "/"}))), Err(NoRequest::Nobody(why)) if why.contains("green")));
        assert_eq!(
            built(&f, &http(json!({"path": "/", "port": "grpc"}))),
            Err(NoRequest::Fail("http.port: Service web has no port \"grpc\"; it has http (80)".into()))
        );
    }

    #[test]
    fn ports_go_by_number_or_name_and_pods_may_differ_in_theirs() {
        let mut f = Fixture::new();
        f.service("web").ports[0].target = TargetPort::Name("web".into());
        let mut named = pod("green-a", "green");
        named.ports.insert("web".into(), 9999);
        f.pods(vec![named]);
        for port in ["80", "http"] {
            let r = built(&f, &http(json!({"path": "/", "port": port}))).expect("a request");
            assert_eq!(r.to[0].port, 9999, "{port}");
        }
    }

    #[test]
    fn the_live_side_is_asked_through_the_service() {
        let f = Fixture::new();
        let r = build(&f.cx(), &http(json!({"path": "/"})), To::Live, T, None).expect("a request");
        let service = Some(ServicePort { name: "web".into(), port: Some("http".into()) });
        let live = Address { name: "service/web".into(), ip: "10.96.0.1".into(), port: 80, service };
        assert_eq!(r.to, [live]);
    }

    #[test]
    fn values_are_escaped_where_they_stand() {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green")]);
        f.journal.captures.insert("id".into(), json!("a/b\"c"));
        let r = built(
            &f,
            &http(json!({
                "method": "POST", "path": "/p/${id}", "body": "{\"id\":\"${id}\"}",
                "form": [{"name": "f", "value": "${id}"}], "headers": [{"name": "X-Id", "value": "v=${id}"}],
            })),
        )
        .expect("a request");
        assert_eq!((r.path.as_str(), r.body.as_deref()), ("/p/a%2Fb%22c", Some(r#"{"id":"a/b\"c"}"#)));
        assert_eq!((r.form[0].value.as_str(), r.headers[0].value.as_str()), ("a/b\"c", "v=a/b\"c"));
        assert_eq!(r.headers[1].value, "application/json");
        let missing = built(&f, &http(json!({"path": "/${nope}"})));
        assert!(matches!(missing, Err(NoRequest::Fail(why)) if why.starts_with("http.path: ${nope} has no value")));
    }

    #[test]
    fn a_request_takes_ten_seconds_unless_its_step_gives_more() {
        let secs = Duration::from_secs;
        for (step, attempts, wanted) in [(30, 1, 10), (5, 1, 5), (60, 1, 60), (60, 6, 10), (900, 1, 300)] {
            assert_eq!(timeout(secs(step), attempts), secs(wanted), "{step} {attempts}");
        }
    }
}
