//! PURE. Runs a look through the replies so far. The code of a look is written in a straight line: where it asks for
//! something that has no reply yet, it stops with that request, and it is run again from its start once there is one. So
//! all that a look remembers between two requests are the replies.

use jiff::Timestamp;
use kube::core::ObjectMeta;

use super::known::{Background, Key, Memo};
use super::order::{Class, Failure, Order, Reply, Request};
use super::{Look, Setup};
use crate::api::cutover::Cutover;
use crate::api::decision::CutoverDecision;
use crate::api::run::CutoverRun;
use crate::decide::Note;
use crate::plan::{Plan, Refusal};

/// Why the code of a look stops before its end.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// It needs the reply to this.
    Asks(Request),
    /// It cannot go on.
    Fails(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Fails(failure)
    }
}

/// A plan, or why there is none.
pub(super) type Resolved = Result<Plan, Vec<Refusal>>;

/// A look on its way through the replies.
pub(super) struct Replay<'a> {
    look: &'a Look,
    /// Replies used so far.
    used: usize,
    /// Resolved plans used so far.
    resolved: usize,
    /// Plans that no run before this one has resolved.
    pub(super) added: Vec<Resolved>,
    /// All orders since the start of the look.
    pub(super) orders: Vec<Order>,
    /// The Cutover as it was last read or written.
    stands: Option<&'a Cutover>,
    /// What the next write of the status says of the check.
    pub(super) accepted: Option<Accepted>,
}

/// What came of checking what is applied.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    /// What is refused; `None`: nothing.
    pub refused: Option<String>,
    /// The generation that was checked.
    pub generation: Option<i64>,
    /// When.
    pub at: Timestamp,
}

impl<'a> Replay<'a> {
    pub(crate) fn of(look: &'a Look) -> Self {
        Self { look, used: 0, resolved: 0, added: vec![], orders: vec![], stands: None, accepted: None }
    }

    pub(crate) fn key(&self) -> &'a Key {
        &self.look.key
    }

    /// What was known when the look began.
    pub(crate) fn seen(&self) -> &'a Background {
        &self.look.seen
    }

    pub(crate) fn setup(&self) -> &'a Setup {
        &self.look.setup
    }

    /// When the look went on after the last reply that was used.
    pub(crate) fn now(&self) -> Timestamp {
        self.look.went_on.get(self.used).copied().unwrap_or_default()
    }

    /// Whether every reply was used: the code asked for the same as before.
    pub(crate) fn is_through(&self) -> bool {
        self.used == self.look.heard.len()
    }

    pub(crate) fn remember(&mut self, memo: Memo) {
        self.orders.push(Order::Remember(memo));
    }

    /// The Cutover was read.
    pub(crate) fn read(&mut self, cutover: &'a Cutover) {
        self.stands = Some(cutover);
    }

    /// The Cutover as it was last read or written.
    pub(crate) fn stands(&self) -> Option<&'a Cutover> {
        self.stands
    }

    /// We wrote the Cutover.
    pub(crate) fn wrote(&mut self, cutover: &'a Cutover) {
        self.stands = Some(cutover);
        self.remember(Memo::Wrote(cutover.metadata.resource_version.clone()));
    }

    pub(crate) fn tell(&mut self, uid: Option<String>, note: Note) {
        self.orders.push(Order::Tell { uid, note });
    }

    /// The reply to a request.
    pub(crate) fn ask(&mut self, request: Request) -> Result<&'a Reply, Stop> {
        let Some(heard) = self.look.heard.get(self.used) else { return Err(Stop::Asks(request)) };
        self.used += 1;
        heard.as_ref().map_err(|failure| Stop::Fails(failure.clone()))
    }

    /// The reply to a request; `None`: what it is about does not exist.
    pub(crate) fn ask_opt(&mut self, request: Request) -> Result<Option<&'a Reply>, Stop> {
        match self.ask(request) {
            Ok(reply) => Ok(Some(reply)),
            Err(Stop::Fails(failure)) if failure.class == Class::NotFound => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    pub(crate) fn cutover(&mut self, request: Request) -> Result<&'a Cutover, Stop> {
        match self.ask(request)? {
            Reply::Cutover(cutover) => Ok(cutover),
            Reply::Unreadable { error, .. } => Err(Failure::new(Class::Transient, error.clone()).into()),
            _ => Err(another_kind()),
        }
    }

    pub(crate) fn run(&mut self, request: Request) -> Result<&'a CutoverRun, Stop> {
        match self.ask(request)? {
            Reply::Run(run) => Ok(run),
            _ => Err(another_kind()),
        }
    }

    /// The run by name, if it exists.
    pub(crate) fn run_opt(&mut self, name: &str) -> Result<Option<&'a CutoverRun>, Stop> {
        match self.ask_opt(Request::Run(name.to_owned()))? {
            Some(Reply::Run(run)) => Ok(Some(run)),
            None => Ok(None),
            Some(_) => Err(another_kind()),
        }
    }

    pub(crate) fn runs(&mut self, request: Request) -> Result<&'a [CutoverRun], Stop> {
        match self.ask(request)? {
            Reply::Runs(runs) => Ok(runs),
            _ => Err(another_kind()),
        }
    }

    pub(crate) fn metadata(&mut self, request: Request) -> Result<&'a [ObjectMeta], Stop> {
        match self.ask(request)? {
            Reply::Metadata(list) => Ok(list),
            _ => Err(another_kind()),
        }
    }

    pub(crate) fn decisions(&mut self, most: u32) -> Result<&'a [CutoverDecision], Stop> {
        match self.ask(Request::Decisions(most))? {
            Reply::Decisions(list) => Ok(list),
            _ => Err(another_kind()),
        }
    }

    /// What is costly to compute is computed once in a look.
    pub(crate) fn resolve(&mut self, resolve: impl FnOnce() -> Resolved) -> Resolved {
        let known = self.look.resolved.get(self.resolved).cloned();
        self.resolved += 1;
        known.unwrap_or_else(|| {
            let resolved = resolve();
            self.added.push(resolved.clone());
            resolved
        })
    }
}

/// What carries requests out gave the reply to another request.
pub(super) fn another_kind() -> Stop {
    Stop::Fails(Failure::new(Class::Invalid, "a defect: a reply of another kind"))
}
