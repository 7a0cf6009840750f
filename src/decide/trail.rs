//! PURE. What a decision leaves for the record: what people are to hear of, what the containers of both sides run, and
//! what was released before. Written along with what the journal changes anyway; nothing is decided by it.

use crate::api::phase::Phase;
use crate::api::run::RunStatus;
use crate::api::trail::ImageRecord;
use crate::decide::decision::Note;
use crate::decide::draft::Draft;
use crate::journal::outbox::{self, Happened};
use crate::journal::short;
use crate::plan::{Plan, PlanSide};
use crate::world::World;

/// Most containers whose images are kept.
const MAX_IMAGES: usize = 24;
/// Most images of a container that differ from pod to pod.
const MAX_IDS: usize = 2;
/// Longest name of an image.
const MAX_IMAGE: usize = 256;

/// Takes down what this decision is the moment for.
pub fn keep(d: &mut Draft) {
    let begun = !matches!(d.journal.phase, Phase::Idle | Phase::Pending);
    if begun && matches!(d.before.phase, Phase::Idle | Phase::Pending) {
        let releases = d.world.cutover.as_ref().and_then(|c| c.value.as_ref()).map(|c| &c.releases);
        let old = releases.and_then(|r| r.get(&d.plan.old.name)).filter(|name| !name.is_empty());
        d.journal.old_release = old.map(|name| short(name, MAX_IMAGE));
    }
    if d.journal.phase == Phase::Verifying && d.before.phase != Phase::Verifying
        || d.journal.phase == Phase::Switching && d.before.phase < Phase::Verifying
    {
        images(d.plan, &mut d.journal, d.world, |record, ids| record.image_ids = ids);
    }
    if d.before.switch.is_none() && d.journal.switch.is_some() {
        images(d.plan, &mut d.journal, d.world, |record, ids| record.at_switch = ids);
    }
}

/// Puts the notes of a decision into the outbox.
pub fn tell(journal: &mut RunStatus, world: &World, notes: &[Note]) {
    for note in notes {
        let happened =
            Happened { reason: &note.reason, subject: &note.subject, message: &note.message, warning: note.warning };
        outbox::append(journal, &world.run_uid, world.now, happened);
    }
}

/// Takes down what the containers of both sides run now.
fn images(plan: &Plan, journal: &mut RunStatus, world: &World, put: fn(&mut ImageRecord, Vec<String>)) {
    for side in [&plan.target, &plan.old] {
        for mut seen in of_side(side, world) {
            let ids = std::mem::take(&mut seen.image_ids);
            let same =
                |r: &ImageRecord| (&r.side, &r.workload, &r.container) == (&seen.side, &seen.workload, &seen.container);
            match journal.images.iter().position(same) {
                Some(at) => put(&mut journal.images[at], ids),
                None if journal.images.len() < MAX_IMAGES => {
                    put(&mut seen, ids);
                    journal.images.push(seen);
                }
                None => return,
            }
        }
    }
}

fn of_side(side: &PlanSide, world: &World) -> Vec<ImageRecord> {
    let mut found: Vec<ImageRecord> = vec![];
    for workload in &side.workloads {
        let name = format!("{:?}/{}", workload.kind, workload.name);
        let pods = world.pods.iter().flat_map(|seen| &seen.value);
        for pod in pods.filter(|p| p.workload.as_ref() == Some(workload) && !p.terminating) {
            for container in &pod.containers {
                let Some(id) = container.image_id.as_deref().map(bare) else { continue };
                let at = found.iter().position(|r| r.workload == name && r.container == container.name);
                let record = match at {
                    Some(at) => &mut found[at],
                    None => {
                        found.push(ImageRecord {
                            side: side.name.clone(),
                            workload: name.clone(),
                            container: container.name.clone(),
                            image: short(&container.image, MAX_IMAGE),
                            ..ImageRecord::default()
                        });
                        let last = found.len() - 1;
                        &mut found[last]
                    }
                };
                if record.image_ids.len() < MAX_IDS && !record.image_ids.iter().any(|known| known == id) {
                    record.image_ids.push(id.to_owned());
                    record.image_ids.sort();
                }
            }
        }
    }
    found
}

/// An image without what the container runtime puts before it; of a very long one, the digest alone.
fn bare(id: &str) -> &str {
    let id = id.strip_prefix("docker-pullable://").unwrap_or(id);
    match id.rsplit_once('@') {
        Some((_, digest)) if id.len() > MAX_IMAGE => digest,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, pod};
    use crate::decide::decide;
    use crate::decide::decision::Write;
    use crate::world::ContainerView;

    fn running(f: &mut Fixture, side: &str, id: &str) {
        let workload = if side == "green" { &f.plan.target } else { &f.plan.old }.workloads[0].clone();
        let container = ContainerView {
            name: "api".into(),
            image: "web:2".into(),
            image_id: Some(id.to_owned()),
            ..ContainerView::default()
        };
        let name = format!("{side}-{}", f.world.pods.as_ref().map_or(0, |p| p.value.len()));
        let mut seen = pod(&name, side);
        (seen.workload, seen.containers) = (Some(workload), vec![container]);
        let mut all = f.world.pods.take().map(|p| p.value).unwrap_or_default();
        all.push(seen);
        f.pods(all);
    }

    #[test]
    fn images_are_those_of_both_sides_and_pods_may_differ() {
        let mut f = Fixture::new();
        running(&mut f, "green", "docker-pullable://web@sha256:b");
        running(&mut f, "green", "web@sha256:a");
        running(&mut f, "green", "web@sha256:c");
        running(&mut f, "blue", "web@sha256:old");
        images(&f.plan, &mut f.journal, &f.world, |r, ids| r.image_ids = ids);
        f.pods(vec![]);
        running(&mut f, "green", "web@sha256:d");
        images(&f.plan, &mut f.journal, &f.world, |r, ids| r.at_switch = ids);
        let [green, blue] = f.journal.images.as_slice() else { panic!("{:?}", f.journal.images) };
        assert_eq!((green.side.as_str(), green.container.as_str(), green.image.as_str()), ("green", "api", "web:2"));
        assert_eq!(green.image_ids, ["web@sha256:a", "web@sha256:b"]);
        assert_eq!(green.at_switch, ["web@sha256:d"]);
        assert_eq!((blue.image_ids.as_slice(), blue.at_switch.len()), (["web@sha256:old".to_owned()].as_slice(), 0));
    }

    #[test]
    fn what_is_told_stands_in_the_journal_that_is_written_and_is_no_reason_to_write() {
        let mut f = Fixture::new();
        f.journal.phase = Phase::Preparing;
        let cutover = crate::world::CutoverView {
            uid: "c".into(),
            deleting: false,
            namespace_going: false,
            activate: "blue".into(),
            release: f.plan.release.clone(),
            suspend: false,
            notify: vec![],
            releases: Default::default(),
            pushed: None,
        };
        f.world.cutover = Some(crate::world::Seen { at: f.world.now, value: Some(cutover) });
        let first = decide(&f.plan, &f.journal, &f.world);
        assert_eq!(first.write, Write::Now);
        let told = first.journal.outbox.entries.iter().map(|e| (&e.reason, &e.subject, &e.message));
        let noted = first.notes.iter().map(|n| (&n.reason, &n.subject, &n.message));
        assert!(noted.clone().count() > 0 && told.eq(noted));
        f.journal = first.journal;
        let again = decide(&f.plan, &f.journal, &f.world);
        assert_eq!((again.write, &again.journal.outbox), (Write::No, &f.journal.outbox));
        // A receipt alone is not written at once.
        let mut received = f.journal.clone();
        let id = received.outbox.entries[0].id.clone();
        outbox::received(&mut received, outbox::Sink::Events, &id, f.world.now);
        assert_eq!(crate::journal::durable(&received), crate::journal::durable(&f.journal));
    }

    #[test]
    fn what_was_released_before_is_known_from_the_beginning() {
        let mut f = Fixture::new();
        let begun = |f: &Fixture, before: Phase| {
            let journal = RunStatus { phase: before, ..RunStatus::default() };
            let mut d = Draft::new(&f.plan, &journal, &f.world);
            d.journal.phase = Phase::Preflight;
            keep(&mut d);
            d.journal.old_release
        };
        assert_eq!(begun(&f, Phase::Pending), None, "the Cutover is not known");
        let view = crate::world::CutoverView {
            uid: "c".into(),
            deleting: false,
            namespace_going: false,
            activate: "green".into(),
            release: f.plan.release.clone(),
            suspend: false,
            notify: vec![],
            releases: [("blue".to_owned(), "2.3.0".to_owned())].into(),
            pushed: None,
        };
        f.world.cutover = Some(crate::world::Seen { at: f.world.now, value: Some(view) });
        assert_eq!(begun(&f, Phase::Pending).as_deref(), Some("2.3.0"));
        assert_eq!(begun(&f, Phase::Preflight), None, "only once");
    }
}
