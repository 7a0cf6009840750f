//! What people say about a run: approve, reject, suspend, resume, abort, rollback, retry, resolve, revalidate. Each is a
//! CutoverDecision under the user's own name; the command shows what it is about, and prints the operator's answer.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::ask;
use super::exit::{Exit, Failure};
use super::find::{Found, find};
use super::global::Global;
use super::output;
use super::rights::{OURS, Right};
use super::session::Session;
use super::status::model::Status;
use super::status::question::{self, Question};
use super::status::{page, read};
use super::text::{Glyph, Line, Page, Tone, time};
use crate::api::decision::{Resolution, Verb};
use crate::api::run::CutoverRun;
use crate::view;

pub(crate) mod break_glass;
mod gate;
mod refused;
pub(crate) mod say;
mod touched;

pub(crate) use break_glass::RIGHTS as BREAK_GLASS_RIGHTS;
pub(crate) use gate::{Gate, may};
pub(crate) use refused::refused;
pub(crate) use touched::{changes, is_final, leads_back, touched};

use say::{Answer, Word};
use touched::answered;

/// What every decision may ask. The verb itself is a right on `cutovers/run` or `cutovers/ROLE`, which the admission policy
/// asks for.
pub(crate) const RIGHTS: [Right; 11] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    Right::need("create", OURS, "cutoverdecisions"),
    Right::need("get", OURS, "cutoverdecisions"),
    Right::need("watch", OURS, "cutoverdecisions"),
    Right::need("create", "authorization.k8s.io", "selfsubjectaccessreviews"),
    Right::wish("list", "apps", "deployments"),
    Right::wish("list", "apps", "statefulsets"),
    Right::wish("list", "", "pods"),
];

/// How a decision is said.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// Why; it stays in the record.
    #[arg(short = 'm', long, value_name = "TEXT")]
    comment: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// How long to wait for the operator's answer; 0 does not wait.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::duration)]
    wait: Duration,
}

/// What every decision takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Say {
    /// A Cutover or a run; without one, the only Cutover of the namespace.
    name: Option<String>,
    #[command(flatten)]
    how: How,
}

/// The way back; `--without-operator` is for the night on which the operator is away.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rollback {
    #[command(flatten)]
    say: Say,
    /// The operator is away: put the selectors back yourself, with the operator's own patch and tests and your own rights.
    /// The decision is recorded, too: the operator adopts the restore and runs the undos when it is back.
    #[arg(long)]
    without_operator: bool,
}

/// What a step did whose result was lost, or the answer to a question.
#[derive(Args, Clone, Debug)]
pub(crate) struct Resolve {
    /// A Cutover or a run.
    name: String,
    /// The step; `decision` for an open question, `restore` for a restore that an empty old side blocks.
    step: String,
    /// What happened, or what is to happen.
    #[arg(value_enum)]
    outcome: Outcome,
    #[command(flatten)]
    how: How,
}

/// Answers to [`Resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcome {
    /// The step did its work; for `decision`: go on.
    Succeeded,
    /// It did not; for `decision`: roll back.
    Failed,
    /// For `restore`: run the undos first.
    UndoFirst,
    /// For `restore`: scale the target to 0, so that the old side can start.
    StopTarget,
    /// For `restore`: keep trying, and undo afterwards.
    Wait,
}

impl From<Outcome> for Resolution {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::UndoFirst => Self::UndoFirst,
            Outcome::StopTarget => Self::StopTarget,
            Outcome::Wait => Self::Wait,
        }
    }
}

/// What came of a decision.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Decided {
    pub cutover: String,
    pub run: String,
    /// The CutoverDecision.
    pub decision: String,
    pub verb: String,
    /// `accepted`, `refused`, or `open` where nobody has answered yet.
    pub answer: &'static str,
    /// The operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

impl Say {
    /// Says a verb that needs no more.
    pub(crate) async fn run(self, global: &Global, verb: Verb) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let found = find(&session.cluster, self.name.as_deref()).await?;
        refused::check(verb, &found, &session.flags())?;
        self.prepare(&session, &found, verb)?;
        finish(&session, &found, Word::of(verb, self.how.comment.clone()), self.how.wait).await
    }

    /// Shows what will be touched, and asks.
    fn prepare(&self, session: &Session, found: &Found, verb: Verb) -> Result<(), Failure> {
        let run = found.run.as_ref().ok_or_else(|| no_run(found))?;
        let lines = lines(run, verb);
        let (name, run) = (found.cutover.name_any(), run.name_any());
        let place = format!("{}/{name}{}", session.namespace(), session.cluster.context_flag());
        eprint!("{}", about(verb, &run, &place, &lines).show(session.look));
        match verb {
            Verb::Rollback | Verb::Abort if lines.iter().any(|l| is_final(l)) => {
                ask::confirm_by_name(&format!("{verb:?}?"), &run, self.how.yes)
            }
            Verb::Suspend | Verb::Resume | Verb::Revalidate => Ok(()),
            _ => ask::confirm(&format!("{verb:?}?"), self.how.yes),
        }
    }
}

/// What a word about a run will touch, a line each.
fn lines(run: &CutoverRun, verb: Verb) -> Vec<String> {
    let plan = view::plan_of(run);
    match (view::Run::of(run, plan.as_ref()), &run.status) {
        (Some(seen), Some(journal)) => touched(&seen, journal, plan.as_ref(), verb),
        _ => vec![],
    }
}

/// The same of an answer to a question.
pub(crate) fn effects(run: &CutoverRun, question: &Question, outcome: &str) -> Vec<String> {
    let plan = view::plan_of(run);
    match (view::Run::of(run, plan.as_ref()), &run.status) {
        (Some(seen), Some(journal)) => answered(&seen, journal, plan.as_ref(), question, outcome),
        _ => vec![],
    }
}

/// `resolve NAME decision`, and nobody asks.
fn no_question(status: &Status, flags: &str) -> Failure {
    let next = status.next.clone().unwrap_or_else(|| format!("kubectl cutover status {}{flags}", status.cutover));
    Failure::new(format!("no question of {} waits for a decision: {}", status.cutover, status.says()))
        .next(next)
        .exit(Exit::Failed)
}

/// What is shown before a word is said.
fn about(verb: Verb, run: &str, place: &str, lines: &[String]) -> Page {
    let mut page = Page::new();
    page.push(Line::new().tone(Tone::Strong, format!("{verb:?} run {run} of {place}")));
    for line in lines {
        page.push(Line::new().text("  ").sign(Tone::Plain, Glyph::Arrow).text(line));
    }
    page
}

impl Rollback {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        if !self.without_operator {
            return self.say.run(global, Verb::Rollback).await;
        }
        let session = Session::open(global, &BREAK_GLASS_RIGHTS).await?;
        let found = find(&session.cluster, self.say.name.as_deref()).await?;
        break_glass::check(&found, &session.flags())?;
        self.say.prepare(&session, &found, Verb::Rollback)?;
        break_glass::roll_back(&session, &found, self.say.how.comment.clone()).await
    }
}

impl Resolve {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let reading = read::read(&session.cluster, Some(&self.name)).await?;
        let model = Status::of(&reading, &session.flags(), Timestamp::now());
        eprint!("{}", page::page(&model, session.look, Timestamp::now()).show(session.look));
        let outcome = self.outcome.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        let question = model.question.as_ref().filter(|q| q.about == self.step);
        if question.is_none() && self.step == question::DECISION {
            return Err(no_question(&model, &session.flags()));
        }
        let run = reading.found.run.as_ref().ok_or_else(|| no_run(&reading.found))?;
        let lines = question.map(|q| effects(run, q, &outcome)).unwrap_or_default();
        let place = format!("{}/{}{}", session.namespace(), model.cutover, session.cluster.context_flag());
        eprint!("\n{}", about(Verb::Resolve, &run.name_any(), &place, &lines).show(session.look));
        let asked = format!("Say of {}: {outcome}?", self.step);
        match lines.iter().any(|l| is_final(l)) {
            true => ask::confirm_by_name(&asked, &run.name_any(), self.how.yes)?,
            false => ask::confirm(&asked, self.how.yes)?,
        }
        let word = Word {
            step: Some(self.step),
            outcome: Some(self.outcome.into()),
            ..Word::of(Verb::Resolve, self.how.comment)
        };
        finish(&session, &reading.found, word, self.how.wait).await
    }
}

fn no_run(found: &Found) -> Failure {
    let name = found.cutover.name_any();
    Failure::new(format!("Cutover {name} has no run to decide about"))
        .next("change spec.release or spec.activate to start one")
}

/// Says a word, and prints the answer.
async fn finish(session: &Session, found: &Found, word: Word, patience: Duration) -> Result<Exit, Failure> {
    let verb = word.verb;
    let answer = say::say(&session.cluster, found, word, patience).await?;
    print(session, found, verb, &answer)?;
    Ok(answer.exit())
}

fn print(session: &Session, found: &Found, verb: Verb, answer: &Answer) -> Result<(), Failure> {
    let (decision, kind, said) = match answer {
        Answer::Accepted { decision, said } => (decision, "accepted", Some(said.clone())),
        Answer::Refused { decision, said } => (decision, "refused", Some(said.clone())),
        Answer::Open { decision } => (decision, "open", None),
    };
    let model = Decided {
        cutover: found.cutover.name_any(),
        run: found.run.as_ref().map(ResourceExt::name_any).unwrap_or_default(),
        decision: decision.clone(),
        verb: format!("{verb:?}"),
        answer: kind,
        said,
    };
    let names = [format!("cutoverdecision.cutover.dev/{decision}")];
    output::print(session.global.output, session.look, &model, &names, || decided(&model, &session.flags()))
}

fn decided(model: &Decided, flags: &str) -> Page {
    let (tone, glyph) = match model.answer {
        "accepted" => (Tone::Good, Glyph::Good),
        "refused" => (Tone::Bad, Glyph::Bad),
        _ => (Tone::Warn, Glyph::Unknown),
    };
    let mut page = Page::new();
    let line =
        Line::new().sign(tone, glyph).tone(Tone::Strong, format!("{} of run {}", model.verb, model.run)).text(": ");
    page.push(match &model.said {
        Some(said) => line.text(said),
        None => line.text("nobody has answered yet; the operator may be away"),
    });
    let next = match (model.answer, model.verb.as_str()) {
        ("open", "Rollback") => format!("kubectl cutover rollback {} --without-operator{flags}", model.cutover),
        ("open", _) => format!("kubectl get cutoverdecision {}{flags}", model.decision),
        ("accepted", _) => format!("kubectl cutover watch {}{flags}", model.cutover),
        _ => format!("kubectl cutover status {}{flags}", model.cutover),
    };
    page.push(Line::new().tone(Tone::Dim, format!("next: {next}")));
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixtures::{self, HOSTILE, observing, shown};

    fn run_of(comment: &str) -> crate::api::run::CutoverRun {
        let mut status = observing();
        status["decisions"][0]["comment"] = json!(comment);
        fixtures::run(2, "2.4.0", Some(status))
    }

    #[test]
    fn what_a_word_touches_is_shown_before_it_is_said() {
        let run = run_of("fine");
        for verb in [Verb::Rollback, Verb::Abort, Verb::Retry, Verb::Suspend, Verb::Resume, Verb::Revalidate] {
            let lines = lines(&run, verb);
            let name = format!("decide-{verb:?}").to_lowercase();
            fixtures::of_page(&name, &about(verb, "web-2", "prod/web", &lines));
        }
        let mut asked = observing();
        asked["question"] = json!({"subject": "trigger/errors", "text": "trigger errors fired", "at": fixtures::at(9),
            "defaultRollback": true});
        let asks = fixtures::run(2, "2.4.0", Some(asked));
        let plan = view::plan_of(&asks);
        let question = Question::of(&view::Run::of(&asks, plan.as_ref()).expect("begun"), "web", " -n prod");
        let question = question.expect("a question");
        // The same lines as before a rollback.
        let (back, rollback) = (effects(&asks, &question, "failed"), lines(&asks, Verb::Rollback));
        assert_eq!(back[0], "rolls back to blue");
        assert_eq!(back[1..], rollback);
        fixtures::of_page("decide-resolve", &about(Verb::Resolve, "web-2", "prod/web", &back));
        assert_eq!(effects(&asks, &question, "succeeded"), ["goes on, and looks at trigger errors no more"]);
        fixtures::of_page("decide-hostile", &about(Verb::Rollback, HOSTILE, HOSTILE, &[HOSTILE.to_owned()]));
    }

    #[test]
    fn the_answer_is_printed_with_what_is_next() {
        for (answer, said) in [
            ("accepted", Some("accepted".to_owned())),
            ("refused", Some(format!("refused: {HOSTILE}"))),
            ("open", None),
        ] {
            let model = Decided {
                cutover: "web".to_owned(),
                run: "web-2".to_owned(),
                decision: "web-2-rollback-abcde".to_owned(),
                verb: format!("{:?}", Verb::Rollback),
                answer,
                said,
            };
            shown(&format!("decision-{answer}"), &model, &decided(&model, " -n prod"));
        }
    }
}
