//! PURE. One look at one Cutover, as a state machine: it says which request comes next and is told what came of it. A look
//! reads the Cutover live, answers decisions, projects the newest run, starts the next one, and lets go of what is over.
//! Never touches a Service.
//!
//! At most one request is under way at a time, so a process can stop between any two of them: whatever stands in the cluster
//! then is where the next look goes on. [`Known`] is what a process remembers between looks; with a fresh one a look needs
//! more requests and comes to the same end.

mod accepted;
mod access;
mod asked;
mod decisions;
mod digest;
mod finalizer;
mod intent;
mod known;
mod look;
mod order;
mod prune;
mod readable;
mod receivers;
mod reopen;
mod replay;
mod retired;
mod show;
mod start;
pub mod sweep;
mod watch;
mod words;

use std::sync::Arc;

use jiff::Timestamp;

pub use asked::Said;
pub use digest::Digest;
pub(crate) use known::TemplateKey;
pub use known::{Background, Key, Known, Selector};
pub use order::{Answer, Class, Failure, Order, Reply, Request, TakeUp};
pub(crate) use readable::readable_run;
pub(crate) use watch::key_of;
pub use watch::{Due, WatchEvent};

use crate::plan::Offered;
use replay::{Replay, Resolved, Stop};

/// What is the same for all looks of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setup {
    /// The operator's own user name, for the commands that grant it a right.
    pub operator: String,
    /// Sources of metrics of the operator's configuration.
    pub offered: Offered,
}

/// A look under way.
#[derive(Clone, Debug)]
pub struct Look {
    setup: Arc<Setup>,
    key: Key,
    seen: Background,
    /// What came of the requests so far.
    heard: Vec<Result<Reply, Failure>>,
    /// When it went on: at its start, and after each of these.
    went_on: Vec<Timestamp>,
    resolved: Vec<Resolved>,
    /// Orders given so far, requests apart.
    given: usize,
    turn: Turn,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The look's own.
    Next,
    /// That of whoever carries out the request.
    Asked,
    /// The look is over.
    Over,
}

impl Look {
    /// Begins a look with what is known now.
    pub fn begin(setup: Arc<Setup>, key: Key, seen: Background) -> Self {
        let (heard, went_on, resolved) = (vec![], vec![], vec![]);
        Self { setup, key, seen, heard, went_on, resolved, given: 0, turn: Turn::Next }
    }

    /// What came of the request that [`Look::next`] gave last.
    pub fn hear(&mut self, what: Result<Reply, Failure>) {
        if self.turn == Turn::Asked {
            self.heard.push(what);
            self.turn = Turn::Next;
        }
    }

    /// What to do next: any number of orders that nothing comes of, then a request or the end. Nothing while a request is
    /// under way, and after the end.
    pub fn next(&mut self, now: Timestamp) -> Vec<Order> {
        if self.turn != Turn::Next {
            return vec![];
        }
        self.went_on.push(now);
        let mut replay = Replay::of(self);
        let result = look::look(&mut replay);
        debug_assert!(replay.is_through(), "a look asks for the same again: {:?}", self.heard);
        let Replay { mut orders, added, .. } = replay;
        let mut orders = orders.split_off(self.given.min(orders.len()));
        self.given += orders.len();
        self.resolved.extend(added);
        let (order, turn) = match result {
            Err(Stop::Asks(request)) => (Order::Do(request), Turn::Asked),
            Err(Stop::Fails(failure)) => (Order::Done(Err(failure)), Turn::Over),
            Ok(again) => (Order::Done(Ok(again)), Turn::Over),
        };
        self.turn = turn;
        orders.push(order);
        orders
    }
}
