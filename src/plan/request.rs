//! PURE. Requests: what is filled in and what is refused before anything is ever sent.

use std::collections::BTreeSet;

use http::Uri;
use http::header::HeaderName;

use crate::api::cutover::ServiceRef;
use crate::api::step::{HeaderFrom, Http, Method, Pods, To};

use super::refuse::Refusals;
use super::secrets;

/// Headers that the sender sets itself.
const OWN_HEADERS: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

/// What is special about where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestPlace<'a> {
    /// Where it goes when it does not say.
    pub to: To,
    /// The Services of the Cutover.
    pub services: &'a [ServiceRef],
    /// Nothing may be changed here (preflight).
    pub(crate) read_only: bool,
    /// It is sent again and again (a trigger).
    pub repeated: bool,
}

/// The request with its defaults filled in.
pub(super) fn resolve(http: &Http, place: RequestPlace<'_>, at: &str, refusals: &mut Refusals) -> Http {
    let mut out = http.clone();
    let method = http.method.unwrap_or_default();
    out.method = Some(method);
    address(&mut out, place, at, refusals);
    method_and_body(http, method, place, at, refusals);
    headers(http, at, refusals);
    for (i, capture) in http.capture.iter().enumerate() {
        secrets::check_capture(capture, &format!("{at}.capture[{i}]"), refusals);
    }
    for (i, field) in http.form.iter().enumerate() {
        refusals.require(
            field.value.is_some() != field.secret.is_some(),
            format!("{at}.form[{i}]"),
            "a form field has either value or secret",
            "give exactly one of them",
        );
    }
    let all = http.pods == Some(Pods::All);
    refusals.require(
        !all || http.capture.is_empty(),
        format!("{at}.capture"),
        "with pods: All it is not clear from which pod to capture",
        "capture in a request of its own, without pods: All",
    );
    refusals.require(
        !place.repeated || http.capture.is_empty(),
        format!("{at}.capture"),
        "a trigger captures nothing",
        "capture in a step",
    );
    out
}

fn address(out: &mut Http, place: RequestPlace<'_>, at: &str, refusals: &mut Refusals) {
    match (&out.path, &out.url, &out.url_from) {
        (Some(path), None, None) => {
            check_path(path, &format!("{at}.path"), refusals);
            let to = *out.to.get_or_insert(place.to);
            out.scheme.get_or_insert_default();
            if to == To::Target {
                out.pods.get_or_insert_default();
            } else {
                refusals.require(
                    out.pods.is_none(),
                    format!("{at}.pods"),
                    "a request through the live Service cannot choose pods",
                    "say to: Target, or leave pods out",
                );
            }
        }
        (None, url @ Some(_), None) | (None, url @ None, Some(_)) => {
            if let Some(url) = url {
                check_url(url, &format!("{at}.url"), refusals);
            }
            let given = [
                ("to", out.to.is_some()),
                ("service", out.service.is_some()),
                ("port", out.port.is_some()),
                ("scheme", out.scheme.is_some()),
                ("pods", out.pods.is_some()),
            ];
            for (name, _) in given.into_iter().filter(|(_, given)| *given) {
                refusals.add(
                    format!("{at}.{name}"),
                    "a url says this itself",
                    format!("leave {name} out, or use path"),
                );
            }
        }
        _ => refusals.add(at, "http has one of path, url and urlFrom", "give exactly one of them"),
    }
    check_service(out.service.as_deref(), place.services, &format!("{at}.service"), refusals);
    if let Some(port) = &out.port {
        let number = port.parse::<u16>().is_ok_and(|p| p > 0);
        let name = port.len() <= 15
            && port.chars().any(|c| c.is_ascii_lowercase())
            && port.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        refusals.require(
            number || name,
            format!("{at}.port"),
            format!("{port:?} is neither a port nor the name of one"),
            "give a number from 1 to 65535, or the name of the Service's port",
        );
    }
    if let Some(host) = &out.host {
        refusals.require(
            !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'),
            format!("{at}.host"),
            format!("{host:?} is not a host name"),
            "give a name only, without port, scheme or variables",
        );
    }
}

/// Refuses a Service that the Cutover does not switch.
pub(super) fn check_service(service: Option<&str>, known: &[ServiceRef], field: &str, refusals: &mut Refusals) {
    let Some(service) = service else { return };
    let names: Vec<&str> = known.iter().map(|s| s.name.as_str()).collect();
    refusals.require(
        names.contains(&service),
        field,
        format!("{service:?} is not a Service of this Cutover"),
        format!("name one of {}, or use url", names.join(", ")),
    );
}

fn method_and_body(http: &Http, method: Method, place: RequestPlace<'_>, at: &str, refusals: &mut Refusals) {
    let bodies = [
        ("body", http.body.is_some()),
        ("bodyFrom", http.body_from.is_some()),
        ("form", !http.form.is_empty() || !http.files.is_empty()),
    ];
    let given: Vec<_> = bodies.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    refusals.require(given.len() <= 1, at, format!("there is more than one body: {}", given.join(", ")), "keep one");
    if let (Some(name), Method::Get | Method::Head) = (given.first(), method) {
        refusals.add(format!("{at}.{name}"), "GET and HEAD carry no body", "say method: POST, or leave the body out");
    }
    for (i, file) in http.files.iter().enumerate() {
        refusals.require(
            file.config_map.is_some() != file.secret.is_some(),
            format!("{at}.files[{i}]"),
            "a file comes from either configMap or secret",
            "give exactly one of them",
        );
        refusals.require(
            !file.name.chars().chain(file.filename.chars()).any(char::is_control)
                && file.content_type.as_ref().is_none_or(|t| t.contains('/') && !t.chars().any(char::is_control)),
            format!("{at}.files[{i}]"),
            "name, filename or contentType holds a control character, or contentType is no media type",
            "write plain text, and a contentType such as text/csv",
        );
    }
    let changes = !method.is_safe();
    refusals.require(
        !(changes && place.read_only),
        format!("{at}.method"),
        "preflight only reads",
        "move the step to prepare or verify, or use GET, HEAD or OPTIONS",
    );
    refusals.require(
        !(changes && place.repeated && !http.idempotent),
        format!("{at}.method"),
        "a probe is sent again and again",
        "use GET, HEAD or OPTIONS, or say idempotent: true",
    );
    refusals.require(
        !(changes && http.pods == Some(Pods::All) && !http.idempotent),
        format!("{at}.pods"),
        "a request that may change something would be sent to every pod",
        "use pods: Any, or say idempotent: true",
    );
}

fn headers(http: &Http, at: &str, refusals: &mut Refusals) {
    let mut seen = BTreeSet::new();
    let mut name = |name: &str, field: String, refusals: &mut Refusals| {
        let lower = name.to_ascii_lowercase();
        refusals.require(
            HeaderName::from_bytes(name.as_bytes()).is_ok(),
            &field,
            format!("{name:?} is not the name of a header"),
            "use letters, digits and dashes",
        );
        refusals.require(
            !OWN_HEADERS.contains(&lower.as_str()),
            &field,
            format!("{name} is set by the operator itself"),
            "leave it out; the field host sets the Host header",
        );
        refusals.require(seen.insert(lower), field, format!("the header {name} is given twice"), "give it once");
    };
    for (i, header) in http.headers.iter().enumerate() {
        name(&header.name, format!("{at}.headers[{i}].name"), refusals);
        printable(&header.value, format!("{at}.headers[{i}].value"), refusals);
    }
    for (i, header) in http.headers_from.iter().enumerate() {
        name(&header.name, format!("{at}.headersFrom[{i}].name"), refusals);
        printable(header.prefix.as_deref().unwrap_or_default(), format!("{at}.headersFrom[{i}].prefix"), refusals);
    }
}

fn printable(text: &str, field: String, refusals: &mut Refusals) {
    refusals.require(
        text.bytes().all(|b| (0x20..0x7f).contains(&b)),
        field,
        "the value holds a line break or another character that headers cannot carry",
        "use printable ASCII",
    );
}

/// The headers of `prometheus`.
pub(super) fn check_headers_from(list: &[HeaderFrom], at: &str, refusals: &mut Refusals) {
    headers(&Http { headers_from: list.to_vec(), ..Http::default() }, at, refusals);
}

fn check_path(path: &str, field: &str, refusals: &mut Refusals) {
    let plain = without_variables(path);
    let legal = plain.starts_with('/')
        && !plain.starts_with("//")
        && !plain.contains(['#', '\\'])
        && plain.parse::<Uri>().is_ok_and(|u| u.host().is_none());
    refusals.require(
        legal,
        field,
        format!("{path:?} is not a path"),
        "begin with one /, percent-encode what is special, leave out #",
    );
}

/// Refuses a URL that is none, that holds credentials, or whose host could be changed by a variable.
pub(super) fn check_url(url: &str, field: &str, refusals: &mut Refusals) {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        refusals.add(field, "the URL begins with neither http:// nor https://", "give a whole URL");
        return;
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('$') {
        refusals.add(
            field,
            "a variable stands in the host of the URL",
            "write the host out; variables may stand in path and query",
        );
    } else if authority.contains('@') {
        refusals.add(field, "the URL holds credentials", "put them into headersFrom, from a Secret");
    } else {
        let parsed = without_variables(url).parse::<Uri>().ok();
        let legal = parsed.is_some_and(|u| u.host().is_some_and(|h| !h.is_empty()) && port_is_legal(&u));
        refusals.require(
            legal && !url.contains(['#', '\\']),
            field,
            "this is not a URL",
            "give a scheme, host and path, percent-encoded, without #",
        );
    }
}

/// A port that is written must be one: the parser drops those that are not.
fn port_is_legal(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    let text = authority.as_str();
    let after_host = text.rsplit(']').next().unwrap_or(text);
    match after_host.rsplit_once(':') {
        None => true,
        Some((_, port)) => port.parse::<u16>().is_ok_and(|p| p > 0),
    }
}

/// The text with every `${…}` replaced by a letter, to look at its structure.
fn without_variables(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before.strip_suffix('$').unwrap_or(before));
        out.push('x');
        rest = after.split_once('}').map_or("", |(_, tail)| tail);
    }
    out.push_str(rest);
    out
}
