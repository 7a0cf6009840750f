//! The shell around a run's pilot on the simulated cluster, as `cutover::driver` is one on a real cluster: it carries orders
//! out and tells the pilot what came of them, and decides nothing. It awaits nothing either; the caller decides when its
//! requests arrive, when they are answered and what becomes of them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use cutover::api::run::{CutoverRun, CutoverRunSpec};
use cutover::decide::Note;
use cutover::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use cutover::pilot::run::{Heard, Now, Order, Pace, Pilot, Put, Reread, Then};
use cutover::plan::PLAN_VERSION;
use cutover::world::{Reading, Sighting};

use super::cluster::{Cluster, PutError};
use super::promises;
use super::timeline::EPOCH;

/// An alarm further away than this never rings.
const NEVER: SignedDuration = SignedDuration::from_hours(24 * 3650);

/// A pilot and what its shell keeps for it: lost in a crash.
#[derive(Clone, Debug)]
pub struct Shell {
    pub pilot: Pilot,
    /// The version of the run's status that the next write is made upon.
    version: u64,
    /// When to look again though nothing is heard.
    alarm: Option<Timestamp>,
    ended: bool,
    /// The run is closed, and its finalizer is taken away.
    pub released: bool,
}

/// Something to be looked at.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // few live at a time
pub enum Look {
    Read(ReadKey, Read),
    /// Everything, with these Jobs.
    Refresh(Option<ReadKey>, Vec<String>),
}

/// What one turn leads to.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be sent to the API server.
    pub effects: Vec<Effect>,
    /// To be looked at.
    pub looks: Vec<Look>,
    /// Told after the write.
    pub notes: Vec<Note>,
}

/// Both clocks; they agree unless somebody set the one on the wall.
pub fn now(cluster: &Cluster) -> Now {
    Now { wall: cluster.now + cluster.clock_ahead, ticks: cluster.now.duration_since(EPOCH).unsigned_abs() }
}

impl Shell {
    /// A driver that has just started: it knows the stored run and nothing else.
    pub fn start(cluster: &Cluster, refresh: Duration) -> Self {
        let plan = serde_json::to_value(&*cluster.plan).expect("a plan is JSON");
        let cutover_uid = cluster.cutover.as_ref().map_or_else(String::new, |c| c.uid.clone());
        let cutover = cluster.plan.cutover.clone();
        let mut run =
            CutoverRun::new(&cluster.run.0, CutoverRunSpec { cutover, cutover_uid, plan_version: PLAN_VERSION, plan });
        run.metadata.namespace = Some(cluster.plan.namespace.clone());
        run.metadata.uid = Some(cluster.run.1.clone());
        run.status = Some(cluster.status.clone());
        let pilot = Pilot::open(&run, now(cluster), Pace { refresh }).expect("a plan of this version");
        Self { pilot, version: cluster.status_version, alarm: Some(cluster.now), ended: false, released: false }
    }

    /// When to look again though nothing is heard; never where the run is closed.
    pub fn wake(&self) -> Option<Timestamp> {
        self.alarm.filter(|_| !self.ended)
    }

    /// Whether its next write would be made upon the run as it is.
    pub fn is_current(&self, cluster: &Cluster) -> bool {
        self.version == cluster.status_version
    }

    /// Lets the pilot go on until it waits: what it has written is written, the rest is handed out.
    pub fn turn(&mut self, cluster: &mut Cluster) -> Turn {
        let mut turn = Turn::default();
        while !self.ended {
            let next = self.pilot.next(now(cluster));
            for order in next.orders {
                match order {
                    Order::Act(effect, _) => {
                        promises::at_dispatch(cluster, effect.get());
                        turn.effects.push(effect.get().clone());
                    }
                    Order::Read(key, read) => turn.looks.push(Look::Read(key, read)),
                    Order::Refresh { key, jobs } => turn.looks.push(Look::Refresh(key, jobs)),
                    Order::Tell(telling) => {
                        if let Some(delivery) = telling.delivery {
                            self.pilot.hear(Heard::Told { delivery, received: true }, now(cluster));
                        }
                        turn.notes.extend((!telling.again).then_some(telling.note));
                    }
                    Order::Drop(_) | Order::Measure(_) | Order::Cut => {}
                    Order::Panicked => cluster.broken.push("a decision panicked".into()),
                }
            }
            let heard = match next.then {
                Then::Put { journal, .. } => {
                    let put = self.put(cluster, &journal);
                    if cluster.knife.fell {
                        return turn;
                    }
                    Heard::Put(put)
                }
                Then::Reread => {
                    let same = std::mem::replace(&mut self.version, cluster.status_version) == cluster.status_version;
                    Heard::Read(Reread::Found { journal: Box::new(cluster.status.clone()), same })
                }
                Then::Authorise => {
                    let same = self.version == cluster.status_version;
                    Heard::Authority(Reread::Found { journal: Box::new(cluster.status.clone()), same })
                }
                Then::Release => {
                    self.released = true;
                    Heard::Released(true)
                }
                Then::Sleep(ticks) => {
                    let at = SignedDuration::try_from(ticks).ok().and_then(|d| EPOCH.checked_add(d).ok());
                    self.alarm = at.filter(|at| at.duration_since(cluster.now) < NEVER);
                    return turn;
                }
                Then::End(_) => {
                    self.ended = true;
                    return turn;
                }
            };
            self.pilot.hear(heard, now(cluster));
        }
        turn
    }

    fn put(&mut self, cluster: &mut Cluster, journal: &cutover::api::run::RunStatus) -> Put {
        match cluster.put_status(self.version, journal) {
            Ok(version) => {
                self.version = version;
                Put::Written
            }
            Err(PutError::Conflict) => Put::Conflict,
            Err(PutError::Transient) => {
                Put::Failed { why: "503 the server is unable to handle it".into(), unanswered: true }
            }
        }
    }

    /// The result of an effect arrives.
    pub fn reply(&mut self, key: &EffectKey, outcome: Outcome, cluster: &Cluster) {
        self.pilot.hear(Heard::Ended(key.clone(), outcome), now(cluster));
    }

    /// The answer to a read arrives.
    pub fn answered(&mut self, key: &ReadKey, reading: Reading, cluster: &Cluster) {
        self.pilot.hear(Heard::Answer(key.clone(), reading), now(cluster));
    }

    /// A live read of everything that began at `began` arrives; `None` where it failed.
    pub fn refreshed(
        &mut self,
        key: Option<ReadKey>,
        began: Timestamp,
        seen: Option<Vec<Sighting>>,
        cluster: &Cluster,
    ) {
        let began = began + cluster.clock_ahead;
        let end = match seen {
            Some(_) => Sighting::Refreshed(began),
            None => Sighting::Unread("pods: no answer within 2 s".into()),
        };
        let sightings = seen.into_iter().flatten().chain([end]).collect();
        self.pilot.hear(Heard::Refreshed { key, began, sightings }, now(cluster));
    }

    /// A watch tells something.
    pub fn watched(&mut self, sighting: Sighting, cluster: &Cluster) {
        self.pilot.hear(Heard::Seen(sighting), now(cluster));
    }
}
