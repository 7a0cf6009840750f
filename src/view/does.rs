//! What a step does, as its plan has it: the command of a Job, the request, the query. Values of headers, bodies and
//! environments are left out: they may be nobody's business.

use crate::api::step::{Http, To};
use crate::journal::trail;
use crate::plan::Action;

/// The command, request or query of an action; none where its kind says all of it.
pub fn does(action: &Action) -> Option<String> {
    let text = match action {
        Action::Job(job) => words(job.command.iter().chain(&job.args).map(String::as_str))
            .or_else(|| of_template(job.template.as_ref()?))?,
        Action::Http(http) => request(http),
        Action::Tls(tls) => match (&tls.url, &tls.server_name) {
            (Some(url), _) => bare(url),
            (None, name) => name.clone()?,
        },
        Action::Metric(metric) => metric.query.clone(),
        Action::Logs(logs) => format!("lines that match {}", logs.matches),
        Action::Scale(scale) => format!("{} replicas each", scale.replicas),
        Action::Resource(of) => format!("{} {}: {}", of.kind, of.name, of.expect.join(" and ")),
        Action::Wait(wait) => format!("{}", wait.for_),
        _ => return None,
    };
    Some(text)
}

/// `GET http target /health`.
fn request(http: &Http) -> String {
    let method = format!("{:?}", http.method.unwrap_or_default()).to_uppercase();
    let to = match http.to {
        Some(To::Target) => "target ",
        Some(To::Live) => "live ",
        None => "",
    };
    let address = http.url.as_deref().or(http.path.as_deref()).unwrap_or_default();
    format!("{method} {to}{}", bare(address))
}

/// An address without what stands before its host as a credential, and without its query's values.
fn bare(address: &str) -> String {
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    let path = trail::command(std::iter::once(path)).concat();
    let named = |pair: &str| pair.split_once('=').map_or(pair.to_owned(), |(name, _)| format!("{name}=…"));
    match query {
        Some(query) => format!("{path}?{}", query.split('&').map(named).collect::<Vec<_>>().join("&")),
        None => path,
    }
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    Some(trail::command(words).join(" ")).filter(|text| !text.is_empty())
}

/// The command of the first container of a pod template.
fn of_template(template: &serde_json::Value) -> Option<String> {
    let container = template["spec"]["containers"].get(0)?;
    let list = |field: &str| container[field].as_array().into_iter().flatten().filter_map(|w| w.as_str());
    words(list("command").chain(list("args")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_credential_stands_in_what_a_step_does() {
        let of = |kind: &str, action: serde_json::Value| {
            does(&serde_json::from_value(json!({kind: action})).expect("an action")).unwrap_or_default()
        };
        let url = "https://joe:hunter2@shop.example/pay?token=hunter2&page=1";
        assert_eq!(of("http", json!({"method": "POST", "url": url})), "POST https://…@shop.example/pay?token=…&page=…");
        assert_eq!(of("http", json!({"path": "/health", "to": "Target"})), "GET target /health");
        let job = json!({"command": ["tool", "--password=hunter2"], "args": ["go"]});
        assert_eq!(of("job", job), "tool --password=… go");
    }
}
