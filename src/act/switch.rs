//! The switch of one Service: counts ready endpoints live, then patches with tests, so that it works at most once (P4, P5).

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};

use super::call::{CallError, Class, call};
use super::live::{FRESH, LiveService};
use super::{Hands, failed, patch, patch_params, read_again};
use crate::api::run::Selector;
use crate::effect::Outcome;
use crate::endpoints;

/// The claim, as it is carried out.
pub struct Wanted<'a> {
    pub service: &'a str,
    pub uid: &'a str,
    pub resource_version: &'a str,
    pub from: &'a Selector,
    pub to: &'a Selector,
    pub min_ready: u32,
}

/// What a reading of the Service says about the claim, if it settles it.
fn settled(wanted: &Wanted<'_>, now: &LiveService) -> Option<Outcome> {
    if now.uid != wanted.uid {
        let text =
            format!("Service {} was replaced: its uid is {}, claimed was {}", wanted.service, now.uid, wanted.uid);
        return Some(Outcome::Conflict(text));
    }
    if now.selector == *wanted.to {
        return Some(Outcome::Done);
    }
    if now.selector != *wanted.from {
        let text =
            format!("the selector of Service {} is {:?}, claimed was {:?}", wanted.service, now.selector, wanted.from);
        return Some(Outcome::Conflict(text));
    }
    (now.resource_version != wanted.resource_version).then(|| {
        let by = now.writer.as_deref().unwrap_or("somebody else");
        Outcome::Conflict(format!("Service {} was written by {by} after the claim", wanted.service))
    })
}

fn operations(wanted: &Wanted<'_>) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": wanted.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": wanted.resource_version},
        {"op": "test", "path": "/spec/selector", "value": wanted.from},
        {"op": "replace", "path": "/spec/selector", "value": wanted.to},
    ])
}

/// Switches, or says why not.
pub async fn switch(hands: &Hands, wanted: &Wanted<'_>) -> Outcome {
    let began = tokio::time::Instant::now();
    let (service, pods) = tokio::join!(hands.service(wanted.service), hands.pods(wanted.to));
    let (service, pods) = match (service, pods) {
        (Ok(s), Ok(p)) => (s, p),
        (Err(e), _) => return failed_read(e),
        (_, Err(e)) => return Outcome::NotSent(format!("pods of the target cannot be listed: {e}")),
    };
    if let Some(outcome) = settled(wanted, &service) {
        return outcome;
    }
    let ready = endpoints::ready_count(&pods, wanted.to, &service.ports);
    if ready < wanted.min_ready {
        return Outcome::Guarded { ready, other: None, foreign: None };
    }
    // Older than a second, the count is no ground for a patch any more.
    if began.elapsed() >= FRESH {
        return Outcome::NotSent("the live reading before the switch took more than a second".into());
    }
    let body = match patch(operations(wanted)) {
        Ok(body) => body,
        Err(e) => return failed(e),
    };
    let api: Api<Service> = Api::namespaced(hands.writer.clone(), &hands.namespace);
    match call(api.patch(wanted.service, &patch_params(), &body)).await {
        Ok(_) => Outcome::Done,
        Err(e) if read_again(&e) => match hands.service(wanted.service).await {
            Ok(now) => settled(wanted, &now).unwrap_or_else(|| unexplained(e)),
            Err(again) if again.class == Class::NotFound => Outcome::NotFound,
            // Answered all the same: this patch did nothing.
            Err(again) => Outcome::Conflict(format!("{e}; the Service cannot be read again: {again}")),
        },
        Err(e) => failed(e),
    }
}

/// A conflict without a difference passes by itself and did nothing; anything else that is refused is refused for good.
fn unexplained(error: CallError) -> Outcome {
    match error.class {
        Class::Conflict => Outcome::Conflict(error.text),
        _ => failed(error),
    }
}

/// A failed reading settles nothing, except that there is no such Service.
fn failed_read(error: CallError) -> Outcome {
    match error.class {
        Class::NotFound => Outcome::NotFound,
        _ => Outcome::NotSent(format!("the Service cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn map(pairs: &[(&str, &str)]) -> Selector {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn live(uid: &str, rv: &str, selector: Selector) -> LiveService {
        let annotations = Some(BTreeMap::new());
        LiveService { uid: uid.into(), resource_version: rv.into(), selector, ports: vec![], writer: None, annotations }
    }

    #[test]
    fn a_second_reading_tells_done_from_conflict() {
        let (from, to) = (map(&[("app", "web"), ("side", "blue")]), map(&[("app", "web"), ("side", "green")]));
        let wanted = Wanted { service: "web", uid: "u", resource_version: "7", from: &from, to: &to, min_ready: 1 };
        assert_eq!(settled(&wanted, &live("u", "9", to.clone())), Some(Outcome::Done));
        assert_eq!(settled(&wanted, &live("u", "7", from.clone())), None);
        for moved in [live("u", "8", from.clone()), live("v", "9", to.clone()), live("u", "7", map(&[("app", "x")]))] {
            assert!(matches!(settled(&wanted, &moved), Some(Outcome::Conflict(_))), "{moved:?}");
        }
    }

    #[test]
    fn the_patch_tests_all_three_before_it_replaces() {
        let (from, to) = (map(&[("side", "blue")]), map(&[("side", "green")]));
        let wanted = Wanted { service: "web", uid: "u", resource_version: "7", from: &from, to: &to, min_ready: 1 };
        assert_eq!(
            operations(&wanted),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "test", "path": "/spec/selector", "value": {"side": "blue"}},
                {"op": "replace", "path": "/spec/selector", "value": {"side": "green"}},
            ])
        );
        assert!(patch(operations(&wanted)).is_ok());
    }
}
