//! The restore of one Service: reads it live, whatever its uid is now, and puts the old side's selector back unless the
//! old side is empty. Every restore moves the fence, so that a switch still on its way fails (P4).
//!
//! A restore depends on no Lease. What makes it the restore of *this* run's switch, and not of a later run's, is that after
//! the Service was read something still said that this run may act: the Lease, or where that has lapsed the run itself, read
//! live. Others switch a Service again only once this run is over; the patch tests the resourceVersion of that reading, so
//! whatever is done later, while this process is frozen for instance, makes it fail.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};

use super::call::{CallError, Class, call_within};
use super::live::LiveService;
use super::{Hands, authority, patch, patch_params, read_again};
use crate::api::ANNOTATION_FENCE;
use crate::api::run::{BlockCause, Selector};
use crate::effect::{Outcome, RestoreGuard};
use crate::endpoints::{self, Names};
use crate::observe::Scope;

/// The restore, as it is carried out.
pub struct Wanted<'a> {
    pub service: &'a str,
    pub from: &'a Selector,
    pub to: &'a Selector,
    pub guard: &'a RestoreGuard,
    pub limit: Duration,
    pub fence: &'a str,
}

impl Wanted<'_> {
    /// Which side the selector names: only the keys in which the two differ say so.
    fn names(&self, selector: &Selector) -> Names {
        let differing = || self.from.iter().filter(|(k, v)| self.to.get(*k) != Some(*v)).map(|(k, _)| k);
        let agrees = |side: &Selector| differing().all(|k| selector.get(k) == side.get(k));
        match (agrees(self.from), agrees(self.to)) {
            (true, false) => Names::Old,
            (false, true) => Names::Target,
            _ => Names::Foreign,
        }
    }

    fn fenced(&self, service: &LiveService) -> bool {
        service.annotations.as_ref().and_then(|a| a.get(ANNOTATION_FENCE)).is_some_and(|f| f == self.fence)
    }

    /// Tests what was read, sets the fence and, where the Service points to the target, the selector.
    fn operations(&self, service: &LiveService, selector: bool) -> Value {
        let mut list = vec![
            json!({"op": "test", "path": "/metadata/uid", "value": service.uid}),
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": service.resource_version}),
            json!({"op": "test", "path": "/spec/selector", "value": service.selector}),
        ];
        if selector {
            list.push(json!({"op": "replace", "path": "/spec/selector", "value": self.from}));
        }
        if service.annotations.is_some() {
            let path = format!("/metadata/annotations/{}", ANNOTATION_FENCE.replace('~', "~0").replace('/', "~1"));
            list.push(json!({"op": "add", "path": path, "value": self.fence}));
        } else {
            list.push(json!({"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION_FENCE: self.fence}}));
        }
        Value::Array(list)
    }
}

/// Restores, or says why not.
pub async fn restore(hands: &Hands, scope: &Scope, wanted: &Wanted<'_>) -> Outcome {
    let (service, old) = tokio::join!(hands.service(wanted.service), hands.pods(wanted.from));
    let service = match service {
        Ok(s) => s,
        Err(e) if e.class == Class::NotFound => return Outcome::NotFound,
        Err(e) => return not_read("the Service cannot be read", &e),
    };
    let selector = match wanted.names(&service.selector) {
        Names::Old if wanted.fenced(&service) => return Outcome::Done,
        Names::Old => false,
        Names::Target => true,
        Names::Foreign => return Outcome::Guarded { ready: 0, other: None, foreign: Some(service.selector) },
    };
    if selector {
        let ready = match old {
            Ok(old) => endpoints::ready_count(&old, wanted.from, &service.ports),
            Err(e) => return not_read("the pods of the old side cannot be listed", &e),
        };
        if !wanted.guard.old_suffices(ready) {
            // Nothing of the side being left can prevent or delay the restore: it is only counted where the old side has too
            // few, and a count that cannot be had is none.
            let target = hands.pods(wanted.to).await.ok();
            let other = target.map(|pods| endpoints::ready_count(&pods, wanted.to, &service.ports));
            if !wanted.guard.allows(ready, other) {
                return Outcome::Guarded { ready, other, foreign: None };
            }
        }
    }
    let body = match patch(wanted.operations(&service, selector)) {
        Ok(body) => body,
        Err(e) => return blocked(e),
    };
    if !hands.leadership.holds()
        && let Err(why) = authority::live(&hands.reader, scope, wanted.service, wanted.from, wanted.to).await
    {
        return Outcome::Blocked { cause: BlockCause::Conflict, why, slow: false };
    }
    let api: Api<Service> = Api::namespaced(hands.restorer.clone(), &hands.namespace);
    match call_within(wanted.limit, api.patch(wanted.service, &patch_params(), &body)).await {
        Ok(_) => Outcome::Done,
        Err(e) if read_again(&e) => match hands.service(wanted.service).await {
            Ok(now) if wanted.names(&now.selector) == Names::Old && wanted.fenced(&now) => Outcome::Done,
            Ok(now) if now.uid == service.uid && now.resource_version == service.resource_version => blocked(e),
            // Somebody wrote in between: the next try reads everything again.
            Ok(now) => {
                let by = now.writer.map(|by| format!(" by {by}")).unwrap_or_default();
                let why = format!("Service {} was written{by} at the same moment", wanted.service);
                Outcome::Blocked { cause: BlockCause::Conflict, why, slow: false }
            }
            Err(again) => not_read("the Service cannot be read", &again),
        },
        Err(e) => blocked(e),
    }
}

/// A write that failed, as the API server answered it.
fn blocked(e: CallError) -> Outcome {
    Outcome::Blocked { cause: e.cause, why: e.text, slow: e.late }
}

/// A reading that failed: nothing was written.
fn not_read(what: &str, e: &CallError) -> Outcome {
    Outcome::Blocked { cause: e.cause, why: format!("{what}: {e}"), slow: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Selector {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn with(test: impl FnOnce(&Wanted<'_>)) {
        let (from, to) = (map(&[("app", "web"), ("side", "blue")]), map(&[("app", "web"), ("side", "green")]));
        let guard = RestoreGuard { min_ready: 1, any: false };
        test(&Wanted {
            service: "web",
            from: &from,
            to: &to,
            guard: &guard,
            limit: Duration::from_secs(2),
            fence: "f1",
        });
    }

    fn live(selector: Selector, annotations: Option<&[(&str, &str)]>) -> LiveService {
        let (uid, resource_version) = ("u".to_owned(), "7".to_owned());
        LiveService { uid, resource_version, selector, ports: vec![], writer: None, annotations: annotations.map(map) }
    }

    #[test]
    fn only_the_keys_of_the_sides_say_where_a_service_points() {
        with(|w| {
            assert_eq!(w.names(&map(&[("app", "web"), ("side", "blue")])), Names::Old);
            assert_eq!(w.names(&map(&[("app", "other"), ("side", "green"), ("more", "x")])), Names::Target);
            assert_eq!(w.names(&map(&[("app", "web")])), Names::Foreign);
            assert_eq!(w.names(&map(&[("app", "web"), ("side", "red")])), Names::Foreign);
        });
    }

    #[test]
    fn the_fence_moves_even_where_the_selector_is_right() {
        with(|w| {
            let service = live(map(&[("app", "web"), ("side", "blue")]), Some(&[("x", "y")]));
            let list = w.operations(&service, false);
            assert_eq!(
                list[3],
                json!({"op": "add", "path": "/metadata/annotations/cutover.dev~1fence", "value": "f1"})
            );
            assert!(patch(list).is_ok());
            assert!(!w.fenced(&service));
            assert!(w.fenced(&live(Selector::new(), Some(&[(ANNOTATION_FENCE, "f1")]))));
        });
    }

    #[test]
    fn a_service_without_annotations_gets_the_map() {
        with(|w| {
            let list = w.operations(&live(map(&[("app", "web"), ("side", "green")]), None), true);
            assert_eq!(list[2]["value"]["side"], "green");
            assert_eq!(
                list[3],
                json!({"op": "replace", "path": "/spec/selector", "value": {"app": "web", "side": "blue"}})
            );
            assert_eq!(
                list[4],
                json!({"op": "add", "path": "/metadata/annotations", "value": {"cutover.dev/fence": "f1"}})
            );
        });
    }
}
