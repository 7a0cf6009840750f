//! A stop at every write of a run: the k-th request that writes never arrives, or is applied and its answer lost, or is
//! answered and nothing follows. A fresh operator continues from the stored status alone. The run must end as the one that
//! nobody disturbed, with the same Jobs started and the same selectors patched, each as often.
//!
//! And: the reply to every write in turn comes late, after those behind it; every effect in turn is refused.

mod sim;

use std::collections::BTreeSet;

use cutover::api::phase::Phase;
use cutover::api::run::RunState;
use sim::cluster::{Cluster, Who, Wrote};
use sim::files::{load, stage};
use sim::knife::{Cut, Knife};
use sim::promises;
use sim::timeline::Timeline;

/// Plays a scenario with this knife.
fn play(name: &str, knife: Knife) -> Timeline {
    let mut line = stage(&load(name), None);
    line.cluster.knife = knife;
    line.run();
    assert!(line.cluster.broken.is_empty(), "{name}: {:#?}\n{}", line.cluster.broken, line.log.text());
    line
}

/// What a run leaves behind, without times.
fn end(cluster: &Cluster) -> String {
    let mut lines = vec![];
    let status = &cluster.status;
    lines.push(format!("{} {:?}", status.phase, status.state));
    lines.push(format!("{:?}", status.ending.as_ref().map(|e| (e.phase, &e.reason, &e.trigger, e.incomplete))));
    for step in &status.steps {
        let job = step.job.as_ref().map(|j| (&j.name, j.uid.is_some(), j.owned));
        lines.push(format!("step {} {:?} attempt {} {job:?}", step.name, step.state, step.attempt));
    }
    for s in status.switch.iter().flat_map(|s| &s.services) {
        lines.push(format!("switch {} {:?} {:?} {:?}", s.name, s.state, s.from, s.to));
    }
    for (name, s) in &cluster.services {
        lines.push(format!("service {name} {:?} fence {:?}", s.view.selector, s.fence));
    }
    for (w, view) in &cluster.workloads {
        lines.push(format!("workload {} {}", w.name, view.wanted));
    }
    for (w, view) in &cluster.workloads {
        lines.push(format!("template {} {} {:?}", w.name, view.template, cluster.annotations.get(w)));
    }
    for (name, job) in &cluster.cron_jobs {
        lines.push(format!("CronJob {name} {}", job.suspended));
    }
    for (name, secret) in &cluster.secrets {
        lines.push(format!("Secret {name} {} {}", secret["data"], secret["metadata"]["ownerReferences"]));
    }
    for (name, job) in &cluster.jobs {
        lines.push(format!("job {name} {:?} suspended {} owned {}", job.view.end, job.view.suspended, job.view.owned));
    }
    lines.join("\n")
}

/// Writes that count: starts of Jobs, patches of selectors, scalings, requests sent.
fn writes(cluster: &Cluster) -> Vec<String> {
    let ours = cluster.audit.iter().filter(|a| a.who == Who::Us);
    let mut all: Vec<String> = ours
        .filter_map(|a| match &a.what {
            Wrote::JobCreated { job } => Some(format!("create {job}")),
            Wrote::JobStarted { job, .. } => Some(format!("start {job}")),
            Wrote::JobDeleted { job } => Some(format!("delete {job}")),
            Wrote::Selector { service, to, .. } => Some(format!("selector {service} {to:?}")),
            Wrote::Scaled { workload, from, to } => Some(format!("scale {} {from} {to}", workload.name)),
            Wrote::Changed { object, change } => Some(format!("{change} {}", object.name)),
            Wrote::Sent { key } => Some(format!("send {key}")),
            Wrote::PodDeleted { pod, .. } => Some(format!("delete pod {pod}")),
            Wrote::Answered { decision } => Some(format!("answer {decision}")),
            Wrote::Fence { .. }
            | Wrote::JobOwned { .. }
            | Wrote::Secret { .. }
            | Wrote::Status
            | Wrote::Told { .. } => None,
            Wrote::ServiceGone { .. } | Wrote::ServiceCreated { .. } | Wrote::Annotated { .. } => None,
        })
        .collect();
    all.sort();
    all.extend(told(cluster));
    all
}

/// What receivers have heard, in order. One may hear something twice, under the same id: it counts once.
fn told(cluster: &Cluster) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut told: Vec<(&str, String)> = vec![];
    for a in &cluster.audit {
        if let Wrote::Told { receiver, notice, event } = &a.what
            && seen.insert((receiver, notice))
        {
            told.push((receiver, format!("tell {receiver} {event:?}")));
        }
    }
    told.sort_by_key(|(receiver, _)| *receiver);
    told.into_iter().map(|(_, line)| line).collect()
}

/// The run that nobody disturbs, and how many writes it makes.
fn reference(name: &str) -> (String, Vec<String>, u32) {
    let line = play(name, Knife::default());
    assert_eq!(line.cluster.status.state, RunState::Closed, "{name}\n{}", line.log.text());
    (end(&line.cluster), writes(&line.cluster), line.cluster.knife.count)
}

fn stopped_everywhere(name: &str) {
    let (wanted, counts, n) = reference(name);
    assert!(n > 5, "{name} writes {n} times only");
    for cut in [Cut::Before, Cut::Applied, Cut::Answered] {
        for k in 1..=n {
            let line = play(name, Knife { at: Some((k, cut)), ..Knife::default() });
            let what = format!("{name}, stopped at write {k} ({cut:?})\n{}", line.log.text());
            assert_eq!(end(&line.cluster), wanted, "{what}");
            assert_eq!(writes(&line.cluster), counts, "{what}");
        }
    }
    println!("{name}: {n} writes, stopped at each in three ways");
}

fn overtaken_everywhere(name: &str) {
    let (wanted, counts, n) = reference(name);
    for k in 1..=n {
        let line = play(name, Knife { slow: Some(k), ..Knife::default() });
        let what = format!("{name}, slow reply to write {k}\n{}", line.log.text());
        assert_eq!(end(&line.cluster), wanted, "{what}");
        assert_eq!(writes(&line.cluster), counts, "{what}");
    }
}

/// Each effect in turn is refused: the run ends all the same, with all Services on one side.
fn refused_everywhere(name: &str) {
    let (_, _, n) = reference(name);
    for k in 1..=n {
        let line = play(name, Knife { refuse: Some(k), ..Knife::default() });
        let cluster = &line.cluster;
        let what = format!("{name}, write {k} refused\n{}", line.log.text());
        let waits = promises::waits_for(cluster);
        assert!(cluster.status.state == RunState::Closed || waits.is_some(), "{what}");
        let on = |side: &str| cluster.plan.services.iter().all(|s| cluster.points_to(s) == Some(side));
        match cluster.status.phase {
            Phase::Completed => assert!(on(&cluster.plan.target.name), "{what}"),
            _ => assert!(on(&cluster.plan.old.name), "{what}"),
        }
    }
}

/// Where others write a Service between claim and patch, a stop may leave it unknown what became of the patch: then the run
/// ends on the side that was live, and otherwise on the target; never on both, and no patch takes effect twice.
#[test]
fn stopped_at_every_write_while_others_write_the_service() {
    for name in ["switch_annotated", "switch_annotated_two"] {
        let (_, _, n) = reference(name);
        let mut ends = (0, 0);
        for cut in [Cut::Before, Cut::Applied, Cut::Answered] {
            for k in 1..=n {
                let line = play(name, Knife { at: Some((k, cut)), ..Knife::default() });
                let cluster = &line.cluster;
                let what = format!("{name}, stopped at write {k} ({cut:?})\n{}", line.log.text());
                assert_eq!(cluster.status.state, RunState::Closed, "{what}");
                let completed = cluster.status.phase == Phase::Completed;
                let side = if completed { &cluster.plan.target.name } else { &cluster.plan.old.name };
                assert!(cluster.plan.services.iter().all(|s| cluster.points_to(s) == Some(side)), "{what}");
                if completed { ends.0 += 1 } else { ends.1 += 1 }
            }
        }
        assert!(ends.0 > 0 && ends.1 > 0, "{name}: {ends:?}: both ends are to be met");
    }
}

macro_rules! each {
    ($($name:ident)*) => {
        $(mod $name {
            #[test]
            fn stopped_at_every_write() {
                super::stopped_everywhere(stringify!($name));
            }
            #[test]
            fn every_reply_overtaken() {
                super::overtaken_everywhere(stringify!($name));
            }
            #[test]
            fn every_effect_refused() {
                super::refused_everywhere(stringify!($name));
            }
        })*
    };
}

each! {
    good_release
    two_services
    error_count
    error_guarded
    endpoint
    error_rate
    default_rule
    undo_in_reverse
    patched_back
    decision_abort
    decision_rollback
    words_retry_under_way
    scale_step
    cron_jobs
    restart_step
    set_env
    undo_rollout
    undo_step
    retries
    follow_ups
    single_writer
    closing_crash
    closing_switch
    target_changed_in_preflight
    target_changed_in_use
    sensitive
    notified
}
