//! An operator process as far as Cutovers go: it sees what the watches show, and carries out what looks order, against the
//! simulated API server. The types that it drives are those of the product.
#![allow(dead_code)] // the scenarios and the search use their parts

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cutover::api::run::CutoverRun;
use cutover::effect::Outcome;
use cutover::pilot::cutover::{
    Class, Digest, Due, Failure, Key, Known, Look, Order, Reply, Request, Setup, WatchEvent,
};
use kube::ResourceExt;

use super::api_server::{Server, is_active};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Served,
    /// It is carried out, and the answer is lost.
    Lost,
    /// 503: it is not carried out.
    Down,
    /// 409: it is not carried out.
    Conflict,
}

/// A look under way, with the request that it waits for.
#[derive(Clone, Debug)]
pub struct Running {
    pub look: Look,
    pub request: Request,
    /// What was known at its start, and the replies so far.
    pub trail: Vec<String>,
}

/// An operator process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    setup: Arc<Setup>,
    pub known: Known,
    /// By object: its resourceVersion as the watches have shown it.
    pub shown: BTreeMap<String, String>,
    active: BTreeMap<String, Arc<CutoverRun>>,
    /// To be looked at.
    pub due: BTreeSet<Key>,
    /// To be looked at after a while.
    pub later: BTreeMap<Key, Duration>,
    /// To be looked at once the present look is over.
    pub again: BTreeSet<Key>,
    pub looks: BTreeMap<Key, Running>,
    /// The look whose turn it is to start a run.
    turn: Option<Key>,
    /// What was told: reason and message.
    pub told: Vec<String>,
    /// Looks that failed.
    pub failures: Vec<String>,
    /// Looks that began.
    pub began: u32,
}

impl Process {
    /// A process that has just listed everything.
    pub fn start(server: &Server) -> Self {
        let setup = Arc::new(Setup { operator: "system:serviceaccount:ops:cutover".into(), ..Setup::default() });
        let mut process = Self { setup, ..Self::default() };
        process.apply(WatchEvent::CutoversBegin(0));
        process.apply(WatchEvent::DecisionsBegin(0));
        process.watch(server);
        process.apply(WatchEvent::CutoversEnd(0));
        process.apply(WatchEvent::DecisionsEnd(0));
        process
    }

    /// The watches show what has changed.
    pub fn watch(&mut self, server: &Server) {
        let mut shown = BTreeMap::new();
        for cutover in server.cutovers.values() {
            let version = cutover.resource_version().unwrap_or_default();
            if self.is_news(&mut shown, format!("cutover/{}", cutover.name_any()), version) {
                let digest: Digest = serde_json::to_value(cutover).and_then(serde_json::from_value).expect("a digest");
                self.apply(WatchEvent::Cutover(0, Box::new(digest)));
            }
        }
        for decision in server.decisions.values().filter(|d| d.is_open()) {
            let version = decision.resource_version().unwrap_or_default();
            let name = format!("decision/{}", decision.uid().unwrap_or_default());
            if self.is_news(&mut shown, name, version) {
                self.apply(WatchEvent::Decision(0, Box::new(decision.clone())));
            }
        }
        for (name, (generation, _)) in &server.templates {
            if self.is_news(&mut shown, format!("template/{name}"), generation.to_string()) {
                self.template(name);
            }
        }
        let mut active = BTreeMap::new();
        for run in server.runs.values().filter(|r| is_active(r)) {
            let uid = run.uid().unwrap_or_default();
            active.insert(uid.clone(), Arc::new(run.clone()));
            if self.is_news(&mut shown, format!("run/{uid}"), run.resource_version().unwrap_or_default()) {
                self.apply(WatchEvent::Active(Arc::new(run.clone())));
            }
        }
        let before = std::mem::replace(&mut self.active, active);
        for (uid, run) in before {
            if !self.active.contains_key(&uid) {
                let now = server.runs.get(&run.name_any()).filter(|r| r.uid().as_ref() == Some(&uid)).cloned();
                self.apply(WatchEvent::Left(now.map_or(run, Arc::new)));
            }
        }
        let gone: Vec<String> = self.shown.keys().filter(|name| !shown.contains_key(*name)).cloned().collect();
        self.shown = shown;
        for name in gone {
            match name.split_once('/') {
                Some(("cutover", name)) => {
                    self.apply(WatchEvent::CutoverGone(Key {
                        namespace: super::api_server::NAMESPACE.into(),
                        name: name.into(),
                    }));
                }
                Some(("decision", uid)) => self.apply(WatchEvent::DecisionGone(uid.into())),
                Some(("template", name)) => self.template(name),
                _ => {}
            }
        }
    }

    /// Whether the watches have shown a run. Its driver, which hears of it by the same watch, begins no sooner.
    pub fn knows(&self, run: &CutoverRun) -> bool {
        self.active.contains_key(&run.uid().unwrap_or_default())
    }

    /// Whether the watches have something to show.
    pub fn is_behind(&self, server: &Server) -> bool {
        let mut other = self.clone();
        other.watch(server);
        other.shown != self.shown
    }

    fn is_news(&self, shown: &mut BTreeMap<String, String>, name: String, version: String) -> bool {
        let news = self.shown.get(&name) != Some(&version);
        shown.insert(name, version);
        news
    }

    fn template(&mut self, name: &str) {
        let kind = cutover::api::template::TemplateKind::CutoverTemplate;
        self.apply(WatchEvent::Template((kind, Some(super::api_server::NAMESPACE.into()), name.into())));
    }

    /// A watch shows this.
    pub fn apply(&mut self, sight: WatchEvent) {
        for due in self.known.see(sight, true) {
            match due {
                Due::Now(key) | Due::Changed(key, _) | Due::Soon(key) if self.looks.contains_key(&key) => {
                    self.again.insert(key);
                }
                Due::Now(key) | Due::Changed(key, _) | Due::Soon(key) => {
                    self.later.remove(&key);
                    self.due.insert(key);
                }
                Due::Never(key) => {
                    self.due.remove(&key);
                    self.later.remove(&key);
                }
            }
        }
    }

    /// Begins a look that is due.
    pub fn begin(&mut self, server: &Server, key: &Key) {
        if !self.due.remove(key) {
            return;
        }
        self.began += 1;
        let seen = self.known.seen(key);
        let trail = vec![format!("{seen:?}")];
        let look = Look::begin(self.setup.clone(), key.clone(), seen);
        self.go_on(server, key, look, trail);
    }

    /// Looks that can go on.
    pub fn ready(&self) -> Vec<Key> {
        let may = |(key, running): &(&Key, &Running)| {
            !matches!(running.request, Request::Turn) || self.turn.as_ref().is_none_or(|held| held == *key)
        };
        self.looks.iter().filter(may).map(|(key, _)| key.clone()).collect()
    }

    /// The request of a look meets its fate. The line for the log.
    pub fn step(&mut self, server: &mut Server, key: &Key, fate: Fate) -> String {
        let Some(Running { mut look, request, mut trail }) = self.looks.remove(key) else { return String::new() };
        if let Request::Turn = request {
            self.turn = Some(key.clone());
        }
        let reply = match fate {
            Fate::Served => server.serve(key, &self.known, &request),
            Fate::Lost => {
                let reply = server.serve(key, &self.known, &request);
                reply.and_then(|reply| not_known(&request, reply, "no answer"))
            }
            Fate::Down => Err(Failure::new(Class::Transient, "503")),
            Fate::Conflict => Err(Failure::new(Class::Conflict, "409")),
        };
        let reply = match (&request, reply) {
            (Request::Answer(answers), Err(failure)) => {
                let outcome = match failure.class {
                    Class::Conflict => Outcome::Conflict(failure.text),
                    _ => Outcome::Transient(failure.text),
                };
                Ok(Reply::Answers(vec![outcome; answers.len()]))
            }
            (Request::TakeUp(_), Err(failure)) => Ok(Reply::Answers(vec![Outcome::Transient(failure.text)])),
            (_, reply) => reply,
        };
        server.check();
        let said = super::words::reply(&reply);
        let line = format!("{} -> {said}", super::words::request(&request));
        trail.push(super::words::whole(&reply));
        look.hear(reply);
        self.go_on(server, key, look, trail);
        line
    }

    fn go_on(&mut self, server: &Server, key: &Key, mut look: Look, trail: Vec<String>) {
        for order in look.next(server.now) {
            match order {
                Order::Remember(memo) => self.known.remember(key, memo),
                Order::Tell { note, .. } => self.told.push(format!("{}: {}", note.reason, note.message)),
                Order::EndTurn => self.end_turn(key),
                Order::Do(request) => {
                    self.looks.insert(key.clone(), Running { look: look.clone(), request, trail: trail.clone() });
                }
                Order::Done(result) => {
                    self.end_turn(key);
                    if let Err(failure) = &result {
                        self.failures.push(failure.text.clone());
                    }
                    let again = self.known.ended(key, result.map_err(|failure| failure.class));
                    match again {
                        _ if self.again.remove(key) => {
                            self.due.insert(key.clone());
                        }
                        Some(Duration::ZERO) => {
                            self.due.insert(key.clone());
                        }
                        Some(pause) => drop(self.later.insert(key.clone(), pause)),
                        None => {}
                    }
                }
            }
        }
    }

    fn end_turn(&mut self, key: &Key) {
        if self.turn.as_ref() == Some(key) {
            self.turn = None;
        }
    }
}

/// The answer to a write is lost: whoever sent it knows nothing.
fn not_known(request: &Request, reply: Reply, why: &str) -> Result<Reply, Failure> {
    match request.is_write() {
        true => Err(Failure::new(Class::Transient, why)),
        false => Ok(reply),
    }
}

/// The key of a Cutover.
pub fn key(name: &str) -> Key {
    Key { namespace: super::api_server::NAMESPACE.into(), name: name.into() }
}
