//! The live screen: hears the watches and the keys, and draws. It is drawn anew each second, for the ages alone.

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::choose::{Choice, Pick, choose};
use super::follow::Follow;
use super::history::History;
use super::keys::{Act, Mode, press, recheck};
use super::screen::{Scene, Scroll, Shown, draw};
use super::store::{Part, Store};
use super::terminal::{Input, Terminal, inputs};
use crate::cli::cluster::Cluster;
use crate::cli::decide::say::{Answer, Word, say};
use crate::cli::exit::{Exit, Failure};
use crate::cli::find::Found;
use crate::cli::rights;
use crate::cli::session::Session;
use crate::cli::status::model::Status;
use crate::cli::status::read::Reading;
use crate::cli::text::{Glyph, Line, Look, Tone};
use crate::view;

/// Everything that is watched.
const PARTS: [Part; 6] = [Part::Cutover, Part::Runs, Part::Deployments, Part::StatefulSets, Part::Pods, Part::Events];
/// How long an answer of the operator is awaited.
const PATIENCE: Duration = Duration::from_secs(30);
/// After so long the operator has looked at a change.
const AWAY: SignedDuration = SignedDuration::from_secs(15);

type Answers = Pin<Box<dyn Future<Output = Result<Answer, Failure>>>>;

struct Live {
    store: Store,
    pick: Pick,
    flags: String,
    look: Look,
    history: History,
    mode: Mode,
    scroll: Scroll,
    /// What the screen shows: as it was last known, where the Cutover is gone by now.
    seen: Option<(Reading, Status)>,
    gone: bool,
    /// Since when the operator has not looked at the last change.
    behind: Option<Timestamp>,
}

/// Shows until a key ends it.
pub(super) async fn run(session: &Session, cutover: &str, pick: Pick) -> Result<Exit, Failure> {
    let mut follow = Follow::begin(&session.cluster, cutover, &PARTS)?;
    let mut live = Live {
        store: Store::default(),
        pick,
        flags: session.flags(),
        look: session.look,
        history: History::default(),
        mode: Mode::Watch,
        scroll: Scroll::default(),
        seen: None,
        gone: false,
        behind: None,
    };
    let mut signals = Signals::listen()?;
    let mut terminal = Terminal::take()?;
    let mut inputs = inputs();
    let mut answer: Option<Answers> = None;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let act = tokio::select! {
            number = signals.next() => return Ok(Exit::Signal(number)),
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => live.press(key),
                Some(Input::Redraw) => Act::Nothing,
                None => return Err(Failure::new("the terminal is gone")),
            },
            heard = follow.next() => {
                let Some(heard) = heard else { return Err(Failure::new("the watches have ended")) };
                live.store.hear(heard, Timestamp::now());
                // Whatever else has come already is drawn together with it.
                while let Some(Some(heard)) = follow.next().now_or_never() {
                    live.store.hear(heard, Timestamp::now());
                }
                live.learn(Timestamp::now());
                Act::Nothing
            }
            said = async { match &mut answer { Some(a) => a.await, None => std::future::pending().await } } => {
                answer = None;
                live.answered(said);
                Act::Nothing
            }
            _ = second.tick() => {
                live.wait(Timestamp::now());
                Act::Nothing
            }
        };
        match act {
            Act::Nothing => {}
            Act::Quit => return Ok(Exit::Done),
            Act::Leave => return Ok(Exit::Signal(2)),
            Act::Say(word, uid) => answer = live.say(&session.cluster, word, &uid),
        }
        if let Some(right) = [Part::Cutover, Part::Runs].iter().find_map(|part| live.store.denied(*part)) {
            return Err(rights::missing(right, Some(session.namespace()), None));
        }
        live.draw(&mut terminal, Timestamp::now())?;
    }
}

impl Live {
    fn press(&mut self, key: super::keys::Key) -> Act {
        let seen = self.seen.as_ref().map(|(reading, status)| (reading, status));
        press(key, &mut self.mode, &mut self.scroll, seen)
    }

    /// Takes in what the watches have told.
    fn learn(&mut self, now: Timestamp) {
        if !self.store.knows(&PARTS) {
            return;
        }
        let Some(reading) = self.store.reading(&self.pick) else {
            self.gone = true;
            return;
        };
        self.gone = false;
        if let Some(run) = &reading.found.run {
            let plan = view::plan_of(run);
            if let Some(run) = view::Run::of(run, plan.as_ref()) {
                self.history.learn(&run);
            }
        }
        let cutover = &reading.found.cutover;
        let observed = cutover.status.as_ref().and_then(|s| s.observed_generation);
        let behind = observed < cutover.metadata.generation;
        self.behind = if behind { self.behind.or(Some(now)) } else { None };
        let status = Status::of(&reading, &self.flags, now);
        recheck(&mut self.mode, &reading, &status);
        self.seen = Some((reading, status));
    }

    /// Time has passed: whoever is silent may be away by now. A lost connection says nothing about that.
    fn wait(&mut self, now: Timestamp) {
        let connected = self.store.lost().is_none();
        if let Some((reading, status)) = self.seen.as_mut().filter(|_| connected) {
            *status = Status::of(reading, &self.flags, now);
        }
    }

    /// Sends a word about the run that was shown.
    fn say(&mut self, cluster: &Cluster, word: Word, uid: &str) -> Option<Answers> {
        let found = self.seen.as_ref().map(|(reading, _)| reading.found.clone());
        let found = found.filter(|f| f.run.as_ref().and_then(ResourceExt::uid).as_deref() == Some(uid));
        let Some(found) = found else {
            self.mode = told("Not said", Tone::Bad, Glyph::Bad, "the run that it was about is not shown any more");
            return None;
        };
        let cluster = cluster.clone();
        Some(Box::pin(async move {
            let found: Found = found;
            say(&cluster, &found, word, PATIENCE).await
        }))
    }

    fn answered(&mut self, said: Result<Answer, Failure>) {
        self.mode = match said {
            Ok(Answer::Accepted { said, .. }) => told("The operator's answer", Tone::Good, Glyph::Good, &said),
            Ok(Answer::Refused { said, .. }) => told("The operator's answer", Tone::Bad, Glyph::Bad, &said),
            Ok(Answer::Open { decision }) => {
                let name = self.seen.as_ref().map_or("NAME", |(_, status)| &status.cutover);
                let text = format!(
                    "nobody has answered {decision} within {}s: the operator may be away; it counts once it is back. \
                     To put the selectors back without it: kubectl cutover rollback {name} --without-operator{}",
                    PATIENCE.as_secs(),
                    self.flags
                );
                told("No answer", Tone::Warn, Glyph::Unknown, &text)
            }
            Err(failure) => told("Not said", Tone::Bad, Glyph::Bad, &failure.to_string()),
        };
    }

    /// Something to be known about what is shown.
    fn notice(&self, now: Timestamp) -> Option<String> {
        if self.gone {
            return Some("the Cutover has been deleted: this is how it was".to_owned());
        }
        let (reading, _) = self.seen.as_ref()?;
        let found = &reading.found;
        if self.behind.is_some_and(|since| now.duration_since(since) > AWAY) {
            return Some(format!(
                "the operator has not looked at the last change; next: kubectl cutover check{}",
                self.flags
            ));
        }
        let newest = found.runs.last().map(ResourceExt::name_any);
        let shown = found.run.as_ref().map(ResourceExt::name_any);
        match &self.pick {
            Pick::Newest | Pick::Wanted => None,
            Pick::Named(_) | Pick::Release(_) if shown.is_some() && shown != newest => {
                newest.map(|n| format!("run {n} is newer than this one"))
            }
            pick @ (Pick::Named(_) | Pick::Release(_)) => match choose(&found.cutover, &found.runs, pick) {
                Choice::Run(_) => None,
                Choice::AtRest(why) | Choice::Refused(why) | Choice::Wait(why) => Some(why),
            },
        }
    }

    fn draw(&mut self, terminal: &mut Terminal, now: Timestamp) -> Result<(), Failure> {
        let notice = self.notice(now);
        let run = self.seen.as_ref().and_then(|(reading, _)| reading.found.run.as_ref()).map(ResourceExt::name_any);
        let events = self.store.events(run.as_deref());
        let denied = self.store.denied(Part::Events);
        let scene = Scene {
            shown: self.seen.as_ref().map(|(_, status)| Shown {
                status,
                history: &self.history,
                events: &events,
                events_hidden: denied.map(|right| format!("Events are not shown: you may not {right}")),
            }),
            lost: self.store.lost(),
            notice,
            mode: &self.mode,
            look: self.look,
            now,
        };
        let scroll = &mut self.scroll;
        let drawn = terminal.screen.draw(|frame| draw(frame, &scene, scroll));
        drawn.map(drop).map_err(|e| Failure::new(format!("the terminal is gone: {e}")))
    }
}

fn told(title: &str, tone: Tone, glyph: Glyph, text: &str) -> Mode {
    Mode::Told(title.to_owned(), vec![Line::new().sign(tone, glyph).text(text)])
}

/// Signals that end it, so that the terminal is given back first.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be heard: {e}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hang_up.recv() => 1,
        }
    }
}
