//! PURE. When two releases are the same one. Who asked for a release is no part of it: another name starts nothing.

use crate::api::cutover::Release;

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
