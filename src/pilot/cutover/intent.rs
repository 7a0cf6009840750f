//! PURE. Whether a run is to be started: the release and side wanted, the one started last, and where Services point.

use std::collections::BTreeMap;

use crate::api::cutover::{CutoverSpec, CutoverStatus, Intent, Release};
use crate::api::run::Selector;
use crate::plan::same_but_for_attempt;
pub(crate) use crate::plan::{same_intent as same, wanted};
use crate::route;
use crate::status::release_name;

/// Where the Services point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// All to this side.
    Side(String),
    /// These do not exist.
    Missing(Vec<String>),
    /// To no side, or not all to the same one; in words.
    Unclear(String),
}

/// What is to be done about an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The wanted side is live.
    Idle,
    /// The release changed while its side is already live: nothing can be switched.
    TargetIsLive,
    /// A run from this side.
    Start(String),
    /// Services are missing.
    Missing(Vec<String>),
    /// Services point elsewhere.
    Drift(String),
}

fn said(release: Option<&Release>) -> Release {
    release.cloned().unwrap_or_default()
}

/// Whether this is what was started last.
pub fn is_started(status: &CutoverStatus, wanted: &Intent) -> bool {
    status.started.as_ref().is_some_and(|started| same(started, wanted))
}

/// What a release is called on a side.
pub fn label(release: Option<&Release>) -> Option<String> {
    release.and_then(|r| release_name(r)).map(str::to_owned)
}

/// Where the Services point, by their selectors (`None`: there is no such Service).
pub fn live(spec: &CutoverSpec, selectors: &BTreeMap<String, Option<Selector>>) -> Live {
    let missing: Vec<String> = selectors.iter().filter(|(_, s)| s.is_none()).map(|(name, _)| name.clone()).collect();
    if !missing.is_empty() {
        return Live::Missing(missing);
    }
    if let Some((name, _)) = selectors.iter().find(|(_, s)| s.as_ref().is_some_and(Selector::is_empty)) {
        return Live::Unclear(format!(
            "Service {name} has no selector, so there is nothing to switch: give it one that selects a side"
        ));
    }
    let side_of = |selector: &Selector| {
        let side = route::side_of(selector, spec.sides.iter().map(|side| &side.selector))?;
        spec.sides.get(side).map(|side| side.name.clone())
    };
    let mut points: Vec<(&String, Option<String>)> = vec![];
    for (name, selector) in selectors {
        points.push((name, selector.as_ref().and_then(side_of)));
    }
    if let Some((name, _)) = points.iter().find(|(_, side)| side.is_none()) {
        let sides: Vec<String> = spec.sides.iter().map(|s| format!("{} {:?}", s.name, s.selector)).collect();
        return Live::Unclear(format!(
            "Service {name} has a selector that names neither side ({}): point it to one of them",
            sides.join(", ")
        ));
    }
    let first = points.first().and_then(|(_, side)| side.clone()).unwrap_or_default();
    if points.iter().any(|(_, side)| side.as_ref() != Some(&first)) {
        let list: Vec<String> =
            points.iter().map(|(name, side)| format!("{name} to {}", side.as_deref().unwrap_or("?"))).collect();
        return Live::Unclear(format!("the Services point to different sides ({}): point all to one", list.join(", ")));
    }
    Live::Side(first)
}

/// What is to be done. Drift never starts a run: only a changed intent does, or a retry.
pub fn judge(spec: &CutoverSpec, status: &CutoverStatus, live: &Live) -> Verdict {
    let side = match live {
        Live::Missing(list) => return Verdict::Missing(list.clone()),
        Live::Unclear(text) => return Verdict::Drift(text.clone()),
        Live::Side(side) => side,
    };
    if *side != spec.activate {
        return Verdict::Start(side.clone());
    }
    let Some(started) = &status.started else { return Verdict::Idle };
    if same_but_for_attempt(&said(started.release.as_ref()), &said(spec.release.as_ref())) {
        // The side that was live is wanted again, or the same release once more: there is nothing to switch.
        return Verdict::Idle;
    }
    if started.activate == spec.activate {
        return Verdict::TargetIsLive;
    }
    // Side and release both went back: fine if that release is the one known to be there.
    match (status.releases.get(side), label(spec.release.as_ref())) {
        (Some(known), Some(wanted)) if *known != wanted => Verdict::TargetIsLive,
        _ => Verdict::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(activate: &str, version: &str) -> CutoverSpec {
        serde_json::from_value(serde_json::json!({
            "release": {"version": version}, "services": [{"name": "web"}, {"name": "api"}], "activate": activate,
            "sides": [
                {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "b"}]},
                {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "g"}]},
            ],
        }))
        .expect("a spec")
    }

    fn status(activate: &str, version: &str) -> CutoverStatus {
        CutoverStatus {
            started: Some(wanted(&spec(activate, version))),
            releases: [("blue".to_owned(), "1".to_owned())].into(),
            ..CutoverStatus::default()
        }
    }

    fn on(side: &str) -> Live {
        Live::Side(side.into())
    }

    #[test]
    fn the_table_of_intents() {
        let fresh = CutoverStatus::default();
        assert_eq!(judge(&spec("blue", "1"), &fresh, &on("blue")), Verdict::Idle, "first sight");
        assert_eq!(judge(&spec("green", "2"), &fresh, &on("blue")), Verdict::Start("blue".into()));
        let idle = status("blue", "1");
        assert_eq!(judge(&spec("green", "2"), &idle, &on("blue")), Verdict::Start("blue".into()));
        assert_eq!(judge(&spec("blue", "2"), &idle, &on("blue")), Verdict::TargetIsLive);
        let rolled_back = status("green", "2");
        assert_eq!(judge(&spec("blue", "2"), &rolled_back, &on("blue")), Verdict::Idle, "activate reverted alone");
        assert_eq!(judge(&spec("blue", "1"), &rolled_back, &on("blue")), Verdict::Idle, "reverted as a whole");
        assert_eq!(judge(&spec("blue", "3"), &rolled_back, &on("blue")), Verdict::TargetIsLive);
        assert_eq!(judge(&spec("green", "3"), &rolled_back, &on("blue")), Verdict::Start("blue".into()));
    }

    #[test]
    fn where_services_point() {
        let selector =
            |side: &str| Some([("app".to_owned(), "x".to_owned()), ("side".to_owned(), side.to_owned())].into());
        let of = |web, api| live(&spec("green", "2"), &[("web".to_owned(), web), ("api".to_owned(), api)].into());
        assert_eq!(of(selector("blue"), selector("blue")), on("blue"));
        assert!(matches!(of(selector("blue"), selector("green")), Live::Unclear(t) if t.contains("different sides")));
        assert!(matches!(of(selector("blue"), selector("red")), Live::Unclear(t) if t.contains("Service api")));
        assert_eq!(of(None, selector("blue")), Live::Missing(vec!["web".into()]));
    }
}
