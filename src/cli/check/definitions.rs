//! The definitions: served, of this version, stored in it alone.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::model::Line;
use super::topics::{CRD_STORED_VERSIONS, CRD_VERSION, Topic};
use crate::api::{GROUP, VERSION};
use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::rights::Right;
use crate::operator::preflight::{Finding, schema};

pub(crate) const CRDS: Right = Right::wish("get", "apiextensions.k8s.io", "customresourcedefinitions");
/// The definitions, by their plurals.
pub(crate) const PLURALS: [&str; 5] =
    ["cutovers", "cutoverruns", "cutoverdecisions", "cutovertemplates", "clustercutovertemplates"];
const APPLY: &str = "kubectl apply --server-side -k crds (or upgrade the chart)";

/// Looks at them.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn look(cluster: &Cluster) -> Result<Vec<Line>, Failure> {
    let mut lines = served(schema::Check::default().look(&cluster.client()).await.map_err(|e| e.to_string()));
    let installed = lines.iter().all(|l| !l.message.contains("does not serve"));
    if installed {
        lines.push(match stored(cluster).await? {
            Seen::Known(all) => of_stored(&all),
            Seen::Hidden(right) => Line::hidden(CRD_STORED_VERSIONS, "stored versions", right, None),
        });
    }
    Ok(lines)
}

/// What the API server serves, compared with what this version knows.
pub(crate) fn served(found: Result<Vec<Finding>, String>) -> Vec<Line> {
    match found {
        Ok(found) if found.is_empty() => {
            vec![Line::ok(CRD_VERSION, format!("the definitions are those of {}", env!("CARGO_PKG_VERSION")))]
        }
        Ok(found) => found.into_iter().map(|f| told(CRD_VERSION, &f.text, Line::failed)).collect(),
        Err(why) => vec![Line::unknown(
            CRD_VERSION,
            format!("the API server does not publish its schemas: {why}"),
            "kubectl get --raw /openapi/v3",
        )],
    }
}

/// A finding of the start checks: what it is, then what to do.
pub(crate) fn told(topic: Topic, finding: &str, make: fn(Topic, String, String) -> Line) -> Line {
    let begins = [": apply ", ": remove ", ": upgrade "].iter().filter_map(|b| finding.find(b)).min();
    match begins.and_then(|at| Some((finding.get(..at)?, finding.get(at + 2..)?))) {
        Some((what, remedy)) => make(topic, what.to_owned(), remedy.to_owned()),
        None => make(topic, finding.to_owned(), APPLY.to_owned()),
    }
}

/// Each definition with its stored versions.
async fn stored(cluster: &Cluster) -> Result<Seen<Vec<(String, Vec<String>)>>, Failure> {
    let mut all = vec![];
    for plural in PLURALS {
        let name = format!("{plural}.{GROUP}");
        match cluster.wish(cluster.get_global::<CustomResourceDefinition>(&name).await, CRDS)? {
            Seen::Known(None) => {}
            Seen::Known(Some(crd)) => all.push((name, crd.status.and_then(|s| s.stored_versions).unwrap_or_default())),
            Seen::Hidden(right) => return Ok(Seen::Hidden(right)),
        }
    }
    Ok(Seen::Known(all))
}

fn of_stored(all: &[(String, Vec<String>)]) -> Line {
    let strange = all.iter().find_map(|(name, versions)| Some((name, versions.iter().find(|v| *v != VERSION)?)));
    match strange {
        None => Line::ok(CRD_STORED_VERSIONS, format!("objects are stored as {VERSION} alone")),
        Some((name, version)) => Line::warning(
            CRD_STORED_VERSIONS,
            format!("{name} has objects stored as {version}, which this version ({VERSION}) does not serve"),
            format!(
                "store them anew, then take it out: kubectl patch crd {name} --subresource=status --type=merge -p \
                 '{{\"status\":{{\"storedVersions\":[\"{VERSION}\"]}}}}'"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;
    use crate::operator::preflight::Weight;

    #[test]
    fn a_finding_of_the_operator_is_told_with_its_remedy() {
        let text =
            "CustomResourceDefinition cutovers.cutover.dev is missing: apply this version's: cutover crd | kubectl";
        let lines = served(Ok(vec![Finding { weight: Weight::MayNotWrite, text: text.into() }]));
        assert_eq!(lines[0].state, State::Failed);
        assert_eq!(lines[0].message, "CustomResourceDefinition cutovers.cutover.dev is missing");
        assert_eq!(lines[0].remedy.as_deref(), Some("apply this version's: cutover crd | kubectl"));
        assert_eq!(served(Ok(vec![]))[0].state, State::Ok);
        assert_eq!(served(Err("403".into()))[0].state, State::Unknown);
    }

    #[test]
    fn another_stored_version_is_told() {
        let of = |version: &str| of_stored(&[("cutovers.cutover.dev".into(), vec![VERSION.into(), version.into()])]);
        assert_eq!(of(VERSION).state, State::Ok);
        assert_eq!(of("v1beta1").state, State::Warning);
    }
}
