//! PURE. Whether a decision may be judged, by what is proven of who made it (DESIGN §7): "a decision counts once, where and
//! when it was authorised".

use jiff::Timestamp;

use crate::api::decision::Verb;
use crate::api::duration::Duration;
use crate::journal::{later, words};
use crate::world::{Proof, Proven};

/// A decision waits so long for a proof that does not come, and is judged without.
const PATIENCE: Duration = Duration::from_secs(60);
/// One that leads back waits no longer than this.
const PATIENCE_BACK: Duration = Duration::from_secs(2);

/// How a decision stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is judged by what it says.
    Counts,
    /// It leads back, and so it is judged by what it says though it may be forged: why.
    Unproven(String),
    /// It is not judged yet, and looked at again then at the latest.
    Waits(Option<Timestamp>),
    /// It does not count: why, and what to do.
    Refused(String),
}

/// How a decision stands that was created at `created` and has waited for its proof since `since`.
pub(crate) fn standing(
    verb: Verb,
    created: Timestamp,
    since: Timestamp,
    proof: Option<&Proof>,
    now: Timestamp,
) -> Standing {
    let back = words::is_way_back(verb);
    match proof.map(|proof| (&proof.verdict, proof.since)) {
        // Forged while nothing denied it, it would look as good as any other.
        Some((Proven::Holds, held)) if verb == Verb::Approve && created < held => Standing::Refused(format!(
            "refused: forged decisions are denied for certain since {held:.0} only, and this one is older; look again, then \
             approve once more"
        )),
        Some((Proven::Holds, _)) => Standing::Counts,
        Some((Proven::Open(why), _)) if back => Standing::Unproven(why.clone()),
        Some((Proven::Open(why), _)) => Standing::Refused(format!("refused: identity not proven: {why}")),
        // Its gate does not open either before that.
        Some((Proven::Unknown(_), _)) | None if verb == Verb::Approve => Standing::Waits(None),
        Some((Proven::Unknown(_), _)) | None => {
            let due = later(since, if back { PATIENCE_BACK } else { PATIENCE });
            if now >= due { Standing::Counts } else { Standing::Waits(Some(due)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::proof;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// How a decision stands that was created at 0 and has waited since then.
    fn stands(verb: Verb, proof: Option<&Proof>, now: i64) -> Standing {
        standing(verb, at(0), at(0), proof, at(now))
    }

    #[test]
    fn what_is_proven_counts_and_what_is_not_known_waits_for_a_minute() {
        let (holds, unknown) = (proof(Proven::Holds), proof(Proven::Unknown("503".into())));
        for verb in [Verb::Suspend, Verb::Resolve, Verb::Reject, Verb::Retry, Verb::Approve, Verb::Rollback] {
            assert_eq!(stands(verb, Some(&holds), 0), Standing::Counts, "{verb:?}");
        }
        for proof in [None, Some(&unknown)] {
            for (verb, patience) in [(Verb::Suspend, 60), (Verb::Reject, 60), (Verb::Rollback, 2), (Verb::Abort, 2)] {
                assert_eq!(stands(verb, proof, patience - 1), Standing::Waits(Some(at(patience))), "{verb:?}");
                assert_eq!(stands(verb, proof, patience), Standing::Counts, "{verb:?}");
            }
            assert_eq!(stands(Verb::Approve, proof, 3600), Standing::Waits(None), "as long as its gate");
        }
    }

    #[test]
    fn where_a_forgery_is_admitted_nothing_counts_but_the_way_back() {
        let open = proof(Proven::Open("the policy is missing".into()));
        for verb in [Verb::Rollback, Verb::Abort] {
            assert_eq!(stands(verb, Some(&open), 0), Standing::Unproven("the policy is missing".into()), "{verb:?}");
        }
        for verb in [Verb::Approve, Verb::Reject, Verb::Suspend, Verb::Resume, Verb::Resolve, Verb::Retry] {
            let Standing::Refused(why) = stands(verb, Some(&open), 0) else { panic!("{verb:?} counts") };
            assert_eq!(why, "refused: identity not proven: the policy is missing");
        }
    }

    #[test]
    fn an_approval_from_before_the_proof_began_to_hold_is_refused() {
        let since = Proof { since: at(1), ..proof(Proven::Holds) };
        assert!(matches!(stands(Verb::Approve, Some(&since), 5), Standing::Refused(why) if why.contains("once more")));
        assert_eq!(stands(Verb::Reject, Some(&since), 5), Standing::Counts);
    }
}
