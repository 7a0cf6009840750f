//! PURE DATA. What names reads and effects, so that an answer finds whoever waits for it. A key has one text, in logs and
//! tests, which is made and taken apart here alone.

use std::fmt;
use std::str::FromStr;

use crate::api::run::{ObjectKind, ObjectRef};
use crate::plan::Execution;
use crate::plan::execution::is_name;

use super::change;

/// An attempt of an execution: `EXECUTION#NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// What is executed; see [`Execution`].
    pub execution: String,
    /// Counted from 1.
    pub number: u32,
}

/// Names a read. The same key is never under way twice, and a new answer needs a new key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadKey {
    /// `EXECUTION#NUMBER`: the one thing that an attempt reads.
    Attempt(Attempt),
    /// `EXECUTION#NUMBER/PART`: one of several things that an attempt reads, or one of several tries.
    Part(Attempt, String),
    /// `TRIGGER@NUMBER`: the trial of this number.
    Trial(String, u64),
    /// `TRIGGER@NUMBER/PART`: one of several things that a trial reads.
    PartOfTrial(String, u64, String),
    /// `TRIGGER@push/MILLISECOND`: a look between two trials, because of a push at that time.
    Pushed(String, i64),
    /// `TRIGGER@loss`: everything, before a loss is believed.
    Loss(String),
    /// `nodes/HASH`: nodes, by the pods for whose sake they are looked at.
    Nodes(String),
    /// `rehearsal/MINUTE`: whether a restore would be admitted.
    Rehearsal(i64),
    /// `proof/N`: whether what people say is theirs, by five seconds.
    Proof(i64),
    /// `refresh`: everything, where something is not known.
    Refresh,
    /// `refresh/claim`: everything, before the switch is claimed.
    BeforeClaim,
    /// `refresh/ending`: everything, before a Job that is not known is given up.
    BeforeEnd,
    /// `refresh/EFFECT`: everything, after an effect of which more has to be known.
    After(EffectKey),
}

/// Names an effect. The same key is never under way twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffectKey {
    /// `create/JOB`.
    CreateJob(String),
    /// `start/JOB`.
    StartJob(String),
    /// `delete/JOB`.
    DeleteJob(String),
    /// `own/JOB`.
    OwnJob(String),
    /// `keep/EXECUTION#NUMBER`.
    Keep(Attempt),
    /// `own_secret/SECRET`.
    OwnSecret(String),
    /// `answer/UID`: of the decision.
    Answer(String),
    /// `take_up/UID`: of the decision.
    TakeUp(String),
    /// `send/EXECUTION#NUMBER`.
    Send(Attempt),
    /// `switch/ROUTE/RESOURCEVERSION`, as it was claimed.
    Switch {
        /// Its name.
        route: String,
        /// That of the claim.
        resource_version: String,
    },
    /// `restore/ROUTE`, or `restore/ROUTE/beside`.
    Restore {
        /// Its name.
        route: String,
        /// The short try beside a long one.
        beside: bool,
    },
    /// `delete_pod/NAME/UID`.
    DeletePod { name: String, uid: String },
    /// `notify/RECEIVER/NOTICE`.
    Notify {
        receiver: String,
        /// Its id.
        notice: String,
    },
    /// `CHANGE/WHY/KIND/NAME`.
    Change {
        /// What kind of change it is.
        change: change::Kind,
        /// The execution that makes it, or `restore`.
        why: String,
        /// What is changed.
        object: ObjectRef,
    },
}

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key of {1}")]
pub struct NoKey(String, &'static str);

impl Attempt {
    /// An attempt of the execution of this name.
    pub fn of(execution: &str, number: u32) -> Self {
        Self { execution: execution.to_owned(), number }
    }

    /// The key of one of several things that it reads.
    pub(crate) fn part(&self, part: impl fmt::Display) -> ReadKey {
        ReadKey::Part(self.clone(), part.to_string())
    }

    fn read(text: &str) -> Option<Self> {
        let (execution, number) = text.split_once('#')?;
        execution.parse::<Execution>().ok()?;
        Some(Self { execution: execution.to_owned(), number: canonical(number)? })
    }
}

impl ReadKey {
    /// Whether it belongs to a step: such a one begins only after what led to it is recorded (P2).
    pub(crate) fn is_of_a_step(&self) -> bool {
        match self {
            Self::Attempt(_) | Self::Part(..) => true,
            Self::Trial(..)
            | Self::PartOfTrial(..)
            | Self::Pushed(..)
            | Self::Loss(_)
            | Self::Nodes(_)
            | Self::Rehearsal(_)
            | Self::Proof(_)
            | Self::Refresh
            | Self::BeforeClaim
            | Self::BeforeEnd
            | Self::After(_) => false,
        }
    }

    /// Whether it asks if a restore would be admitted.
    pub fn is_rehearsal(&self) -> bool {
        matches!(self, Self::Rehearsal(_))
    }

    fn read(text: &str) -> Option<Self> {
        // No name has a slash, so that these are told from everything else.
        if let Some(rest) = text.strip_prefix(NODES) {
            return is_name(rest).then(|| Self::Nodes(rest.to_owned()));
        }
        if let Some(minute) = text.strip_prefix(REHEARSAL) {
            return canonical(minute).map(Self::Rehearsal);
        }
        if let Some(slot) = text.strip_prefix(PROOF) {
            return canonical(slot).map(Self::Proof);
        }
        match text {
            REFRESH => Some(Self::Refresh),
            CLAIM => Some(Self::BeforeClaim),
            ENDING => Some(Self::BeforeEnd),
            _ => match text.strip_prefix(AFTER) {
                Some(effect) => EffectKey::read(effect).map(Self::After),
                None => Self::of_a_name(text),
            },
        }
    }

    /// A key that begins with the name of an execution or a trigger.
    fn of_a_name(text: &str) -> Option<Self> {
        if let Some((execution, rest)) = text.split_once('#') {
            return match rest.split_once('/') {
                None => Attempt::read(text).map(Self::Attempt),
                Some((number, part)) => {
                    let attempt = Attempt::read(&format!("{execution}#{number}"))?;
                    (!part.is_empty()).then(|| Self::Part(attempt, part.to_owned()))
                }
            };
        }
        let (trigger, trial) = text.split_once('@').filter(|(trigger, _)| is_name(trigger))?;
        match trial {
            LOSS => Some(Self::Loss(trigger.to_owned())),
            n => match n.strip_prefix(PUSHED) {
                Some(at) => Some(Self::Pushed(trigger.to_owned(), canonical(at)?)),
                None => match n.split_once('/') {
                    Some((n, part)) => {
                        let n = canonical(n)?;
                        (!part.is_empty()).then(|| Self::PartOfTrial(trigger.to_owned(), n, part.to_owned()))
                    }
                    None => Some(Self::Trial(trigger.to_owned(), canonical(n)?)),
                },
            },
        }
    }
}

const NODES: &str = "nodes/";
const PUSHED: &str = "push/";
const REHEARSAL: &str = "rehearsal/";
const PROOF: &str = "proof/";
const REFRESH: &str = "refresh";
const CLAIM: &str = "refresh/claim";
const ENDING: &str = "refresh/ending";
const AFTER: &str = "refresh/";
const LOSS: &str = "loss";
const BESIDE: &str = "/beside";

impl EffectKey {
    /// The key of the answer to a decision.
    pub(crate) fn answer(uid: &str) -> Self {
        Self::Answer(uid.to_owned())
    }

    /// Whether it is a change that this execution makes of this object.
    pub(crate) fn changes(&self, by: &str, what: &ObjectRef) -> bool {
        matches!(self, Self::Change { why, object, .. } if why == by && object == what)
    }

    fn read(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once('/')?;
        let is_route = |text: &str| (!text.is_empty() && !text.contains('/')).then(|| text.to_owned());
        let name = || is_route(rest);
        Some(match head {
            "create" => Self::CreateJob(name()?),
            "start" => Self::StartJob(name()?),
            "delete" => Self::DeleteJob(name()?),
            "own" => Self::OwnJob(name()?),
            "keep" => Self::Keep(Attempt::read(rest)?),
            "own_secret" => Self::OwnSecret(name()?),
            "answer" => Self::Answer(name()?),
            "take_up" => Self::TakeUp(name()?),
            "send" => Self::Send(Attempt::read(rest)?),
            "switch" => {
                let (route, version) = rest
                    .split_once('/')
                    .filter(|(route, version)| !route.is_empty() && !version.is_empty() && !version.contains('/'))?;
                Self::Switch { route: route.to_owned(), resource_version: version.to_owned() }
            }
            "restore" => match rest.strip_suffix(BESIDE) {
                Some(route) => Self::Restore { route: is_route(route)?, beside: true },
                None => Self::Restore { route: is_route(rest)?, beside: false },
            },
            "notify" => {
                let (receiver, notice) = rest
                    .split_once('/')
                    .filter(|(receiver, notice)| !receiver.is_empty() && !notice.is_empty() && !notice.contains('/'))?;
                Self::Notify { receiver: receiver.to_owned(), notice: notice.to_owned() }
            }
            "delete_pod" => {
                let (name, uid) = rest
                    .split_once('/')
                    .filter(|(name, uid)| !name.is_empty() && !uid.is_empty() && !uid.contains('/'))?;
                Self::DeletePod { name: name.to_owned(), uid: uid.to_owned() }
            }
            _ => {
                let change = change::Kind::ALL.into_iter().find(|kind| kind.as_str() == head)?;
                let (rest, name) = rest.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
                let (why, kind) = rest.rsplit_once('/')?;
                why.parse::<Execution>().ok()?;
                let kinds = [ObjectKind::Deployment, ObjectKind::StatefulSet, ObjectKind::CronJob];
                let kind = kinds.into_iter().find(|k| format!("{k:?}") == kind)?;
                let object = ObjectRef { kind, name: name.to_owned() };
                Self::Change { change, why: why.to_owned(), object }
            }
        })
    }
}

/// A number that is written in the one way.
fn canonical<N: FromStr + ToString>(text: &str) -> Option<N> {
    text.parse().ok().filter(|n: &N| n.to_string() == text)
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.execution, self.number)
    }
}

impl fmt::Display for ReadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(attempt) => attempt.fmt(f),
            Self::Part(attempt, part) => write!(f, "{attempt}/{part}"),
            Self::Trial(trigger, n) => write!(f, "{trigger}@{n}"),
            Self::PartOfTrial(trigger, n, part) => write!(f, "{trigger}@{n}/{part}"),
            Self::Pushed(trigger, at) => write!(f, "{trigger}@{PUSHED}{at}"),
            Self::Loss(trigger) => write!(f, "{trigger}@{LOSS}"),
            Self::Nodes(hash) => write!(f, "{NODES}{hash}"),
            Self::Rehearsal(minute) => write!(f, "{REHEARSAL}{minute}"),
            Self::Proof(slot) => write!(f, "{PROOF}{slot}"),
            Self::Refresh => f.write_str(REFRESH),
            Self::BeforeClaim => f.write_str(CLAIM),
            Self::BeforeEnd => f.write_str(ENDING),
            Self::After(effect) => write!(f, "{AFTER}{effect}"),
        }
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateJob(job) => write!(f, "create/{job}"),
            Self::StartJob(job) => write!(f, "start/{job}"),
            Self::DeleteJob(job) => write!(f, "delete/{job}"),
            Self::OwnJob(job) => write!(f, "own/{job}"),
            Self::Keep(attempt) => write!(f, "keep/{attempt}"),
            Self::OwnSecret(name) => write!(f, "own_secret/{name}"),
            Self::Answer(uid) => write!(f, "answer/{uid}"),
            Self::TakeUp(uid) => write!(f, "take_up/{uid}"),
            Self::Send(attempt) => write!(f, "send/{attempt}"),
            Self::Switch { route, resource_version } => write!(f, "switch/{route}/{resource_version}"),
            Self::Restore { route, beside } => write!(f, "restore/{route}{}", if *beside { BESIDE } else { "" }),
            Self::DeletePod { name, uid } => write!(f, "delete_pod/{name}/{uid}"),
            Self::Notify { receiver, notice } => write!(f, "notify/{receiver}/{notice}"),
            Self::Change { change, why, object } => {
                write!(f, "{change}/{why}/{:?}/{}", object.kind, object.name)
            }
        }
    }
}

impl FromStr for Attempt {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        Self::read(text).ok_or_else(|| NoKey(text.to_owned(), "an attempt"))
    }
}

impl FromStr for ReadKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        Self::read(text).ok_or_else(|| NoKey(text.to_owned(), "a read"))
    }
}

impl FromStr for EffectKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        Self::read(text).ok_or_else(|| NoKey(text.to_owned(), "an effect"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt::of("undo/migrate", 2)
    }

    #[test]
    fn every_key_of_a_read_has_one_text() {
        let after = EffectKey::Switch { route: "web".into(), resource_version: "12".into() };
        for (key, text) in [
            (ReadKey::Attempt(attempt()), "undo/migrate#2"),
            (ReadKey::Attempt(Attempt::of("check@nightly.3", 1)), "check@nightly.3#1"),
            (attempt().part("daily/before/1"), "undo/migrate#2/daily/before/1"),
            (Attempt::of("refresh", 1).part("trigger errors"), "refresh#1/trigger errors"),
            (ReadKey::Trial("errors".into(), 7), "errors@7"),
            (ReadKey::Trial("nodes".into(), 7), "nodes@7"),
            (ReadKey::Trial("refresh".into(), 7), "refresh@7"),
            (ReadKey::Trial("refresh-rate".into(), 7), "refresh-rate@7"),
            (ReadKey::PartOfTrial("errors".into(), 7, "guard".into()), "errors@7/guard"),
            (ReadKey::Pushed("errors".into(), 7), "errors@push/7"),
            (ReadKey::Loss("target".into()), "target@loss"),
            (ReadKey::Nodes("0a1b".into()), "nodes/0a1b"),
            (ReadKey::Rehearsal(-3), "rehearsal/-3"),
            (ReadKey::Proof(7), "proof/7"),
            (ReadKey::Refresh, "refresh"),
            (ReadKey::BeforeClaim, "refresh/claim"),
            (ReadKey::BeforeEnd, "refresh/ending"),
            (ReadKey::After(after), "refresh/switch/web/12"),
            (ReadKey::After(EffectKey::Send(attempt())), "refresh/send/undo/migrate#2"),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key.clone()), "{text}");
            assert_eq!(key.is_of_a_step(), text.contains('#') && !text.starts_with("refresh/"), "{text}");
        }
    }

    #[test]
    fn every_key_of_an_effect_has_one_text() {
        let job = || "migrate-0a1b2c3d4e".to_owned();
        let mut keys = vec![
            (EffectKey::CreateJob(job()), "create/migrate-0a1b2c3d4e".to_owned()),
            (EffectKey::StartJob(job()), "start/migrate-0a1b2c3d4e".into()),
            (EffectKey::DeleteJob(job()), "delete/migrate-0a1b2c3d4e".into()),
            (EffectKey::OwnJob(job()), "own/migrate-0a1b2c3d4e".into()),
            (EffectKey::Keep(attempt()), "keep/undo/migrate#2".into()),
            (EffectKey::OwnSecret("web-captures".into()), "own_secret/web-captures".into()),
            (EffectKey::answer("u-1"), "answer/u-1".into()),
            (EffectKey::TakeUp("u-1".into()), "take_up/u-1".into()),
            (EffectKey::Send(attempt()), "send/undo/migrate#2".into()),
            (EffectKey::Switch { route: "web".into(), resource_version: "12".into() }, "switch/web/12".into()),
            (EffectKey::Restore { route: "web".into(), beside: false }, "restore/web".into()),
            (EffectKey::Restore { route: "web".into(), beside: true }, "restore/web/beside".into()),
        ];
        for change in change::Kind::ALL {
            for kind in [ObjectKind::Deployment, ObjectKind::StatefulSet, ObjectKind::CronJob] {
                for why in ["size", "undo/size", "restore"] {
                    let object = ObjectRef { kind, name: "web".into() };
                    let text = format!("{change}/{why}/{kind:?}/web");
                    keys.push((EffectKey::Change { change, why: why.into(), object }, text));
                }
            }
        }
        for (key, text) in keys {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "errors",
            "errors@",
            "@1",
            "errors@x",
            "errors@01",
            "a/b@1",
            "a#",
            "#1",
            "a#01",
            "a#-1",
            "a#1/",
            "a/b#1",
            "nodes/",
            "nodes/a/b",
            "rehearsal/",
            "rehearsal/x",
            "refresh/",
            "refresh/x",
            "refreshed",
            "refresh/claim/x",
        ] {
            assert!(text.parse::<ReadKey>().is_err(), "{text}");
        }
        for text in [
            "",
            "create",
            "create/",
            "create/a/b",
            "send/a",
            "send/a#x",
            "switch/web",
            "switch/web/",
            "switch//1",
            "switch/web/1/2",
            "restore/",
            "grow/a/Deployment/web",
            "scale/a/Deployment/",
            "scale/a/deployment/web",
            "scale/Deployment/web",
            "scale//Deployment/web",
            "answer/",
            "restore/",
            "restore//beside",
            "restore/web/",
        ] {
            assert!(text.parse::<EffectKey>().is_err(), "{text}");
        }
        for text in ["", "a", "a#", "a#1#2", "a@b#1", "a#1/b"] {
            assert!(text.parse::<Attempt>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_is_that_of_one_execution() {
        let key: EffectKey = "suspend/undo/pause/CronJob/daily".parse().expect("a key");
        let daily = ObjectRef { kind: ObjectKind::CronJob, name: "daily".into() };
        assert!(key.changes("undo/pause", &daily) && !key.changes("pause", &daily), "its undo is another");
        assert!(!key.changes("undo/pause", &ObjectRef { kind: ObjectKind::Deployment, name: "daily".into() }));
    }
}
