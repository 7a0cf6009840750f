//! PURE. What is said of a run that waits for a live reading which fails: nothing waits without a word (P10).

use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::decide::draft::Draft;
use crate::effect::Read;
use crate::journal::{later, short};

/// A reading may fail for this long before it is said: one that is refused once is made again at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the text begins.
const SAYS: &str = "the cluster cannot be read";

/// Why the live reading that is waited for fails, once it has failed for a while.
pub fn why(d: &mut Draft) -> Option<String> {
    let unread = d.world.unread.as_ref()?;
    let due = later(unread.since, PATIENCE);
    if d.now() < due {
        d.out.wake_at(due);
        return None;
    }
    Some(format!("{SAYS} since {:.0}: {}", unread.since, short(&unread.why, 256)))
}

/// Says why the live reading fails that this decision waits for, unless it says something else already.
pub fn explain(d: &mut Draft) {
    let waits = !d.journal.phase.is_over() && d.out.reads.values().any(|read| matches!(read, Read::Refresh));
    let Some(why) = waits.then(|| why(d)).flatten() else { return };
    let said = |text: Option<&String>| text.is_some_and(|text| text.starts_with(SAYS));
    if !said(d.before.waiting.as_ref()) {
        d.note(true, reasons::CLUSTER_UNREADABLE, "refresh", why.clone());
    }
    d.journal.waiting.get_or_insert(format!("{why}; it goes on once that can be read"));
}

#[cfg(test)]
mod tests {
    use crate::api::phase::Phase;
    use crate::decide::decide;
    use crate::effect::{Read, ReadKey};
    use crate::journal::later;
    use crate::world::Sighting;

    #[test]
    fn a_reading_that_goes_on_failing_is_told_once_with_its_cause_and_forgotten_when_it_succeeds() {
        let mut f = crate::actions::fixtures::Fixture::new();
        f.journal.phase = Phase::Preparing;
        f.world.refreshed = None;
        let began = f.world.now;
        f.world.take_in(began, Sighting::Unread("pods: forbidden".into()));
        let first = decide(&f.plan, &f.journal, &f.world);
        assert_eq!(first.reads.get(&ReadKey::Refresh), Some(&Read::Refresh));
        assert!(first.journal.waiting.is_none() && first.notes.is_empty(), "{:?}", first.journal.waiting);

        f.world.now = later(began, super::PATIENCE);
        f.world.take_in(f.world.now, Sighting::Unread("pods: forbidden".into()));
        let told = decide(&f.plan, &f.journal, &f.world);
        let waiting = told.journal.waiting.clone().expect("a wait that is explained");
        assert!(waiting.contains("pods: forbidden") && waiting.contains(&format!("{began:.0}")), "{waiting}");
        assert_eq!(told.notes.len(), 1, "{:?}", told.notes);

        f.journal = told.journal;
        assert!(decide(&f.plan, &f.journal, &f.world).notes.is_empty(), "told twice");
        f.world.take_in(f.world.now, Sighting::Refreshed(f.world.now));
        let waiting = decide(&f.plan, &f.journal, &f.world).journal.waiting;
        assert!(waiting.is_none_or(|why| !why.contains("cannot be read")));
    }
}
