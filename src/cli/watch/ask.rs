//! PURE. A word to the operator, from the key to the sending: what it will touch, whether it is meant, and why.

use kube::ResourceExt;

use super::keys::Key;
use crate::api::decision::Verb;
use crate::api::run::{CutoverRun, RunStatus};
use crate::cli::decide::say::Word;
use crate::cli::decide::{self, effects, leads_back, touched};
use crate::cli::status::model::{Gate, Status};
use crate::cli::status::question::{Choice, Question};
use crate::cli::status::read::Reading;
use crate::cli::text::{Glyph, Line, Tone};
use crate::view;

/// Characters of a comment, as many as the API takes.
const LONGEST: usize = 1024;

/// What a key has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Stay,
    /// Nothing is said.
    Leave,
    Say(Word),
}

/// What is asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In which role of the gate.
    Role,
    /// Which answer to the open question.
    Answer,
    /// Whether it is meant.
    Agree,
    /// Why.
    Comment,
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub title: String,
    /// What it is about, and what it touches.
    pub lines: Vec<Line>,
    /// The first of them that is shown.
    pub at: usize,
    /// The run's uid.
    pub uid: String,
    /// The run's name; to be typed before anything goes back.
    run: String,
    verb: Verb,
    stage: Stage,
    typed: String,
    /// What was wrong with the last key.
    wrong: Option<&'static str>,
    roles: Vec<String>,
    role: Option<String>,
    /// The gate's name, and the token of what was shown.
    gate: Option<(String, String)>,
    question: Option<Asked>,
}

/// An open question, and the answer that was chosen.
#[derive(Clone, Debug)]
struct Asked {
    question: Question,
    /// What each of its answers touches.
    effects: Vec<Vec<Line>>,
    chosen: Option<Choice>,
}

impl Ask {
    /// Begins.
    ///
    /// # Errors
    /// Why it cannot be said now.
    pub(crate) fn of(verb: Verb, reading: &Reading, status: &Status) -> Result<Self, String> {
        let run = reading.found.run.as_ref();
        let begun = run.and_then(|run| Some((run, run.status.as_ref()?)));
        let Some((run, journal)) = begun else { return Err("there is no run".to_owned()) };
        let verb = match verb {
            Verb::Suspend if journal.suspended.is_some() => Verb::Resume,
            verb => verb,
        };
        refusal(verb, run, journal)?;
        let name = run.name_any();
        let mut ask = Self {
            title: format!("{verb:?} run {name} of {}/{}", status.namespace, status.cutover),
            lines: vec![],
            at: 0,
            uid: run.uid().unwrap_or_default(),
            run: name,
            verb,
            stage: Stage::Agree,
            typed: String::new(),
            wrong: None,
            roles: vec![],
            role: None,
            gate: None,
            question: None,
        };
        match verb {
            Verb::Approve | Verb::Reject => {
                let Some(gate) = &status.gate else { return Err("no gate waits".to_owned()) };
                ask.on(gate, status);
            }
            Verb::Resolve => {
                let Some(question) = &status.question else { return Err("no question is open".to_owned()) };
                ask.answers(question, run);
            }
            _ => ask.lines = touches(verb, run, journal),
        }
        Ok(ask)
    }

    /// What an open question is about, and what may be said.
    fn answers(&mut self, question: &Question, run: &CutoverRun) {
        self.stage = Stage::Answer;
        self.lines = vec![Line::new().tone(Tone::Strong, &question.text)];
        let of = |c: &Choice| effects(run, question, &c.outcome).iter().map(|text| effect(text)).collect();
        let effects = question.answers.iter().map(of).collect();
        self.question = Some(Asked { question: question.clone(), effects, chosen: None });
    }

    /// What the gate is about.
    fn on(&mut self, gate: &Gate, status: &Status) {
        self.title = format!("{:?} gate {} of {}/{}", self.verb, gate.name, status.namespace, status.cutover);
        self.gate = Some((gate.name.clone(), gate.token.clone()));
        let missing = gate.roles.iter().filter(|r| (r.by.len() as u64) < u64::from(r.wanted));
        self.roles = missing.map(|r| r.name.clone()).collect();
        match self.roles.as_slice() {
            [only] => self.role = Some(only.clone()),
            _ => self.stage = Stage::Role,
        }
        let arrow = |text: &str| Line::new().sign(Tone::Plain, Glyph::Arrow).text(text);
        if let Some(target) = &status.target {
            let release = status.target_release.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
            self.lines.push(arrow(&format!("the run activates {target}{release}")));
        }
        self.lines.extend(gate.instructions.iter().map(|text| Line::new().tone(Tone::Strong, text)));
        let item = |text: &String| Line::new().sign(Tone::Plain, Glyph::Todo).text(text);
        self.lines.extend(gate.checklist.iter().map(item));
        for step in status.stages.iter().flat_map(|s| &s.steps) {
            if let Some(saw) = step.evidence.as_ref().filter(|saw| !saw.is_empty()) {
                self.lines.push(Line::new().sign(Tone::Good, Glyph::Good).text(format!("{}: {saw}", step.name)));
            }
        }
    }

    /// Why the question is not the same any more.
    pub(crate) fn is_outdated(&self, reading: &Reading, status: &Status) -> Option<String> {
        let run = reading.found.run.as_ref();
        if run.and_then(ResourceExt::uid).as_ref() != Some(&self.uid) {
            return Some(format!("run {} is not the newest one any more", self.run));
        }
        if let Some((name, token)) = &self.gate {
            let open = status.gate.as_ref();
            return match open.filter(|g| g.name == *name) {
                None => Some(format!("gate {name} does not wait any more")),
                Some(g) if g.token != *token => {
                    Some(format!("what gate {name} stands on has changed: look at it again, then decide"))
                }
                Some(_) => None,
            };
        }
        if let Some(asked) = &self.question {
            return match status.question.as_ref() == Some(&asked.question) {
                true => None,
                false => Some("the question is not open any more, or is another one by now".to_owned()),
            };
        }
        let journal = run.and_then(|r| Some((r, r.status.as_ref()?)));
        journal.and_then(|(run, journal)| refusal(self.verb, run, journal).err())
    }

    /// Takes a key.
    pub(crate) fn press(&mut self, key: Key) -> Step {
        self.wrong = None;
        match (self.stage, key) {
            (_, Key::Esc | Key::Break) => return Step::Leave,
            (_, Key::Up) => self.at = self.at.saturating_sub(1),
            (_, Key::Down) => self.at = (self.at + 1).min(self.lines.len() * 4),
            (_, Key::PageUp) => self.at = self.at.saturating_sub(5),
            (_, Key::PageDown) => self.at = (self.at + 5).min(self.lines.len() * 4),
            (Stage::Answer, Key::Char(c)) => {
                let Some(asked) = &mut self.question else { return Step::Leave };
                let chosen = number(c).and_then(|n| Some((asked.question.answers.get(n)?, asked.effects.get(n)?)));
                if let Some((choice, effects)) = chosen {
                    self.lines.extend(effects.iter().cloned());
                    asked.chosen = Some(choice.clone());
                    self.stage = Stage::Agree;
                } else {
                    self.wrong = Some("that is the number of no answer");
                }
            }
            (Stage::Role, Key::Char(c)) => match number(c).and_then(|n| self.roles.get(n)) {
                Some(role) => {
                    self.role = Some(role.clone());
                    self.stage = Stage::Agree;
                }
                None => self.wrong = Some("that is the number of no role"),
            },
            (Stage::Agree, key) if self.is_by_name() => match key {
                Key::Enter if self.typed == self.run => self.comment(),
                Key::Enter => self.wrong = Some("that is not the name of the run"),
                key => self.edit(key),
            },
            (Stage::Agree, Key::Char('y' | 'Y')) => self.comment(),
            (Stage::Agree, Key::Char(_) | Key::Enter) => self.wrong = Some("nothing has been said: y says it"),
            (Stage::Comment, Key::Enter) => return Step::Say(self.word()),
            (Stage::Comment, key) => self.edit(key),
            (Stage::Role | Stage::Answer | Stage::Agree, _) => {}
        }
        Step::Stay
    }

    /// What goes back is confirmed by the name of its run.
    fn is_by_name(&self) -> bool {
        let back = |a: &Asked| a.chosen.as_ref().is_some_and(|c| leads_back(&a.question, &c.outcome));
        matches!(self.verb, Verb::Rollback | Verb::Abort) || self.question.as_ref().is_some_and(back)
    }

    fn comment(&mut self) {
        self.stage = Stage::Comment;
        self.typed.clear();
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Char(c) if self.typed.chars().count() < LONGEST => self.typed.push(c),
            Key::Backspace => {
                self.typed.pop();
            }
            _ => {}
        }
    }

    fn word(&self) -> Word {
        let comment = Some(self.typed.trim().to_owned()).filter(|c| !c.is_empty());
        let (gate, token) = self.gate.clone().unzip();
        let step = self.question.as_ref().map(|a| a.question.about.clone());
        let chosen = self.question.as_ref().and_then(|a| a.chosen.as_ref());
        let outcome = chosen.map(|c| c.resolution);
        Word { gate, token, step, outcome, role: self.role.clone(), ..Word::of(self.verb, comment) }
    }

    fn deed(&self) -> String {
        match self.question.as_ref().and_then(|a| a.chosen.as_ref()) {
            Some(choice) => format!("say {}", choice.outcome),
            None => deed(self.verb).to_owned(),
        }
    }

    /// What is asked for now.
    pub(crate) fn prompt(&self) -> Vec<Line> {
        let strong = |text: String| Line::new().tone(Tone::Strong, text);
        let typed = || Line::new().text(format!("> {}_", self.typed));
        let dim = |text: &str| Line::new().tone(Tone::Dim, text);
        let mut lines = match self.stage {
            Stage::Role => {
                let roles = self.roles.iter().enumerate().map(|(n, r)| format!("{} {r}", n + 1));
                vec![strong(format!("In which role?  {}", roles.collect::<Vec<_>>().join("   ")))]
            }
            Stage::Answer => {
                let answers = self.question.iter().flat_map(|a| &a.question.answers).enumerate();
                let one = |(n, c): (usize, &Choice)| Line::new().text(format!("{} {}: {}", n + 1, c.outcome, c.does));
                std::iter::once(strong("Which answer?".to_owned())).chain(answers.map(one)).collect()
            }
            Stage::Agree if self.is_by_name() => {
                vec![strong(format!("Type {} and Enter to {}:", self.run, self.deed())), typed()]
            }
            Stage::Agree => {
                let role = self.role.as_ref().map(|r| format!(" as {r}")).unwrap_or_default();
                vec![strong(format!("{}{role}? y says it", capital(&self.deed())))]
            }
            Stage::Comment => vec![strong("Why? (stays in the record; may be empty) Enter says it:".into()), typed()],
        };
        lines.extend(self.wrong.map(|why| Line::new().tone(Tone::Bad, why)));
        lines.push(dim("Esc leaves it"));
        lines
    }
}

fn deed(verb: Verb) -> &'static str {
    match verb {
        Verb::Approve => "approve",
        Verb::Reject => "reject",
        Verb::Abort => "abort",
        Verb::Rollback => "roll back",
        Verb::Retry => "retry",
        Verb::Resolve => "resolve",
        Verb::Suspend => "suspend",
        Verb::Resume => "resume",
        Verb::Revalidate => "revalidate",
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// What the operator would refuse for certain, with the key that does it.
fn refusal(verb: Verb, run: &CutoverRun, journal: &RunStatus) -> Result<(), String> {
    let Some(refused) = decide::refused(verb, run, journal) else { return Ok(()) };
    let key = match refused.instead {
        Some(Verb::Rollback) => ": r rolls back",
        Some(Verb::Abort) => ": b aborts the run",
        _ => "",
    };
    Err(refused.says + key)
}

/// What it will touch.
fn touches(verb: Verb, run: &CutoverRun, journal: &RunStatus) -> Vec<Line> {
    let plan = view::plan_of(run);
    let Some(seen) = view::Run::of(run, plan.as_ref()) else { return vec![] };
    touched(&seen, journal, plan.as_ref(), verb).iter().map(|text| effect(text)).collect()
}

fn effect(text: &str) -> Line {
    let warns = decide::is_final(text);
    let (tone, glyph) = if warns { (Tone::Warn, Glyph::Warn) } else { (Tone::Plain, Glyph::Arrow) };
    Line::new().sign(tone, glyph).text(text)
}

/// The place in a list that a digit names, from 1.
fn number(key: char) -> Option<usize> {
    usize::try_from(key.to_digit(10)?).ok()?.checked_sub(1)
}
