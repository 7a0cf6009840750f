//! The fingerprint of a state: times as offsets from now (capped), counters saturated, texts for people dropped.

use std::fmt::Write as _;

use cutover::api::Duration;
use cutover::api::phase::Phase;
use cutover::api::run::{RunStatus, StepState, SwitchRecord, SwitchState};
use cutover::effect::Effect;
use cutover::journal::later;
use jiff::Timestamp;

use super::{Operator, State, shell};
use crate::sim::promises;
use crate::sim::search::hash;

/// Offsets beyond this are all the same.
const CAP_MS: i64 = 12_000;

impl State {
    /// What tells this state from others.
    pub fn fingerprint(&self) -> u128 {
        let mut text = String::with_capacity(8192);
        let now = self.cluster.now;
        self.journal(&self.cluster.status, &mut text);
        let c = &self.cluster;
        let services = c.services.values().map(|s| (&s.view.uid, &s.view.resource_version, &s.view.selector, &s.fence));
        let workloads = c.workloads.values().map(|w| (w.wanted, w.available, w.replicas, &w.template_hash));
        let jobs = c.jobs.values().map(|j| {
            let v = &j.view;
            let started = v.started.filter(|_| v.end.is_none());
            (&v.uid, &v.resource_version, v.suspended, started, &v.end, v.owned)
        });
        let pods = c.pods.values().map(|(_, p)| (&p.uid, p.ready));
        let said = c.decisions.iter().map(|d| d.spec.decision);
        let _ = write!(
            text,
            "|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{}|{:?}",
            services.collect::<Vec<_>>(),
            workloads.collect::<Vec<_>>(),
            jobs.collect::<Vec<_>>(),
            pods.collect::<Vec<_>>(),
            c.endpoints,
            c.sick,
            said.collect::<Vec<_>>(),
            c.cutover.as_ref().map(|c| (c.deleting, &c.activate, &c.release.version, c.suspend)),
            c.faults,
            c.counts,
            (c.touched, c.unwritten),
            self.budget,
            promises::waits_for(c).is_some(),
        );
        let _ = write!(text, "|{:?}", c.answers.keys().collect::<Vec<_>>());
        for sent in &self.sent {
            // When it was decided makes no difference to what comes of it.
            let _ = match &sent.effect {
                Effect::TakeUp { uid, resource_version, .. } => {
                    write!(text, "|take up {uid} {}{:?}", self.is_current(uid, resource_version), sent.by)
                }
                effect => write!(text, "|{effect:?}{:?}", sent.by),
            };
        }
        let behind = self.behind();
        for op in &self.ops {
            self.operator(op, behind, &mut text);
        }
        hash(&offsets(&text, now))
    }

    /// Whether a version of a decision is its present one: which number it has depends on everything else that happened.
    fn is_current(&self, uid: &str, version: &str) -> bool {
        self.cluster.decisions.iter().any(|d| d.uid == uid && d.resource_version == version)
    }

    /// What an operator knows.
    fn operator(&self, op: &Operator, behind: bool, text: &mut String) {
        let (now, w) = (self.cluster.now, op.shell.pilot.world());
        if *op.shell.pilot.journal() != self.cluster.status {
            self.journal(op.shell.pilot.journal(), text);
        }
        let refused: Vec<_> = w.said.refused.keys().collect();
        let _ = write!(text, "|{refused:?}|{}|{:?}", w.said.mute.is_some(), w.unrecorded);
        let open = |name: &&String| {
            self.cluster.status.steps.iter().any(|s| s.name == **name && s.state == StepState::Running)
        };
        let _ = write!(text, "|{:?}", w.begun_before.iter().filter(open).collect::<Vec<_>>());
        let current: Vec<_> = w.decisions.iter().map(|d| self.is_current(&d.uid, &d.resource_version)).collect();
        let _ = write!(text, "|{current:?}");
        let inherited: Vec<_> = w.decisions.iter().filter(|d| w.inherited.contains(&d.uid)).map(|d| &d.uid).collect();
        // Since when it has been tried matters only until it is done.
        let taken_up = w.said.taken_up.iter().map(|(uid, t)| {
            (uid, t.done, (!t.done).then_some(t.since), t.tested.is_empty(), self.is_current(uid, &t.tested))
        });
        let _ = write!(text, "|{inherited:?}|{:?}", taken_up.collect::<Vec<_>>());
        // Times that nothing is measured by any more are left out.
        let second = jiff::SignedDuration::from_secs(1);
        let tried = w.tried.iter().filter(|(_, at)| now.duration_since(**at) < second);
        let outcomes = w.outcomes.iter().map(|(k, seen)| (k, &seen.value));
        let _ = write!(text, "|{:?}|{:?}|{:?}", w.in_flight, outcomes.collect::<Vec<_>>(), tried.collect::<Vec<_>>());
        let _ = write!(text, "|{:?}{}{}", op.queries, op.again.len(), op.shell.is_current(&self.cluster));
        text.push_str(&op.shell.pilot.memory(shell::now(&self.cluster)));
        for (key, reading) in w.readings.iter().filter(|(k, _)| !k.is_rehearsal()) {
            let _ = write!(text, "|{key}={reading:?}");
        }
        if behind {
            // Time will tell what the watches have not told.
            let _ = write!(text, "|{}", self.wake().is_some_and(|at| op.reads_by(at)));
            // What was seen, not when.
            let _ = write!(
                text,
                "|{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
                w.services.values().map(|s| &s.value).collect::<Vec<_>>(),
                w.jobs.iter().map(|(n, s)| (n, &s.value)).collect::<Vec<_>>(),
                w.workloads
                    .values()
                    .map(|s| s.value.as_ref().map(|v| (v.wanted, v.available, &v.template_hash)))
                    .collect::<Vec<_>>(),
                w.pods.as_ref().map(|s| s.value.iter().map(|p| (&p.uid, p.ready)).collect::<Vec<_>>()),
                w.endpoints.values().map(|s| &s.value).collect::<Vec<_>>(),
                w.decisions.iter().map(|d| d.spec.decision).collect::<Vec<_>>(),
                w.cutover.as_ref().map(|s| s.value.as_ref().map(|c| (c.deleting, &c.activate, c.suspend))),
            );
        }
    }

    /// The journal without what is only there for people, and without times that nothing is measured by any more.
    fn journal(&self, status: &RunStatus, text: &mut String) {
        let mut s = status.clone();
        let refreshed =
            |since| self.ops.iter().all(|op| op.shell.pilot.world().refreshed.is_some_and(|at| Some(at) >= since));
        let _ = write!(text, "{}{}", refreshed(s.phase_since), refreshed(s.ending.as_ref().map(|e| e.at)));
        cutover::journal::without_record(&mut s);
        s.timeline.clear();
        s.conditions.clear();
        s.waiting = None;
        // What comes after Completed is due by it.
        let due_by = s.phase == Phase::Completed
            && (self.cluster.plan.retire.is_some() || !self.cluster.plan.follow_up.is_empty());
        if s.phase != Phase::Switching && !s.phase.is_over() && !due_by {
            s.phase_since = None;
        }
        for step in &mut s.steps {
            step.evidence = None;
            step.message = None;
            // Only the time-out is measured by them.
            step.started =
                step.started.map(|at| later(at, Duration::from_millis(std::mem::take(&mut step.stopped_ms))));
            if matches!(step.state, StepState::Succeeded | StepState::Failed | StepState::Skipped) {
                (step.started, step.ended, step.attempt_at) = (None, None, None);
                if let Some(job) = &mut step.job {
                    job.started = None;
                }
            }
        }
        for d in &mut s.decisions {
            d.at = Timestamp::UNIX_EPOCH;
            d.result = d.result.split(':').next().unwrap_or_default().to_owned();
        }
        // How long a restore has been blocked matters only where undos wait for it.
        let undos = s.steps.iter().any(|step| step.job.is_some());
        for service in s.switch.iter_mut().flat_map(|s| &mut s.services) {
            service.message = None;
            if let Some(blocked) = &mut service.blocked {
                blocked.message.clear();
                if !undos {
                    blocked.since = Timestamp::UNIX_EPOCH;
                }
            }
        }
        if let Some(e) = &mut s.ending {
            if !undos {
                e.empty_since = e.empty_since.map(|_| Timestamp::UNIX_EPOCH);
            }
            e.message.clear();
            let gone = |s: &SwitchRecord| s.services.iter().any(|s| s.state == SwitchState::Gone);
            if s.switch.as_ref().is_none_or(|s| s.restored_at.is_some() && !gone(s)) {
                e.at = Timestamp::UNIX_EPOCH;
            }
        }
        if let Some(q) = &mut s.question {
            q.text.clear();
            q.at = Timestamp::UNIX_EPOCH;
        }
        let armed = s.ending.is_none() && s.phase != Phase::Completed;
        for t in &mut s.triggers {
            (t.trials, t.armed_at, t.saw, t.inconclusive_since) = (0, None, None, None);
            t.bad_in_a_row = t.bad_in_a_row.min(3);
            if !armed {
                (t.last_at, t.last, t.bad_since, t.bad_in_a_row) = (None, None, None, 0);
            }
        }
        if s.phase != Phase::Observing {
            s.observation = None;
        }
        if let Some(o) = &mut s.observation {
            // Only the deadline is measured by them.
            o.since = later(o.since, Duration::from_millis(std::mem::take(&mut o.stopped_ms)));
        }
        if let Some(switch) = &mut s.switch {
            if s.phase != Phase::Switching {
                switch.claimed_at = Timestamp::UNIX_EPOCH;
                switch.converged_at = None;
            }
            switch.restored_at = switch.restored_at.map(|_| Timestamp::UNIX_EPOCH);
            for service in switch.services.iter_mut() {
                service.switched_at = service.switched_at.map(|_| Timestamp::UNIX_EPOCH);
                service.restored_at = service.restored_at.map(|_| Timestamp::UNIX_EPOCH);
            }
        }
        match serde_json::to_string(&s) {
            Ok(json) => text.push_str(&json),
            Err(e) => text.push_str(&e.to_string()),
        }
    }
}

/// Replaces every time by its distance from now, capped, and every number of a trial by nothing.
fn offsets(text: &str, now: Timestamp) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['2', '1', '@']) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        if let Some(after) = tail.strip_prefix('@') {
            out.push('@');
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            continue;
        }
        let looks = tail.as_bytes().get(4) == Some(&b'-') && tail.as_bytes().get(10) == Some(&b'T');
        let end = if looks { tail.find('Z') } else { None };
        match end.and_then(|end| tail.get(..=end)).and_then(|t| Some((t.len(), t.parse::<Timestamp>().ok()?))) {
            Some((length, time)) => {
                let ms = time.duration_since(now).as_millis();
                let ms = i64::try_from(ms).unwrap_or(CAP_MS).clamp(-CAP_MS, CAP_MS);
                let _ = write!(out, "{ms}");
                rest = tail.get(length..).unwrap_or_default();
            }
            None => {
                out.push_str(tail.get(..1).unwrap_or_default());
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}
