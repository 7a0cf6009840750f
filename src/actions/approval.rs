//! PURE. A gate that waits for people (DESIGN §7, P6): passed only when the decisions that were given for this run, this
//! gate and the present token meet the quorum of every role, and only where a forged decision is shown to be denied.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::decision::Verb;
use crate::api::run::{DecisionRecord, GateRecord, GateRole, StepRecord, StepState};
use crate::api::step::Approval;
use crate::effect::Read;
use crate::journal::{ACCEPTED, later};
use crate::plan::{PlanStep, approval_limit};
use crate::world::{Proof, Proven};

use super::{Cx, Out, Verdict, proof, read_key};

/// See [`super::advance`].
pub fn advance(
    cx: &Cx,
    step: &PlanStep,
    approval: &Approval,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    let proof = proof::ask(cx.world, out);
    let shut = shut(proof, cx, out);
    // Where the policies could not be read, a gate that is open stays as it is: nobody passes it meanwhile.
    let Some(policies) = proof.filter(|p| counts_from(p) <= cx.world.now).and_then(|p| p.policies.as_ref()) else {
        record.message = shut;
        return None;
    };
    let Some(token) = token(cx, step, policies) else {
        record.message = Some("the workloads of both sides are being looked up".into());
        out.reads.insert(read_key(step, record), Read::Refresh);
        return None;
    };
    let words: Vec<&DecisionRecord> = said(cx, step, &token).collect();
    if let Some(no) = words.iter().find(|w| w.decision == Verb::Reject) {
        let why = no.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
        let role = no.role.as_deref().unwrap_or_default();
        return Some(Verdict::Fail {
            message: format!("rejected by {} as {role}{why}", no.by),
            evidence: Some(evidence(&[*no])),
        });
    }
    let (roles, counted) = count(approval, &words);
    let opened = record.started.unwrap_or(cx.world.now);
    let until = later(opened, approval_limit(approval));
    let until = later(until, crate::api::duration::Duration::from_millis(record.stopped_ms));
    let missing: Vec<String> = roles
        .iter()
        .filter(|r| r.by.len() < r.wanted as usize)
        .map(|r| format!("{} {} of {}", r.name, r.by.len(), r.wanted))
        .collect();
    record.gate = Some(GateRecord { token: token.clone(), until, roles });
    if !missing.is_empty() {
        let shut = shut.map(|why| format!("; {why}")).unwrap_or_default();
        record.message = Some(format!("approved by {}, until {until:.0}{shut}", missing.join(", ")));
        return None;
    }
    if let Some(why) = shut {
        record.message = Some(why);
        return None;
    }
    Some(Verdict::pass(evidence(&counted)))
}

/// The words given for this gate as it stands now.
fn said<'a>(cx: &'a Cx, step: &'a PlanStep, token: &'a str) -> impl Iterator<Item = &'a DecisionRecord> {
    cx.journal.decisions.iter().filter(move |d| {
        matches!(d.decision, Verb::Approve | Verb::Reject)
            && d.result == ACCEPTED
            && d.gate.as_deref() == Some(step.name.as_str())
            && d.token.as_deref() == Some(token)
    })
}

/// Who has approved in which role. Where different people are asked for, a person counts once over all roles.
fn count<'a>(approval: &Approval, words: &[&'a DecisionRecord]) -> (Vec<GateRole>, Vec<&'a DecisionRecord>) {
    let mut counted = vec![];
    let mut people: BTreeSet<&str> = BTreeSet::new();
    let mut roles: Vec<GateRole> = approval
        .roles
        .iter()
        .map(|r| GateRole { name: r.name.clone(), wanted: r.count.unwrap_or(1), by: vec![] })
        .collect();
    for word in words {
        let Some(role) = roles.iter_mut().find(|r| Some(r.name.as_str()) == word.role.as_deref()) else { continue };
        let known = role.by.contains(&word.by) || (approval.distinct && people.contains(word.by.as_str()));
        // More than asked for takes nobody's vote away from another role.
        if known || role.by.len() >= role.wanted as usize {
            continue;
        }
        people.insert(&word.by);
        role.by.push(word.by.clone());
        counted.push(*word);
    }
    (roles, counted)
}

fn evidence(words: &[&DecisionRecord]) -> Value {
    let one = |w: &&DecisionRecord| json!({"role": w.role, "by": w.by, "at": w.at, "comment": w.comment});
    json!({"decisions": words.iter().map(one).collect::<Vec<_>>()})
}

/// Why the gate stays shut whatever is said.
fn shut(proof: Option<&Proof>, cx: &Cx, out: &mut Out) -> Option<String> {
    let Some(proof) = proof else { return Some("it is being proven that a forged decision is denied".into()) };
    match &proof.verdict {
        Proven::Holds if counts_from(proof) > cx.world.now => {
            let from = counts_from(proof);
            out.wake_at(from);
            Some(format!(
                "the gate stays shut until {from:.0}: until shortly before, forged decisions may have been admitted"
            ))
        }
        Proven::Holds => None,
        Proven::Open(why) => Some(format!("the gate stays shut: {why}")),
        Proven::Unknown(why) => {
            Some(format!("the gate stays shut until it is proven that a forged decision is denied: {why}"))
        }
    }
}

/// From when on what is said is certainly younger than the proof: the API server tells the age of a decision in seconds.
fn counts_from(proof: &Proof) -> Timestamp {
    proof.since.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)
}

/// What an approval is given for: the plan, the pod templates of both sides as they are now, everything recorded so far,
/// and the policies that say whose it is. `None` while a template is not known.
fn token(cx: &Cx, step: &PlanStep, policies: &str) -> Option<String> {
    let templates = cx.world.templates(cx.plan)?;
    let over: Vec<Value> = cx
        .journal
        .steps
        .iter()
        .filter(|r| r.name != step.name && r.state != StepState::Running)
        .map(|r| json!([r.name, r.state, r.attempt, r.evidence, r.message]))
        .collect();
    let all = json!([cx.world.run_uid, step.name, cx.plan, templates, over, cx.journal.captures, policies]);
    let digest = Sha256::digest(all.to_string());
    Some(digest.iter().take(16).map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, proof, step};
    use crate::api::duration::Duration;
    use crate::plan::{Action, Stage};

    fn gate(approval: Value) -> PlanStep {
        let approval = serde_json::from_value(approval).expect("an approval");
        PlanStep { timeout: Duration::from_mins(120), ..step("go", Stage::Verify, Action::Approval(approval)) }
    }

    fn opened(f: &mut Fixture, s: &PlanStep) -> StepRecord {
        let (r, _) = f.drive(s, None);
        assert_eq!(r.state, StepState::Running);
        r
    }

    fn says(f: &mut Fixture, r: &StepRecord, decision: Verb, role: &str, by: &str) {
        f.journal.decisions.push(DecisionRecord {
            uid: format!("{by}-{role}"),
            decision,
            by: by.into(),
            at: f.world.now,
            gate: Some("go".into()),
            role: Some(role.into()),
            token: r.gate.as_ref().map(|g| g.token.clone()),
            step: None,
            outcome: None,
            comment: Some("seen".into()),
            result: ACCEPTED.into(),
        });
    }

    #[test]
    fn the_quorum_of_every_role_by_different_people() {
        let mut f = Fixture::new();
        let s = gate(json!({"roles": [{"name": "qa", "count": 2}, {"name": "ops"}]}));
        let r = opened(&mut f, &s);
        says(&mut f, &r, Verb::Approve, "qa", "ann");
        says(&mut f, &r, Verb::Approve, "ops", "ann");
        says(&mut f, &r, Verb::Approve, "qa", "ann");
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!(r.message.as_deref().map(|m| m.starts_with("approved by qa 1 of 2, ops 0 of 1, until")), Some(true));
        says(&mut f, &r, Verb::Approve, "qa", "bob");
        says(&mut f, &r, Verb::Approve, "ops", "eve");
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!(r.state, StepState::Succeeded, "{:?}", r.message);
        let decisions = r.evidence.as_ref().and_then(|e| e["decisions"].as_array()).map_or(0, Vec::len);
        assert_eq!(decisions, 3);
    }

    #[test]
    fn one_person_may_speak_for_all_roles_where_that_is_said() {
        let mut f = Fixture::new();
        let s = gate(json!({"roles": [{"name": "qa"}, {"name": "ops"}], "distinct": false}));
        let r = opened(&mut f, &s);
        says(&mut f, &r, Verb::Approve, "qa", "ann");
        says(&mut f, &r, Verb::Approve, "ops", "ann");
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Succeeded);
    }

    #[test]
    fn a_rejection_fails_with_its_reason() {
        let mut f = Fixture::new();
        let s = gate(json!({"roles": [{"name": "qa"}]}));
        let r = opened(&mut f, &s);
        says(&mut f, &r, Verb::Reject, "qa", "bob");
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!((r.state, r.message.as_deref()), (StepState::Failed, Some("rejected by bob as qa: seen")));
    }

    #[test]
    fn what_was_given_for_other_evidence_or_templates_counts_no_more() {
        let s = gate(json!({"roles": [{"name": "qa"}]}));
        for change in ["evidence", "template", "capture", "policies", "plan"] {
            let mut f = Fixture::new();
            let r = opened(&mut f, &s);
            says(&mut f, &r, Verb::Approve, "qa", "ann");
            match change {
                "evidence" => f.journal.steps.push(StepRecord {
                    name: "smoke".into(),
                    state: StepState::Succeeded,
                    ..StepRecord::default()
                }),
                "template" => f.workload("green").template_hash = "other".into(),
                "policies" => f.finds(Proof { policies: Some("decision 2".into()), ..proof(Proven::Holds) }),
                "capture" => drop(f.journal.captures.insert("errors".into(), json!(2))),
                _ => f.plan.observe.for_ = Duration::from_secs(1),
            }
            let (after, _) = f.drive(&s, Some(&r));
            assert_eq!(after.state, StepState::Running, "{change}");
            assert_ne!(after.gate.map(|g| g.token), r.gate.clone().map(|g| g.token), "{change}");
        }
    }

    #[test]
    fn the_gate_stays_shut_where_a_forged_decision_would_be_admitted() {
        let mut f = Fixture::new();
        let s = gate(json!({"roles": [{"name": "qa"}]}));
        let r = opened(&mut f, &s);
        let weak = "the API server admits a decision in another's name";
        f.finds(proof(Proven::Open(weak.into())));
        says(&mut f, &r, Verb::Approve, "qa", "ann");
        let (r, out) = f.drive(&s, Some(&r));
        assert!(
            r.state == StepState::Running && r.message.as_ref().is_some_and(|m| m.ends_with(&format!("shut: {weak}")))
        );
        assert!(out.wake.is_some(), "it is asked again");
        let away = Proof { policies: None, ..proof(Proven::Unknown("503".into())) };
        f.finds(away);
        let (after, _) = f.drive(&s, Some(&r));
        assert!(after.state == StepState::Running && after.message.is_some_and(|m| m.ends_with("is denied: 503")));
        assert_eq!(
            after.gate.map(|g| g.token),
            r.gate.map(|g| g.token),
            "what was said for it counts once that is known"
        );
        f.world.readings.clear();
        assert_eq!(f.drive(&s, None).0.state, StepState::Running, "not proven yet");
        // What is said within the same second may be older than the proof.
        let since = f.world.now;
        f.finds(Proof { since, ..proof(Proven::Holds) });
        let (early, out) = f.drive(&s, None);
        assert!(early.gate.is_none() && early.message.is_some_and(|m| m.contains("shut until")), "it is not open yet");
        assert!(out.wake.is_some_and(|at| at <= since + SignedDuration::from_secs(1)));
        f.after(1);
        assert!(f.drive(&s, None).0.gate.is_some());
    }

    #[test]
    fn suspension_stops_its_clock_and_then_it_expires() {
        let mut f = Fixture::new();
        let s = PlanStep {
            timeout: Duration::from_secs(100),
            ..gate(json!({"roles": [{"name": "qa"}], "within": "100s"}))
        };
        let r = opened(&mut f, &s);
        f.after(60);
        f.paused = true;
        let (r, _) = f.drive(&s, Some(&r));
        f.after(1000);
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!(r.state, StepState::Running, "the clock stands still");
        f.paused = false;
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!((r.state, r.stopped_ms), (StepState::Running, 1_000_000));
        f.after(40);
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!(r.state, StepState::Failed);
        assert!(r.message.is_some_and(|m| m.starts_with("timed out after 1m40s: approved by qa 0 of 1")));
    }
}
