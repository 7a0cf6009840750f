//! By what the Job of a claim is known again.

use serde_json::json;

use super::Out;
use super::fixtures::{Fixture, pod};
use super::job_tests::{go, key, migrate};
use crate::effect::{Effect, Outcome};

#[test]
fn a_job_keeps_the_hash_of_its_first_claim_whatever_a_later_try_says() {
    let mut f = Fixture::new();
    let s = migrate(json!({}));
    let hash = |out: &Out| match out.effects.as_slice() {
        [Effect::CreateJob { manifest, .. }] => manifest["metadata"]["annotations"]["cutover.dev/template"].clone(),
        other => panic!("{other:?}"),
    };
    let (r, out) = f.drive(&s, None);
    let first = hash(&out);
    assert_eq!(r.job.as_ref().and_then(|j| j.template.as_deref()), first.as_str());
    // The target's pods have other addresses by now, which stand in the Job's environment.
    f.pods(vec![pod("green-z", "green")]);
    f.outcome(&key("create"), Outcome::Transient("503".into()));
    f.after(5);
    let (r, out) = go(&mut f, &s, &r);
    assert_eq!((hash(&out), r.job.as_ref().and_then(|j| j.template.as_deref())), (first.clone(), first.as_str()));
    // One that an older version claimed has none.
    let mut older = r.clone();
    older.job.as_mut().expect("a claim").template = None;
    f.outcome(&key("create"), Outcome::Transient("503".into()));
    f.after(5);
    assert!(hash(&go(&mut f, &s, &older).1).is_null());
}
