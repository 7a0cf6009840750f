//! The switch: what a Service wants, claims that are made again, and what prevents convergence.

use super::*;
use crate::actions::fixtures::{Fixture, effect, labels, pod, view, workload};
use crate::decide::{Decision, decide};
use crate::world::{EndpointView, Seen};

/// A run in Switching, with a live reading as young as now.
fn switching() -> Fixture {
    let mut f = Fixture::new();
    f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue"), pod("blue-b", "blue")]);
    f.journal.phase = Phase::Switching;
    f.journal.phase_since = Some(f.world.now);
    f.world.refreshed = Some(f.world.now);
    f
}

fn turn(f: &mut Fixture) -> Decision {
    let decision = decide(&f.plan, &f.journal, &f.world);
    f.journal = decision.journal.clone();
    decision.consumed.iter().for_each(|key| drop(f.world.outcomes.remove(key)));
    decision
}

fn claimed(f: &Fixture) -> ServiceSwitch {
    f.journal.switch.as_ref().expect("a claim").services[0].clone()
}

/// The patch of the present claim ends so.
fn ended(f: &mut Fixture, outcome: Outcome) {
    let key = format!("switch/web/{}", claimed(f).resource_version);
    f.world.in_flight.remove(&effect(&key));
    f.world.tried.insert(effect(&key), f.world.now);
    f.outcome(&key, outcome);
}

/// Somebody writes the Service.
fn written(f: &mut Fixture, version: &str) {
    let at = f.world.now;
    let service = f.service("web");
    service.resource_version = version.into();
    service.writer = Some("kubectl-annotate".into());
    f.world.services.get_mut("web").expect("web").at = at;
}

fn sent(decision: &Decision) -> Vec<(String, u32)> {
    let switch = |e: &Effect| match e {
        Effect::Switch { resource_version, min_ready, .. } => Some((resource_version.clone(), *min_ready)),
        _ => None,
    };
    decision.effects.iter().filter_map(switch).collect()
}

#[test]
fn workloads_that_a_service_does_not_select_do_not_count_for_it() {
    let mut f = switching();
    let mut worker = view("green", 7);
    worker.pod_labels = [("app".to_owned(), "worker".to_owned())].into();
    worker.available = 0;
    f.plan.target.workloads.push(workload("worker-green"));
    f.world.workloads.insert(workload("worker-green"), Seen { at: f.world.now, value: Some(worker) });
    let decision = turn(&mut f);
    assert_eq!(sent(&decision), [("1".to_owned(), 2)]);
    assert_eq!((claimed(&f).wanted, claimed(&f).old_wanted), (2, 2));
}

#[test]
fn scaling_after_the_claim_does_not_move_the_goal() {
    for replicas in [1, 9] {
        let mut f = switching();
        turn(&mut f);
        f.workload("green").wanted = replicas;
        f.after(1);
        ended(&mut f, Outcome::Guarded { ready: 0, other: None, foreign: None });
        assert_eq!(sent(&turn(&mut f)), [], "the result is taken in, the next try is a moment later");
        f.after(1);
        assert_eq!(sent(&turn(&mut f)), [("1".to_owned(), 2)], "{replicas}");
    }
}

#[test]
fn a_service_written_by_others_is_claimed_anew_on_a_fresh_reading() {
    let mut f = switching();
    turn(&mut f);
    f.after(1);
    written(&mut f, "2");
    ended(&mut f, Outcome::Conflict("Service web was written by kubectl-annotate after the claim".into()));
    f.after(1);
    let decision = turn(&mut f);
    assert!(sent(&decision).is_empty() && decision.reads.values().any(|r| *r == Read::Refresh), "{decision:?}");
    let before = claimed(&f);
    assert_eq!((before.state, before.resource_version.as_str()), (SwitchState::Claimed, "1"));
    let began = f.journal.switch.as_ref().map(|s| s.claimed_at);
    f.world.refreshed = Some(f.world.now);
    let decision = turn(&mut f);
    assert_eq!(sent(&decision), [("2".to_owned(), 2)]);
    assert_eq!(claimed(&f).resource_version, "2");
    assert_eq!(f.journal.switch.as_ref().map(|s| s.claimed_at), began, "switch.timeout counts from the first claim");
}

#[test]
fn after_an_unanswered_patch_nothing_is_claimed_anew() {
    let by_another_process = |f: &mut Fixture| f.world.tried.clear();
    let unanswered = |f: &mut Fixture| ended(f, Outcome::Transient("504".into()));
    let not_sent = |f: &mut Fixture| ended(f, Outcome::NotSent("the Service cannot be read".into()));
    type Happens = fn(&mut Fixture);
    let table: [(Happens, bool); 3] = [(by_another_process, true), (unanswered, true), (not_sent, false)];
    for (what, doubt) in table {
        let mut f = switching();
        turn(&mut f);
        f.after(1);
        what(&mut f);
        turn(&mut f);
        assert_eq!(claimed(&f).unanswered, doubt);
        f.after(1);
        ended(&mut f, Outcome::Conflict("written".into()));
        written(&mut f, "2");
        f.after(1);
        f.world.refreshed = Some(f.world.now);
        turn(&mut f);
        let why = f.journal.ending.as_ref().map(|e| e.message.clone());
        assert_eq!(why.is_some(), doubt, "{why:?}");
        assert!(!doubt || why.is_some_and(|w| w.contains("kubectl-annotate")));
    }
}

#[test]
fn a_selector_that_others_changed_ends_the_switch() {
    let mut f = switching();
    turn(&mut f);
    f.after(1);
    written(&mut f, "2");
    f.service("web").selector.insert("track".into(), "stable".into());
    ended(&mut f, Outcome::Conflict("the selector is another".into()));
    f.after(1);
    f.world.refreshed = Some(f.world.now);
    turn(&mut f);
    let why = f.journal.ending.as_ref().map(|e| e.message.clone()).unwrap_or_default();
    assert!(why.contains("kubectl-annotate changed its selector"), "{why}");
}

#[test]
fn written_again_and_again_it_ends_at_the_time_limit_and_names_the_writer() {
    let mut f = switching();
    turn(&mut f);
    for n in 2..100 {
        f.after(1);
        written(&mut f, &n.to_string());
        ended(&mut f, Outcome::Conflict("written".into()));
        f.after(1);
        f.world.refreshed = Some(f.world.now);
        turn(&mut f);
        if let Some(ending) = &f.journal.ending {
            assert!(
                n > 20 && ending.message.contains("longer than 1m: Service web: kubectl-annotate"),
                "{n} {ending:?}"
            );
            return;
        }
        assert_eq!(claimed(&f).resource_version, n.to_string());
    }
    panic!("it never ends");
}

#[test]
fn slices_of_others_never_prevent_convergence_and_what_does_is_said() {
    let endpoint = |slice: &str, foreign: bool, pod: Option<&str>| EndpointView {
        slice: slice.into(),
        foreign,
        pod: pod.map(str::to_owned),
        ready: true,
    };
    let mut f = switching();
    let mut at = |list: Vec<EndpointView>| {
        f.world.endpoints.insert("web".into(), Seen { at: f.world.now, value: list });
        f.world.converged("web", &labels("green"), 2)
    };
    let ours = || vec![endpoint("web-1", false, Some("green-a")), endpoint("web-1", false, Some("green-b"))];
    assert_eq!(at(ours()), Ok(()));
    for foreign in [endpoint("by-hand", true, None), endpoint("mirrored", true, Some("blue-a"))] {
        assert_eq!(at([ours(), vec![foreign.clone()]].concat()), Ok(()));
        let few = vec![endpoint("web-1", false, Some("green-a")), foreign];
        assert_eq!(at(few), Err("Service web has 1 ready endpoints in its slices, wanted 2".into()));
    }
    let old = [ours(), vec![endpoint("web-1", false, Some("blue-a"))]].concat();
    assert!(at(old).is_err_and(|why| why.contains("web-1") && why.contains("pod blue-a")));
}

#[test]
fn the_journal_of_an_older_operator_counts_live() {
    let mut f = switching();
    turn(&mut f);
    f.journal.switch.as_mut().expect("a claim").services[0].wanted = 0;
    f.workload("green").wanted = 1;
    f.after(1);
    ended(&mut f, Outcome::NotSent("?".into()));
    turn(&mut f);
    f.after(1);
    assert_eq!(sent(&turn(&mut f)), [("1".to_owned(), 1)]);
}

#[test]
fn a_refusal_closes_no_claim_of_which_another_patch_may_still_arrive() {
    let refused = || Outcome::Refused { why: "no right".into(), forbidden: true };
    let restores = |d: &Decision| d.effects.iter().any(|e| matches!(e, Effect::Restore { .. }));
    let mut f = switching();
    turn(&mut f);
    ended(&mut f, refused());
    let decision = turn(&mut f);
    assert_eq!((claimed(&f).state, restores(&decision)), (SwitchState::Refused, false));
    let mut f = switching();
    turn(&mut f);
    ended(&mut f, Outcome::Transient("no answer".into()));
    turn(&mut f);
    ended(&mut f, refused());
    let decision = turn(&mut f);
    assert!(decision.journal.ending.is_some());
    assert_eq!((claimed(&f).state, restores(&decision)), (SwitchState::Claimed, true), "the restore moves the fence");
}

#[test]
fn a_switch_that_cannot_be_claimed_since_nothing_can_be_read_is_given_up_at_its_time_out() {
    let mut f = switching();
    f.journal.switch = None;
    f.world.refreshed = None;
    let began = f.world.now;
    f.world.take_in(began, crate::world::Sighting::Unread("pods: forbidden".into()));
    turn(&mut f);
    f.world.now = later(began, Duration::from_secs(11));
    turn(&mut f);
    assert!(f.journal.ending.is_none() && f.journal.waiting.as_ref().is_some_and(|w| w.contains("pods: forbidden")));
    f.world.now = later(began, f.plan.switch.timeout);
    turn(&mut f);
    let ending = f.journal.ending.clone().expect("given up");
    assert_eq!((ending.reason.as_str(), ending.phase), (reasons::CLUSTER_UNREADABLE, Phase::Failed));
}
