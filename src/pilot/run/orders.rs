//! What a pilot hears and what it orders: plain data between the pure machine and the shell around it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::run::RunStatus;
use crate::decide::Note;
use crate::effect::{Claimed, Effect, EffectKey, Outcome, Read, ReadKey};
use crate::journal::outbox::Sink;
use crate::plan::Plan;
use crate::world::{Reading, Sighting};

/// The time, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The clock on the wall: what stands in the journal is measured by it. It may jump.
    pub wall: Timestamp,
    /// Since some moment before the pilot began; never jumps. Pauses are measured by it.
    pub ticks: Duration,
}

/// What came of a write of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is written.
    Written,
    /// Somebody else wrote in between: nothing was written.
    Conflict,
    /// The run does not exist any more.
    Gone,
    /// It failed.
    Failed {
        why: String,
        /// No answer came: it may have been written all the same.
        unanswered: bool,
    },
}

/// What a live reading of the run showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Reread {
    /// It is there.
    Found {
        journal: Box<RunStatus>,
        /// Its resourceVersion is the one that the shell knew.
        same: bool,
    },
    /// The run does not exist any more.
    Gone,
    /// It cannot be read.
    Failed(String),
}

/// One thing that a pilot hears.
#[derive(Clone, Debug)]
// It lives for a moment; a box would only hide the sighting.
#[allow(clippy::large_enum_variant)]
pub enum Heard {
    /// A watch saw something.
    Seen(Sighting),
    /// The answer to [`Order::Refresh`]. Complete if [`Sighting::Refreshed`] is among the sightings.
    Refreshed {
        /// The read that asked for it; none where the pilot asked by itself.
        key: Option<ReadKey>,
        /// When it began: what a watch has shown since is believed instead.
        began: Timestamp,
        sightings: Vec<Sighting>,
    },
    /// The answer to [`Order::Read`].
    Answer(ReadKey, Reading),
    /// A read broke: it may be asked for again.
    Broken(ReadKey),
    /// What came of [`Order::Act`].
    Ended(EffectKey, Outcome),
    /// What came of [`Then::Put`].
    Put(Put),
    /// What came of [`Then::Reread`].
    Read(Reread),
    /// What came of [`Then::Authorise`].
    Authority(Reread),
    /// Whether [`Then::Release`] succeeded.
    Released(bool),
    /// Whether an entry of the outbox has been received.
    Told {
        delivery: Delivery,
        /// It was received, now or before.
        received: bool,
    },
    /// The operator stops: what is under way is recorded, nothing new is begun.
    Stopping,
}

/// What an effect that is carried out rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The journal that claims it was written just now.
    Written,
    /// Nothing durable has changed since the journal was last written.
    Standing,
    /// A restore, by the claim of the switch as a live reading of the run shows it.
    Switch,
}

/// Something to be done that the pilot does not wait for; its result, if it has one, is heard later.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // handed over once
pub enum Order {
    /// Carry an effect out; hear [`Heard::Ended`].
    Act(Claimed<Effect>, Ground),
    /// Read; hear [`Heard::Answer`].
    Read(ReadKey, Read),
    /// Read everything live; hear [`Heard::Refreshed`]. One with a key is repeated until it is complete.
    Refresh {
        /// The read that asks for it.
        key: Option<ReadKey>,
        /// Jobs that are named in the reading even if they are not there.
        jobs: Vec<String>,
    },
    /// The answer to a read is not wanted any more.
    Drop(ReadKey),
    /// Tell people.
    Tell(Telling),
    /// Measure what a write has added to the journal.
    Measure(Box<Progress>),
    /// A decision panicked: count it.
    Panicked,
    /// The journal was full and was cut.
    Cut,
}

/// What the shell does once the orders are carried out. All but `Sleep` and `End` are answered before it calls again.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Write the journal if nobody else has written since the shell last read or wrote the run.
    Put {
        journal: Box<RunStatus>,
        /// How long it may take; the shell's own limit where it is absent.
        within: Option<Duration>,
    },
    /// Read the run live, and write on top of that from now on.
    Reread,
    /// Read the run live for a restore; what the shell bases its writes on stays as it is, so that a later write still notices what
    /// somebody else wrote.
    Authorise,
    /// Take the run's finalizer away.
    Release,
    /// Wait until something is heard, or until these ticks.
    Sleep(Duration),
    /// Nothing is left to be done.
    End(End),
}

/// Orders, and what follows them.
#[derive(Clone, Debug)]
pub struct Next {
    /// In this order.
    pub orders: Vec<Order>,
    /// Then.
    pub then: Then,
}

/// How a pilot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The run is closed and its finalizer gone.
    Closed,
    /// The run does not exist any more.
    Gone,
    Stopped,
}

/// A note for people, and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub note: Note,
    /// The step or undo that it is about.
    pub step: Option<String>,
    /// What it is told under, so that whoever tells it again tells the same. The shell lets [`Heard::Told`] be heard. None
    /// where it stands in no outbox: it is an Event, told once at best.
    pub delivery: Option<Delivery>,
    /// It may have been told before, and its log line was written then.
    pub again: bool,
}

/// An entry of the outbox on its way to one of those who want it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    pub sink: Sink,
    /// The entry's id.
    pub entry: String,
}

/// What a write has added to the journal.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The plan of the run.
    pub plan: Arc<Plan>,
    /// The journal up to which everything has been measured.
    pub before: RunStatus,
    /// The journal as it is now.
    pub after: RunStatus,
    /// The run closed by this write, and was not opened again for checks: its trace is complete.
    pub closed: bool,
}
