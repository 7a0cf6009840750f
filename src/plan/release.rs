//! PURE. What a Cutover wants, and when two releases are the same one. Who asked for a release is no part of it: another name
//! starts nothing.

use crate::api::cutover::{CutoverSpec, Intent, Release};

/// What the Cutover wants.
pub(crate) fn wanted(spec: &CutoverSpec) -> Intent {
    Intent { activate: spec.activate.clone(), release: spec.release.clone() }
}

/// Whether both want the same, whoever asked for it.
pub(crate) fn same_intent(a: &Intent, b: &Intent) -> bool {
    let said = |release: &Option<Release>| release.clone().unwrap_or_default();
    a.activate == b.activate
        && a.release.is_some() == b.release.is_some()
        && same_release(&said(&a.release), &said(&b.release))
}

/// Whether both say that the same is released, whoever asked for it.
pub(crate) fn same_release(a: &Release, b: &Release) -> bool {
    let nobodys = |r: &Release| Release { requested_by: None, ..r.clone() };
    a == b || nobodys(a) == nobodys(b)
}

/// The same, whether or not it is counted as another attempt.
pub(crate) fn same_but_for_attempt(a: &Release, b: &Release) -> bool {
    let once = |r: &Release| Release { attempt: None, ..r.clone() };
    same_release(&once(a), &once(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_no_part_of_a_release() {
        let one = Release { version: Some("2".into()), requested_by: Some("jane".into()), ..Release::default() };
        let other = Release { requested_by: Some("bob".into()), ..one.clone() };
        assert!(same_release(&one, &other) && same_release(&one, &Release { requested_by: None, ..one.clone() }));
        let again = Release { attempt: Some(2), ..one.clone() };
        assert!(!same_release(&one, &again) && same_but_for_attempt(&other, &again));
        assert!(!same_but_for_attempt(&one, &Release { version: Some("3".into()), ..one.clone() }));
    }
}
