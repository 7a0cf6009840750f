//! PURE. What `check` tells, as data: the schema of `--output json`.

use schemars::JsonSchema;
use serde::Serialize;

use super::topics::{Category, Topic};
use crate::cli::rights::Right;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    Ok,
    /// Nothing stands in the way, and somebody should know.
    Warning,
    /// It cannot be seen from here, mostly for want of a right.
    Unknown,
    Failed,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    /// What was looked at; never changes.
    pub id: &'static str,
    pub category: Category,
    /// The Cutover, where it is about one: `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutover: Option<String>,
    pub state: State,
    pub message: String,
    /// What to do, mostly the exact command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The right that is missing to see more: verb and resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Where the documents explain it.
    pub doc: String,
    /// The right that the remedy is to ask for, and in which namespace.
    #[serde(skip)]
    asks: Option<(Right, Option<String>)>,
}

impl Line {
    fn new(topic: Topic, state: State, message: impl Into<String>) -> Self {
        let (id, category, doc) = (topic.id, topic.category, topic.doc());
        Self {
            id,
            category,
            cutover: None,
            state,
            message: message.into(),
            remedy: None,
            missing: None,
            doc,
            asks: None,
        }
    }

    /// As it should be.
    pub(crate) fn ok(topic: Topic, message: impl Into<String>) -> Self {
        Self::new(topic, State::Ok, message)
    }

    /// Something to know, with what to do about it.
    pub(crate) fn warning(topic: Topic, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(topic, State::Warning, message) }
    }

    /// Wrong, with what to do about it.
    pub(crate) fn failed(topic: Topic, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(topic, State::Failed, message) }
    }

    /// Not to be seen without a right.
    pub(crate) fn hidden(topic: Topic, what: impl AsRef<str>, right: Right, namespace: Option<&str>) -> Self {
        let place = namespace.map_or("in the whole cluster".to_owned(), |n| format!("in namespace {n}"));
        Self {
            missing: Some(right.to_string()),
            ..Self::new(topic, State::Unknown, format!("{}: you may not {right} {place}", what.as_ref()))
        }
        .asks(right, namespace)
    }

    /// The remedy is a right of the user's.
    pub(crate) fn asks(self, right: Right, namespace: Option<&str>) -> Self {
        let asks = Some((right, namespace.map(str::to_owned)));
        Self { asks, ..self }.of_user(None)
    }

    /// Whether its remedy is a right of the user's.
    pub(crate) fn asks_for_user(&self) -> bool {
        self.asks.is_some()
    }

    /// The user is known by now.
    fn of_user(mut self, user: Option<&str>) -> Self {
        if let Some((right, namespace)) = &self.asks {
            let grant = right.grant(namespace.as_deref(), user);
            self.remedy = Some(format!("ask whoever manages access for: {grant}"));
        }
        self
    }

    /// Not to be seen for another reason.
    pub(crate) fn unknown(topic: Topic, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(topic, State::Unknown, message) }
    }

    /// The same about a Cutover.
    pub(crate) fn of(mut self, namespace: &str, name: &str) -> Self {
        self.cutover = Some(format!("{namespace}/{name}"));
        self
    }
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The version of the plugin.
    pub version: &'static str,
    /// Nothing failed.
    pub ok: bool,
    pub failed: usize,
    pub warnings: usize,
    pub unknown: usize,
    pub checks: Vec<Line>,
}

impl Report {
    /// The lines by category, in the order in which they were found. `user`: who asks, where that is known.
    pub(crate) fn of(checks: Vec<Line>, user: Option<&str>) -> Self {
        let mut checks: Vec<Line> = checks.into_iter().map(|line| line.of_user(user)).collect();
        checks.sort_by(|a, b| (a.category, &a.cutover).cmp(&(b.category, &b.cutover)));
        let count = |state: State| checks.iter().filter(|l| l.state == state).count();
        let failed = count(State::Failed);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            ok: failed == 0,
            failed,
            warnings: count(State::Warning),
            unknown: count(State::Unknown),
            checks,
        }
    }
}
