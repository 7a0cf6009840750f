//! The API server: its version, what it serves, and its clock.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::ask::{self, Answer};
use super::model::Line;
use super::topics::{ADMISSION_API, API_VERSION, CLOCK, SELECTABLE_FIELDS};
use crate::cli::cluster::Cluster;
use crate::cli::exit::Failure;
use crate::cli::text::time;
use crate::operator::preflight::{OLDEST, too_old};

/// By how much clocks may differ before it is said.
const APART: SignedDuration = SignedDuration::from_secs(10);
/// Where the kinds of admission policies are listed, and the schema of definitions.
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const INDEX: &str = "/openapi/v3";
const EXTENSIONS: &str = "apis/apiextensions.k8s.io/v1";

/// Looks at the API server; with the lines, its clock.
///
/// # Errors
/// It does not answer.
pub(crate) async fn look(cluster: &Cluster) -> Result<(Vec<Line>, Option<Timestamp>), Failure> {
    let version = ask::get(cluster, "/version").await?;
    let (mine, theirs) = (Timestamp::now(), version.date());
    let admission = ask::get(cluster, ADMISSION).await?;
    let schema = schema(cluster).await?;
    let lines =
        vec![of_version(&version), of_clock(mine, theirs), of_admission(&admission), of_fields(schema.as_ref())];
    Ok((lines, theirs))
}

/// The schema of definitions; none where it is not published.
async fn schema(cluster: &Cluster) -> Result<Option<Answer>, Failure> {
    let index = ask::get(cluster, INDEX).await?;
    let index: Value = serde_json::from_str(&index.text).unwrap_or_default();
    match index["paths"][EXTENSIONS]["serverRelativeURL"].as_str() {
        Some(place) => ask::get(cluster, place).await.map(Some),
        None => Ok(None),
    }
}

fn of_version(answer: &Answer) -> Line {
    let info: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let text = |key: &str| info[key].as_str().unwrap_or_default();
    let (major, minor) = (text("major"), text("minor"));
    match too_old(major, minor) {
        Some(finding) => Line::failed(API_VERSION, finding.text, "upgrade the cluster"),
        None if major.is_empty() => {
            let message = format!("the API server does not say its version (answer {})", answer.status);
            Line::unknown(API_VERSION, message, "kubectl version")
        }
        None => {
            let version = text("gitVersion").trim_start_matches('v');
            Line::ok(API_VERSION, format!("Kubernetes {version}, {}.{} or later is needed", OLDEST.0, OLDEST.1))
        }
    }
}

fn of_clock(mine: Timestamp, theirs: Option<Timestamp>) -> Line {
    let Some(theirs) = theirs else {
        return Line::unknown(CLOCK, "the API server's answers have no date", "compare it by hand: date -u");
    };
    let apart = mine.duration_since(theirs);
    match apart.abs() <= APART {
        true => Line::ok(CLOCK, "your clock and that of the API server agree"),
        false => {
            let way = if apart.is_positive() { "ahead of" } else { "behind" };
            let message = format!("your clock is {} {way} that of the API server", time::long(apart.abs()));
            Line::warning(CLOCK, message, "set your clock; times that the plugin shows are wrong by as much")
        }
    }
}

fn of_admission(answer: &Answer) -> Line {
    let served = answer.status == 200 && answer.text.contains("\"validatingadmissionpolicies\"");
    match (served, answer.status) {
        (true, _) => Line::ok(ADMISSION_API, "admission policies are served"),
        (false, 200 | 404) => Line::failed(
            ADMISSION_API,
            "the API server serves no ValidatingAdmissionPolicy of admissionregistration.k8s.io/v1",
            "take it out of --runtime-config of the API server, or use a cluster that serves it",
        ),
        (false, status) => Line::unknown(
            ADMISSION_API,
            format!("the API server does not say what it serves (answer {status})"),
            format!("kubectl get --raw {ADMISSION}"),
        ),
    }
}

fn of_fields(schema: Option<&Answer>) -> Line {
    match schema {
        Some(a) if a.status == 200 && a.text.contains("\"selectableFields\"") => {
            Line::ok(SELECTABLE_FIELDS, "definitions may name selectable fields")
        }
        Some(a) if a.status == 200 => Line::failed(
            SELECTABLE_FIELDS,
            "the API server knows no selectable fields of definitions",
            "switch on the feature CustomResourceFieldSelectors, or upgrade the cluster",
        ),
        _ => Line::unknown(
            SELECTABLE_FIELDS,
            "the API server does not publish the schema of definitions",
            format!("kubectl get --raw {INDEX}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, headers: http::HeaderMap::new(), text: text.to_owned() }
    }

    #[test]
    fn an_old_api_server_fails_and_one_that_says_nothing_is_unknown() {
        let of = |text: &str| of_version(&answer(200, text)).state;
        assert_eq!(of(r#"{"major": "1", "minor": "36", "gitVersion": "v1.36.1"}"#), State::Ok);
        assert_eq!(of(r#"{"major": "1", "minor": "32+"}"#), State::Failed);
        assert_eq!(of("<html>"), State::Unknown);
    }

    #[test]
    fn clocks_that_differ_are_told_with_the_direction() {
        let now: Timestamp = "2026-11-29T22:00:00Z".parse().expect("a time");
        let at = |seconds: i64| now + SignedDuration::from_secs(seconds);
        assert_eq!(of_clock(now, Some(at(5))).state, State::Ok);
        let behind = of_clock(now, Some(at(90)));
        assert_eq!((behind.state, behind.message.contains("1m30s behind")), (State::Warning, true), "{behind:?}");
        assert!(of_clock(now, Some(at(-90))).message.contains("ahead of"));
        assert_eq!(of_clock(now, None).state, State::Unknown);
    }

    #[test]
    fn what_is_not_served_fails() {
        assert_eq!(of_admission(&answer(200, r#"{"resources": []}"#)).state, State::Failed);
        assert_eq!(of_admission(&answer(404, "")).state, State::Failed);
        assert_eq!(of_admission(&answer(200, r#"[{"name": "validatingadmissionpolicies"}]"#)).state, State::Ok);
        assert_eq!(of_admission(&answer(403, "")).state, State::Unknown);
        assert_eq!(of_fields(Some(&answer(200, "{}"))).state, State::Failed);
        assert_eq!(of_fields(None).state, State::Unknown);
    }
}
