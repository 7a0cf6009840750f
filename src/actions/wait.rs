//! PURE. A pause.

use serde_json::json;

use crate::api::run::StepRecord;
use crate::api::step::Wait;

use super::{Cx, Out, Verdict};
use crate::journal::later;

/// See [`super::advance`].
pub fn advance(cx: &Cx, wait: &Wait, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let until = later(record.attempt_at.unwrap_or(cx.world.now), wait.for_);
    if cx.world.now >= until {
        return Some(Verdict::pass(json!({"waited": wait.for_})));
    }
    record.message = Some(format!("waiting until {until:.0}"));
    out.wake_at(until);
    None
}

#[cfg(test)]
mod tests {
    use crate::actions::fixtures::{Fixture, step};
    use crate::api::duration::Duration;
    use crate::api::run::StepState;
    use crate::api::step::Wait;
    use crate::plan::{Action, Stage};

    #[test]
    fn waits_from_its_recorded_beginning() {
        let mut f = Fixture::new();
        let s = step("pause", Stage::Prepare, Action::Wait(Wait { for_: Duration::from_secs(30) }));
        let (r, out) = f.drive(&s, None);
        assert_eq!((r.state, out.wake), (StepState::Running, "2026-01-01T00:00:30Z".parse().ok()));
        f.after(29);
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Running);
        f.after(1);
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Succeeded);
    }
}
