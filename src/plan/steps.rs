//! PURE. Steps: defaults filled in, what may stand where, and the steps that are inserted.

use crate::api::step::{Job, OnFailure, Step, Undo, UndoBefore, UndoWhen};

use super::actions::{self, approval, captures, job, resolved, texts};
use super::refuse::{Of, Refusals, label, not_yet};
use super::resolving::{ActionPlace, Cx, EVERY, Part, attempts, timeout_is_some_time};
use super::scope::{MAX_NAME, Scope, Usage};
use super::{Action, PlanStep, PlanUndo, Stage, before};

/// End of the name of a dry run's step.
pub(super) const DRY_RUN: &str = "-dry-run";

/// Resolves the steps of a stage, found at `at`.
pub(super) fn stage(cx: &mut Cx, stage: Stage, steps: &[Step], at: &str) -> Vec<PlanStep> {
    let mut out = vec![];
    for (i, step) in steps.iter().enumerate() {
        let at = format!("{at}[{}]", label(&step.name, i));
        cx.scope.take_name(&step.name, &format!("{at}.name"), cx.refusals);
        if let Some(resolved) = one(cx, stage, step, &at) {
            out.extend(resolved);
        }
        cx.scope.take_captures(captures(&step.action, actions::of_step, &at), cx.refusals);
        cx.scope.steps.insert(step.name.clone());
    }
    if stage == Stage::Rollback {
        approval::hold_something_back(steps, at, cx.refusals);
    }
    out
}

fn one(cx: &mut Cx, stage: Stage, step: &Step, at: &str) -> Option<Vec<PlanStep>> {
    match serde_json::to_value(step) {
        Ok(value) => not_yet(Of::Step, &value, at, cx.refusals),
        Err(why) => cx.refusals.add(at, format!("the step cannot be read: {why}"), "write it anew"),
    }
    if let Err(named) = step.action.one() {
        let message = format!("a step has exactly one action, this one has {named}");
        cx.refusals.add(at, message, "split or complete it");
    }
    let texts = texts(&step.action, actions::of_step, at);
    for usage in Usage::condition(step.when.as_deref(), at).into_iter().chain(texts) {
        cx.scope.check(&usage, cx.refusals);
    }
    for (i, needed) in step.needs.iter().enumerate() {
        cx.scope.check_step(needed, &format!("{at}.needs[{i}]"), cx.refusals);
    }
    cx.refusals.require(
        step.after.is_empty(),
        format!("{at}.after"),
        "after orders the steps of a suite; these run one after another anyway",
        "leave it out, or use needs",
    );
    timeout_is_some_time(step.timeout, at, cx.refusals);
    let (attempts, every) = attempts(step.retry.as_ref(), at, cx.refusals);
    let on_failure = on_failure(stage, step, at, cx.refusals);
    let place = ActionPlace { stage, part: Part::Step(step), timeout: step.timeout, field: at };
    let action = resolved(cx, &step.action, actions::of_step, &place)?;
    let resolved = PlanStep {
        name: step.name.clone(),
        stage,
        critical: step.critical,
        when: step.when.clone(),
        timeout: step.timeout.unwrap_or_else(|| action.time(attempts, every)),
        attempts,
        every,
        needs: step.needs.clone(),
        after: vec![],
        session: None,
        on_failure,
        undo: undo(cx, stage, step, &action, at),
        action,
    };
    if stage == Stage::BeforeRestore {
        before::check(step, &resolved.action, at, cx.refusals);
    }
    can_be_kept(step, &resolved, at, cx.refusals);
    can_be_undone_alone(&resolved, at, cx.refusals);
    Some(with_dry_run(cx, resolved, at))
}

/// What a failure leads to: what the step says, else what its place says.
fn on_failure(stage: Stage, step: &Step, at: &str, refusals: &mut Refusals) -> OnFailure {
    let of_stage = match stage {
        Stage::Preflight | Stage::Prepare | Stage::Verify | Stage::Confirm => OnFailure::Fail,
        Stage::Finish | Stage::FollowUp | Stage::Retire => OnFailure::Decide,
        Stage::BeforeRestore | Stage::Rollback | Stage::RollbackVerify => OnFailure::Continue,
    };
    match step.on_failure {
        Some(said) => {
            refusals.require(
                step.critical || said == OnFailure::Continue,
                format!("{at}.onFailure"),
                format!("critical: false means Continue, not {said:?}"),
                "leave out one of the two",
            );
            refusals.require(
                stage != Stage::FollowUp || matches!(said, OnFailure::Continue | OnFailure::Decide),
                format!("{at}.onFailure"),
                "a failing follow-up asks people, or is tolerated",
                "use Decide or Continue",
            );
            refusals.require(
                !stage.is_way_back() || said == OnFailure::Continue,
                format!("{at}.onFailure"),
                "a failing step of a rollback does not stop the ones after it",
                "leave it out",
            );
            said
        }
        None if !step.critical => OnFailure::Continue,
        None => of_stage,
    }
}

/// `keepOnRetry` stands on what a failed run leaves in force, and never in place of a person's approval.
fn can_be_kept(step: &Step, resolved: &PlanStep, at: &str, refusals: &mut Refusals) {
    if !step.keep_on_retry {
        return;
    }
    let at = format!("{at}.keepOnRetry");
    if resolved.undo.is_some() {
        refusals.add(
            &at,
            "a run that fails undoes the step, so that nothing is left to be kept",
            "leave out one of the two",
        );
    }
    if matches!(resolved.action, Action::Approval(_)) {
        refusals.add(&at, "an approval is given for one run", "leave it out: people are asked anew");
    }
    if !resolved.action.sensitive().is_empty() {
        let message = "what it captures as sensitive is in the Secret of the run that failed, which goes with it";
        refusals.add(&at, message, "leave out one of the two");
    }
    if resolved.stage.is_way_back() {
        refusals.add(at, "a rollback is never retried", "leave it out");
    }
}

/// `onFailure: UndoStep` needs an undo that is due after a failure.
fn can_be_undone_alone(step: &PlanStep, at: &str, refusals: &mut Refusals) {
    if step.on_failure != OnFailure::UndoStep {
        return;
    }
    match &step.undo {
        None => refusals.add(
            format!("{at}.onFailure"),
            "the step has nothing that undoes it",
            "give it an undo, or say Fail, Continue or Decide",
        ),
        Some(undo) => refusals.require(
            undo.when == UndoWhen::Attempted,
            format!("{at}.undo.when"),
            "an undo of what succeeded is never due for a step that failed",
            "say Attempted, or leave it out",
        ),
    }
}

fn undo(cx: &mut Cx, stage: Stage, step: &Step, action: &Action, at: &str) -> Option<PlanUndo> {
    let Some(undo) = &step.undo else {
        let action = action.automatic_undo(&step.name).filter(|_| may_be_undone(stage))?;
        let timeout = action.time(1, EVERY);
        return Some(PlanUndo { when: Default::default(), timeout, approval: None, before_restore: false, action });
    };
    let at = format!("{at}.undo");
    match stage {
        Stage::Preflight => cx.refusals.add(
            &at,
            "preflight only reads, so there is nothing to undo",
            "move the step to prepare, or leave undo out",
        ),
        Stage::BeforeRestore => {
            cx.refusals.add(&at, "what comes before the restore has no undo", "reverse it in phases.rollback")
        }
        Stage::Rollback | Stage::RollbackVerify => cx.refusals.add(&at, "a rollback is not undone", "leave undo out"),
        Stage::FollowUp => cx.refusals.add(
            &at,
            "a follow-up changes nothing, so there is nothing to undo",
            "move the step to finish, or leave undo out",
        ),
        _ => {}
    }
    let resolved = explicit_undo(cx, stage, step, undo, &at)?;
    job::check_undo(action, &resolved.action, &at, cx.refusals);
    Some(resolved)
}

fn explicit_undo(cx: &mut Cx, stage: Stage, step: &Step, undo: &Undo, at: &str) -> Option<PlanUndo> {
    match serde_json::to_value(undo) {
        Ok(value) => not_yet(Of::Step, &value, at, cx.refusals),
        Err(why) => cx.refusals.add(at, format!("the undo cannot be read: {why}"), "write it anew"),
    }
    if let Err(named) = undo.action.one() {
        let message = format!("an undo has exactly one action, this one has {named}");
        cx.refusals.add(at, message, "give exactly one");
    }
    // An undo may use what its own step captured.
    let mut scope = cx.scope.clone();
    scope.know(captures(&step.action, actions::of_step, at));
    scope.steps.insert(step.name.clone());
    for usage in texts(&undo.action, actions::anywhere, at) {
        scope.check(&usage, cx.refusals);
    }
    for captured in captures(&undo.action, actions::anywhere, at) {
        cx.refusals.add(captured.field, "nothing comes after an undo that could use a capture", "leave it out");
    }
    timeout_is_some_time(undo.timeout, at, cx.refusals);
    let place = ActionPlace { stage, part: Part::Undo, timeout: undo.timeout, field: at };
    let action = resolved(cx, &undo.action, actions::anywhere, &place)?;
    let timeout = undo.timeout.unwrap_or_else(|| action.time(1, EVERY));
    if let Some(asked) = &undo.approval {
        approval::check(asked, &format!("{at}.approval"), cx.requested, cx.refusals);
    }
    let before_restore = match undo.before {
        Some(UndoBefore::Restore) => true,
        None => false,
    };
    if before_restore {
        before::check_undo(undo, at, cx.refusals);
    }
    Some(PlanUndo { when: undo.when, timeout, approval: undo.approval.clone(), before_restore, action })
}

fn may_be_undone(stage: Stage) -> bool {
    !stage.is_way_back() && !matches!(stage, Stage::Preflight | Stage::FollowUp)
}

/// A Job's dry run becomes a step before it, which must succeed.
fn with_dry_run(cx: &mut Cx, mut step: PlanStep, at: &str) -> Vec<PlanStep> {
    let Action::Job(job) = &mut step.action else { return vec![step] };
    let Some(dry_run) = job.dry_run.take() else { return vec![step] };
    let pretend = Job {
        command: dry_run.command,
        args: vec![],
        expect_log: vec![],
        expect: vec![],
        capture: vec![],
        ..job.clone()
    };
    let name = free_name(&step.name, &cx.scope);
    cx.scope.take_name(&name, &format!("{at}.job.dryRun"), cx.refusals);
    cx.scope.steps.insert(name.clone());
    let first = PlanStep { name: name.clone(), action: Action::Job(pretend), undo: None, ..step.clone() };
    if step.on_failure == OnFailure::Continue {
        // The run goes on after a failed dry run, but not into the Job itself.
        let passed = format!("steps['{name}'].outcome == 'Succeeded'");
        let both = step.when.as_ref().map_or(passed.clone(), |when| format!("({when}) && {passed}"));
        cx.refusals.require(
            both.len() <= super::expr::MAX_LEN,
            format!("{at}.when"),
            "the condition is too long to be combined with the dry run's",
            "shorten it",
        );
        step.when = Some(both);
    }
    step.needs.push(name);
    vec![first, step]
}

/// `NAME-dry-run`, shortened and numbered until it is free.
fn free_name(step: &str, scope: &Scope) -> String {
    let cut = |room: usize| step.chars().take(room).collect::<String>().trim_end_matches('-').to_owned();
    let first = format!("{}{DRY_RUN}", cut(MAX_NAME - DRY_RUN.len()));
    if !scope.has_name(&first) {
        return first;
    }
    let numbered = |n: u32| format!("{}-{n}{DRY_RUN}", cut(MAX_NAME - DRY_RUN.len() - 4));
    (2..=999).map(numbered).find(|name| !scope.has_name(name)).unwrap_or(first)
}
