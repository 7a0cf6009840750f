//! PURE. Ports that two Services of the Cutover have: which one a request means has to be said. Found in preflight, before
//! anything is done, since Services are not known when the plan is made.

use crate::api::step::{Http, Tls};
use crate::api::trigger::Watched;
use crate::plan::{Action, PlanStep, endpoint};

use super::Cx;
use super::request::ambiguous_port;

/// The steps and triggers whose port is not one Service's alone, and what to say there.
pub(crate) fn ambiguous(cx: &Cx) -> Vec<String> {
    let mut found = vec![];
    for step in &cx.plan.steps {
        of_step(cx, step, &mut found);
    }
    for trigger in &cx.plan.observe.triggers {
        let requests: Vec<Http> = match trigger.watches.one() {
            Ok(Watched::Probe(probe)) => vec![probe.http.clone()],
            Ok(Watched::Suite(suite)) => suite.steps.iter().map(|check| check.http.clone()).collect(),
            Ok(Watched::Metric(metric)) => metric.http.iter().map(endpoint::request).collect(),
            _ => vec![],
        };
        let refused = requests.iter().filter_map(|http| of_http(cx, http));
        found.extend(refused.map(|why| format!("trigger {}: {why}", trigger.name)));
    }
    found
}

fn of_step(cx: &Cx, step: &PlanStep, found: &mut Vec<String>) {
    let undo = step.undo.as_ref().map(|undo| &undo.action);
    for action in std::iter::once(&step.action).chain(undo) {
        let why = match action {
            Action::Http(http) => of_http(cx, http),
            Action::Tls(tls) => of_tls(cx, tls),
            Action::Suite(suite) => {
                suite.steps.iter().for_each(|inner| of_step(cx, inner, found));
                None
            }
            _ => None,
        };
        found.extend(why.map(|why| format!("step {}: {why}", step.name)));
    }
}

fn of_http(cx: &Cx, http: &Http) -> Option<String> {
    http.path.as_ref()?;
    ambiguous_port(cx, http.service.as_deref(), http.port.as_deref())
}

fn of_tls(cx: &Cx, tls: &Tls) -> Option<String> {
    tls.to?;
    ambiguous_port(cx, tls.service.as_deref(), tls.port.as_deref()).map(|why| why.replacen("http", "tls", 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, http, step};
    use crate::plan::Stage;

    #[test]
    fn a_port_of_two_services_needs_the_name_of_one() {
        let mut f = Fixture::new();
        f.plan.services.push("api".into());
        let web = f.world.services["web"].clone();
        f.world.services.insert("api".into(), web);
        let found = |f: &mut Fixture, request: serde_json::Value| {
            f.plan.steps = vec![step("smoke", Stage::Verify, Action::Http(http(request)))];
            ambiguous(&f.cx())
        };
        let said = found(&mut f, json!({"path": "/", "port": "80"}));
        assert_eq!(
            said,
            ["step smoke: http.port: Services web and api both have port \"80\"; say service: web or service: api"]
        );
        for fine in [
            json!({"path": "/", "port": "80", "service": "api"}),
            json!({"path": "/"}),
            json!({"path": "/", "port": "9999"}),
            json!({"url": "https://example.com:80/"}),
        ] {
            assert_eq!(found(&mut f, fine.clone()), Vec::<String>::new(), "{fine}");
        }
    }
}
