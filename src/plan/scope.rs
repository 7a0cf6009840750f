//! PURE. Names, captures and what may refer to them: everything that is used must have been made before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::api::cutover::Release;
use crate::api::duration::Duration;
use crate::api::one_of::Tagged;
use crate::api::step::Action;

use super::expr::{self, Var};
use super::refuse::Refusals;
use super::vars;

/// Prefix of the names that the operator itself gives to steps and triggers.
pub(super) const RESERVED: &str = "cutover-";
/// Longest name of a step or trigger.
pub(super) const MAX_NAME: usize = 40;
/// Most captures of a Cutover.
const MAX_CAPTURES: usize = 64;

/// Variables of every expression.
const COMMON: [&str; 4] = ["captures", "release", "now", "steps"];
/// Variables of `http.expect`.
const HTTP: [&str; 9] = ["status", "headers", "body", "json", "latency", "captures", "release", "now", "steps"];
/// Variables of `job.expect`.
const JOB: [&str; 6] = ["exitCode", "json", "captures", "release", "now", "steps"];
/// Variables of `metric.expect` and `logs.expect`.
const VALUE: [&str; 5] = ["value", "captures", "release", "now", "steps"];

/// Variables of `tls.expect`.
const TLS: [&str; 9] = ["daysLeft", "names", "issuer", "protocol", "trusted", "captures", "release", "now", "steps"];

/// Variables of `resource.expect`.
const RESOURCE: [&str; 5] = ["object", "captures", "release", "now", "steps"];

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `${…}` is expanded.
    Text,
    /// Only `${release.…}` is expanded.
    Image,
    /// CEL over these variables.
    Expr(&'static [&'static str]),
}

/// A text that may refer to something.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// Where it stands.
    pub field: String,
    /// What it is.
    pub kind: Kind,
    /// The text.
    pub text: String,
}

/// A step's `when`, which may refer to something.
pub(super) fn condition(when: Option<&str>, at: &str) -> Option<Usage> {
    when.map(|when| Usage { field: format!("{at}.when"), kind: Kind::Expr(&COMMON), text: when.to_owned() })
}

/// Everything in an action that may refer to something.
pub(super) fn usages(action: &Action, at: &str) -> Vec<Usage> {
    let mut out = vec![];
    let mut add = |field: String, kind: Kind, text: &str| out.push(Usage { field, kind, text: text.to_owned() });
    match action {
        Action::Http(http) => {
            let at = format!("{at}.http");
            for (name, text) in [("path", &http.path), ("url", &http.url), ("body", &http.body)] {
                if let Some(text) = text {
                    add(format!("{at}.{name}"), Kind::Text, text);
                }
            }
            for (name, list) in [("headers", &http.headers), ("form", &http.form)] {
                for (i, h) in list.iter().enumerate() {
                    add(format!("{at}.{name}[{i}].value"), Kind::Text, &h.value);
                }
            }
            for (i, e) in http.expect.iter().enumerate() {
                add(format!("{at}.expect[{i}]"), Kind::Expr(&HTTP), e);
            }
        }
        Action::Job(job) => {
            let at = format!("{at}.job");
            for (i, e) in job.env.iter().enumerate() {
                if let Some(value) = &e.value {
                    add(format!("{at}.env[{i}].value"), Kind::Text, value);
                }
            }
            for (i, e) in job.expect.iter().enumerate() {
                add(format!("{at}.expect[{i}]"), Kind::Expr(&JOB), e);
            }
            for list in ["initContainers", "containers"] {
                let containers = job.template.as_ref().and_then(|t| t["spec"][list].as_array());
                for (c, container) in containers.into_iter().flatten().enumerate() {
                    let at = format!("{at}.template.spec.{list}[{c}]");
                    if let Some(image) = container["image"].as_str() {
                        add(format!("{at}.image"), Kind::Image, image);
                    }
                    for (i, e) in container["env"].as_array().into_iter().flatten().enumerate() {
                        if let Some(value) = e["value"].as_str() {
                            add(format!("{at}.env[{i}].value"), Kind::Text, value);
                        }
                    }
                }
            }
        }
        Action::SetEnv(set) => {
            for (i, e) in set.env.iter().enumerate() {
                if let Some(value) = &e.value {
                    add(format!("{at}.setEnv.env[{i}].value"), Kind::Text, value);
                }
            }
        }
        Action::Metric(metric) => {
            if let Some(expect) = &metric.expect {
                add(format!("{at}.metric.expect"), Kind::Expr(&VALUE), expect);
            }
        }
        Action::Resource(of) => {
            for (i, e) in of.expect.iter().enumerate() {
                add(format!("{at}.resource.expect[{i}]"), Kind::Expr(&RESOURCE), e);
            }
        }
        Action::Tls(tls) => {
            for (i, e) in tls.expect.iter().enumerate() {
                add(format!("{at}.tls.expect[{i}]"), Kind::Expr(&TLS), e);
            }
        }
        Action::Logs(logs) => {
            if let Some(expect) = &logs.expect {
                add(format!("{at}.logs.expect"), Kind::Expr(&VALUE), expect);
            }
        }
        Action::Config(_)
        | Action::Rollout(_)
        | Action::Scale(_)
        | Action::Restart(_)
        | Action::CronJobs(_)
        | Action::Wait(_) => {}
    }
    out
}

/// Something that an action captures.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub field: String,
    /// It is a `double` for certain: the value of a metric.
    pub number: bool,
}

/// What an action captures.
pub(super) fn captures(action: &Action, at: &str) -> Vec<Captured> {
    let list = match action {
        Action::Http(http) => &http.capture,
        Action::Job(job) => &job.capture,
        Action::Metric(metric) => {
            let field = format!("{at}.metric.captureAs");
            let named = metric.capture_as.iter();
            return named.map(|n| Captured { name: n.clone(), field: field.clone(), number: true }).collect();
        }
        Action::Config(_)
        | Action::Rollout(_)
        | Action::Resource(_)
        | Action::Tls(_)
        | Action::Logs(_)
        | Action::Scale(_)
        | Action::SetEnv(_)
        | Action::Restart(_)
        | Action::CronJobs(_)
        | Action::Wait(_) => return vec![],
    };
    let field = |i: usize| format!("{at}.{}.capture[{i}].name", action.key());
    list.iter().enumerate().map(|(i, c)| Captured { name: c.name.clone(), field: field(i), number: false }).collect()
}

/// The captures and steps that a text refers to, itself being wrong or not.
pub(super) fn refers_to(usage: &Usage) -> (BTreeSet<String>, BTreeSet<String>) {
    match usage.kind {
        Kind::Text | Kind::Image => {
            (vars::references(&usage.text).unwrap_or_default().into_iter().collect(), BTreeSet::new())
        }
        Kind::Expr(names) => expr::references(&usage.text, names).map(|r| (r.captures, r.steps)).unwrap_or_default(),
    }
}

/// What exists at a place in the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Captures of the steps before.
    pub captures: BTreeSet<String>,
    /// The steps before.
    pub steps: BTreeSet<String>,
    /// `release.version` and so on, where they are set.
    release: BTreeSet<&'static str>,
    /// All names in use, with the field of each.
    names: BTreeMap<String, String>,
    /// Those of them that are numbers for certain.
    numbers: BTreeSet<String>,
    /// All captures, with the field of each.
    all_captures: BTreeMap<String, String>,
}

impl Scope {
    /// The scope of the first step.
    pub fn new(release: &Release) -> Self {
        let set = [
            ("release.version", &release.version),
            ("release.revision", &release.revision),
            ("release.tag", &release.tag),
        ];
        let release = set.into_iter().filter(|(_, v)| v.is_some()).map(|(k, _)| k).collect();
        Self { release, ..Self::default() }
    }

    /// Takes a name that must be the only one of its kind in the Cutover.
    pub fn take_name(&mut self, name: &str, field: &str, refusals: &mut Refusals) {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let legal = name.len() <= MAX_NAME
            && ends(name.chars().next())
            && ends(name.chars().last())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        refusals.require(
            legal,
            field,
            format!("{name:?} is not a name"),
            format!("use at most {MAX_NAME} lower-case letters, digits and dashes, beginning and ending with a letter or digit"),
        );
        refusals.require(
            !name.starts_with(RESERVED),
            field,
            format!("names that begin with {RESERVED} are the operator's own"),
            "choose another name",
        );
        match self.names.get(name) {
            Some(other) => refusals.add(
                field,
                format!("{name:?} is the name of {other} too"),
                "give every step and trigger its own name",
            ),
            None => drop(self.names.insert(name.to_owned(), field.to_owned())),
        }
    }

    /// Whether a name is in use.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Takes the captures of an action, which later steps may use.
    pub fn take_captures(&mut self, found: Vec<Captured>, refusals: &mut Refusals) {
        for Captured { name, field, number } in found {
            let ident = name.len() <= MAX_NAME
                && name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            refusals.require(
                ident && !["target", "live", "release"].contains(&name.as_str()),
                &field,
                format!("{name:?} cannot be the name of a capture"),
                "use letters, digits and _, and none of target, live, release",
            );
            match self.all_captures.get(&name) {
                Some(other) => refusals.add(
                    &field,
                    format!("{name:?} is captured at {other} too"),
                    "give every capture its own name",
                ),
                None => drop(self.all_captures.insert(name.clone(), field.clone())),
            }
            if self.all_captures.len() == MAX_CAPTURES + 1 {
                let remedy = "capture only what later steps use: the run holds them all";
                refusals.add(&field, format!("there are more than {MAX_CAPTURES} captures"), remedy);
            }
            if number {
                self.numbers.insert(name.clone());
            }
            self.captures.insert(name);
        }
    }

    /// Refuses what a text refers to and cannot have.
    pub fn check(&self, usage: &Usage, refusals: &mut Refusals) {
        let Usage { field, kind, text } = usage;
        match kind {
            Kind::Expr(names) => match expr::references(text, names) {
                Err(why) => refusals.add(field, why, "correct the expression"),
                Ok(refs) => {
                    for name in &refs.captures {
                        self.check_capture(name, field, &format!("captures.{name}"), refusals);
                    }
                    for name in &refs.steps {
                        self.check_step(name, field, refusals);
                    }
                    if let Err(why) = expr::check_types(text, &self.typical(names)) {
                        refusals.add(
                            field,
                            why,
                            "correct the expression; numbers that are calculated with have a decimal point (2.0)",
                        );
                    }
                }
            },
            Kind::Text | Kind::Image => match vars::references(text) {
                Err(why) => refusals.add(field, why.to_string(), "correct the variable"),
                Ok(names) => {
                    for name in names {
                        let shown = format!("${{{name}}}");
                        if let Some(part) = name.strip_prefix("release.") {
                            refusals.require(
                                self.release.contains(name.as_str()),
                                field,
                                format!("{shown} has no value"),
                                if ["version", "revision", "tag"].contains(&part) {
                                    format!("set spec.release.{part}")
                                } else {
                                    "use release.version, release.revision or release.tag".into()
                                },
                            );
                        } else if *kind == Kind::Image {
                            refusals.add(
                                field,
                                format!("{shown} cannot stand in an image"),
                                "use ${release.version}, ${release.revision} or ${release.tag}",
                            );
                        } else if !["target", "live"].contains(&name.as_str()) {
                            self.check_capture(&name, field, &shown, refusals);
                        }
                    }
                }
            },
        }
    }

    /// A value of the right type for each variable whose type is known.
    fn typical(&self, names: &[&str]) -> BTreeMap<String, Var> {
        let captures: serde_json::Map<_, _> = self.numbers.iter().map(|n| (n.clone(), json!(0.5))).collect();
        let values: [(&str, Var); 13] = [
            ("daysLeft", json!(0.5).into()),
            ("names", json!([]).into()),
            ("issuer", json!("").into()),
            ("protocol", json!("").into()),
            ("trusted", json!(true).into()),
            ("status", json!(200).into()),
            ("exitCode", json!(0).into()),
            ("value", json!(0.5).into()),
            ("headers", json!({}).into()),
            ("body", json!("").into()),
            ("captures", serde_json::Value::Object(captures).into()),
            ("latency", Var::Duration(Duration::from_secs(1))),
            ("now", Var::Time(jiff::Timestamp::UNIX_EPOCH)),
        ];
        values.into_iter().filter(|(name, _)| names.contains(name)).map(|(name, var)| (name.to_owned(), var)).collect()
    }

    fn check_capture(&self, name: &str, field: &str, shown: &str, refusals: &mut Refusals) {
        if !self.captures.contains(name) {
            refusals.add(
                field,
                format!("{shown} is not captured by an earlier step"),
                "capture it in a step that runs before, or write $${ for a literal ${",
            );
        }
    }

    /// Refuses the name of a step that does not run before.
    pub fn check_step(&self, name: &str, field: &str, refusals: &mut Refusals) {
        refusals.require(
            self.steps.contains(name),
            field,
            format!("{name:?} is not the name of a step that runs before"),
            "name an earlier step",
        );
    }
}

/// Whether a PromQL text holds one of our variables, which are never expanded there.
pub(super) fn holds_variable(query: &str, scope: &Scope) -> bool {
    query.match_indices("${").any(|(at, _)| {
        let name = query[at + 2..].split('}').next().unwrap_or_default();
        name.starts_with("release.") || ["target", "live"].contains(&name) || scope.captures.contains(name)
    })
}
