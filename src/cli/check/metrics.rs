//! Whether the Prometheus of a Cutover answers, as far as that can be tried from outside.

use std::time::Duration;

use kube::ResourceExt;

use super::ask::{self, Answer};
use super::facts::Planned;
use super::model::Line;
use super::topics::PROMETHEUS;
use crate::api::condition::types;
use crate::api::cutover::Cutover;
use crate::api::http::Scheme;
use crate::cli::cluster::Cluster;
use crate::cli::exit::Failure;
use crate::cli::rights::Right;
use crate::plan::{Action, Plan, PlanStep, asks_prometheus};

pub(crate) const PROXY: Right = Right::wish("get", "", "services/proxy");
/// Where a source with a name of the form NAMESPACE/SERVICE is, unless the operator's configuration says otherwise.
const PORT: u16 = 9090;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A Service that is asked through the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Through {
    namespace: String,
    service: String,
    port: u16,
    tls: bool,
    /// Its port is a guess.
    guessed: bool,
}

impl Through {
    fn path(&self) -> String {
        let scheme = if self.tls { "https:" } else { "" };
        let Self { namespace, service, port, .. } = self;
        format!("/api/v1/namespaces/{namespace}/services/{scheme}{service}:{port}/proxy/api/v1/query?query=1")
    }

    fn remedy(&self) -> String {
        let Self { namespace, service, .. } = self;
        format!("kubectl get service,endpointslices -n {namespace} (and the pods behind {service})")
    }
}

/// The line about the metrics of a Cutover; none where it has no use for them.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn look(
    cluster: &Cluster,
    cutover: &Cutover,
    planned: Option<&Planned>,
) -> Result<Option<Line>, Failure> {
    let conditions = cutover.status.iter().flat_map(|s| &s.conditions);
    let blind = conditions.into_iter().find(|c| c.type_ == types::METRICS_INCONCLUSIVE && c.status == "True");
    if let Some(c) = blind {
        let message = format!("the operator gets no verdict: {}", c.message);
        return Ok(Some(Line::failed(
            PROMETHEUS,
            message,
            "look at its pods, and at the query that the message names",
        )));
    }
    let used = planned.and_then(|p| p.plan.as_ref().ok()).is_some_and(asks);
    let given = planned.map(|p| &p.spec).unwrap_or(&cutover.spec).prometheus.as_ref();
    let Some(given) = given else {
        let unknown = || {
            Line::unknown(
                PROMETHEUS,
                "the metrics come from the default of the operator's configuration, which only the operator can reach",
                "kubectl get configmap -n cutover-system (prometheus.default names it)",
            )
        };
        return Ok(used.then(unknown));
    };
    let through = match (&given.service, given.name.as_ref().and_then(|n| n.split_once('/'))) {
        (Some(of), _) => Through {
            namespace: cutover.namespace().unwrap_or_default(),
            service: of.name.clone(),
            port: of.port,
            tls: given.scheme == Some(Scheme::Https),
            guessed: false,
        },
        (None, Some((namespace, service))) => Through {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: PORT,
            tls: false,
            guessed: true,
        },
        (None, None) => {
            let what = given.url.as_ref().or(given.name.as_ref()).cloned().unwrap_or_default();
            let message = format!("whether {what} answers can only be tried by the operator");
            return Ok(Some(Line::unknown(PROMETHEUS, message, "a metric step in preflight would try it")));
        }
    };
    // A connection to pods that are gone hangs; that the API server answers was seen before.
    match tokio::time::timeout(LIMIT, ask::get(cluster, &through.path())).await {
        Ok(answer) => Ok(Some(of_answer(&through, &answer?))),
        Err(_) => Ok(Some(silent(&through))),
    }
}

fn silent(through: &Through) -> Line {
    let Through { namespace, service, port, guessed, .. } = through;
    let message = format!("Prometheus {service}:{port} in {namespace} does not answer within {} s", LIMIT.as_secs());
    match guessed {
        true => Line::unknown(PROMETHEUS, message, through.remedy()),
        false => Line::failed(PROMETHEUS, message, through.remedy()),
    }
}

/// Whether a plan asks for metrics.
fn asks(plan: &Plan) -> bool {
    let steps = plan.steps.iter().flat_map(PlanStep::parts).any(|s| matches!(s.action, Action::Metric(_)));
    steps || plan.observe.triggers.iter().any(|t| t.watches.one().is_ok_and(asks_prometheus))
}

fn of_answer(through: &Through, answer: &Answer) -> Line {
    let Through { namespace, service, port, guessed, .. } = through;
    let what = format!("Prometheus {service}:{port} in {namespace}");
    // The API server's own answer is an object of kind Status.
    let own: serde_json::Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let said = (own["kind"] == "Status").then(|| own["message"].as_str().unwrap_or_default());
    let remedy = through.remedy();
    match (answer.status, said) {
        (403, Some(_)) => Line::hidden(PROMETHEUS, what, PROXY, Some(namespace)),
        (_, Some(why)) if *guessed => Line::unknown(PROMETHEUS, format!("{what} does not answer: {why}"), remedy),
        (_, Some(why)) => Line::failed(PROMETHEUS, format!("{what} does not answer: {why}"), remedy),
        (200, None) => Line::ok(PROMETHEUS, format!("{what} answers")),
        (401 | 403, None) => {
            Line::ok(PROMETHEUS, format!("{what} answers, and asks for credentials (spec.prometheus has them)"))
        }
        (status, None) => Line::failed(PROMETHEUS, format!("{what} answers {status} to a query"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;

    fn through(guessed: bool) -> Through {
        Through { namespace: "prod".into(), service: "prometheus".into(), port: 9090, tls: false, guessed }
    }

    fn of(status: u16, text: &str, guessed: bool) -> Line {
        of_answer(&through(guessed), &Answer { status, headers: http::HeaderMap::new(), text: text.into() })
    }

    #[test]
    fn the_api_servers_own_answers_are_told_from_those_of_prometheus() {
        let status = |message: &str| format!(r#"{{"kind": "Status", "message": "{message}"}}"#);
        assert_eq!(of(200, r#"{"status": "success"}"#, false).state, State::Ok);
        let hidden = of(403, &status("cannot get resource services/proxy"), false);
        assert_eq!((hidden.state, hidden.missing.as_deref()), (State::Unknown, Some("get services/proxy")));
        assert_eq!(of(503, &status("no endpoints available"), false).state, State::Failed);
        assert_eq!(of(503, &status("no endpoints available"), true).state, State::Unknown);
        assert_eq!(of(401, "who are you", false).state, State::Ok);
        assert_eq!(of(500, "oops", false).state, State::Failed);
        assert_eq!((silent(&through(false)).state, silent(&through(true)).state), (State::Failed, State::Unknown));
        assert!(through(false).path().ends_with("/services/prometheus:9090/proxy/api/v1/query?query=1"));
    }
}
