//! PURE. Names, captures and what may refer to them: everything that is used must have been made before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::api::cutover::Release;
use crate::api::duration::Duration;
use crate::api::step::Capture;

use super::expr::{self, Var};
use super::refuse::Refusals;
use super::vars;

/// Prefix of the names that the operator itself gives to steps and triggers.
pub(super) const RESERVED: &str = "cutover-";
/// Longest name of a step or trigger.
pub(super) const MAX_NAME: usize = 40;
/// Most captures of a Cutover.
const MAX_CAPTURES: usize = 64;

/// Variables of every expression, behind its own.
const COMMON: &[Variable] = &[
    Variable("captures", Type::Any),
    Variable("release", Type::Any),
    Variable("old", Type::Text),
    Variable("target", Type::Text),
    Variable("now", Type::Time),
    Variable("steps", Type::Any),
];

/// A variable of an expression, and what is known of its value before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable(pub &'static str, pub Type);

/// The type of a variable, by which an expression is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Not known.
    Any,
    Bool,
    Double,
    Duration,
    /// A value for which most expressions look further than this one comparison.
    Int(i64),
    List,
    Map,
    Text,
    Time,
}

impl Type {
    /// A value of it.
    fn typical(self) -> Option<Var> {
        Some(match self {
            Self::Any => return None,
            Self::Bool => json!(true).into(),
            Self::Double => json!(0.5).into(),
            Self::Duration => Var::Duration(Duration::from_secs(1)),
            Self::Int(n) => json!(n).into(),
            Self::List => json!([]).into(),
            Self::Map => json!({}).into(),
            Self::Text => json!("").into(),
            Self::Time => Var::Time(jiff::Timestamp::UNIX_EPOCH),
        })
    }
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `${…}` is expanded.
    Text,
    /// The same, and whoever sends it may put values of Secrets in.
    Sealed,
    /// The same, where a value of a Secret is all of it or none.
    Whole,
    /// Only `${release.…}` is expanded.
    Image,
    /// CEL over these variables, and those of every expression.
    Expr(&'static [Variable]),
}

/// A text that may refer to something.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub field: String,
    pub kind: Kind,
    pub text: String,
}

impl Usage {
    /// A text in which `${…}` is expanded.
    pub fn text(field: String, text: &str) -> Self {
        Self { field, kind: Kind::Text, text: text.to_owned() }
    }

    /// A text of a request that may hold sensitive captures.
    pub fn sealed(field: String, text: &str) -> Self {
        Self { field, kind: Kind::Sealed, text: text.to_owned() }
    }

    /// A variable of a Job's environment.
    pub fn whole(field: String, text: &str) -> Self {
        Self { field, kind: Kind::Whole, text: text.to_owned() }
    }

    /// The image of a container.
    pub fn image(field: String, text: &str) -> Self {
        Self { field, kind: Kind::Image, text: text.to_owned() }
    }

    /// An expression over these variables, and those of every expression.
    pub fn expr(field: String, own: &'static [Variable], text: &str) -> Self {
        Self { field, kind: Kind::Expr(own), text: text.to_owned() }
    }

    /// A list of expressions.
    pub(crate) fn exprs(at: &str, own: &'static [Variable], list: &[String]) -> impl Iterator<Item = Self> {
        list.iter().enumerate().map(move |(i, text)| Self::expr(format!("{at}[{i}]"), own, text))
    }

    /// A step's `when`.
    pub fn condition(when: Option<&str>, at: &str) -> Option<Self> {
        when.map(|when| Self::expr(format!("{at}.when"), &[], when))
    }
}

fn names(own: &[Variable]) -> Vec<&'static str> {
    own.iter().chain(COMMON).map(|variable| variable.0).collect()
}

/// Something that an action captures.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    pub name: String,
    pub field: String,
    /// It is a `double` for certain: the value of a metric.
    pub number: bool,
    /// Only the run's Secret holds it.
    pub sensitive: bool,
}

impl Captured {
    /// Those of an action at `at` that has a field `capture`.
    pub fn of(list: &[Capture], at: &str) -> Vec<Self> {
        let field = |i: usize| format!("{at}.capture[{i}].name");
        let one = |(i, c): (usize, &Capture)| Self {
            name: c.name.clone(),
            field: field(i),
            number: false,
            sensitive: c.sensitive,
        };
        list.iter().enumerate().map(one).collect()
    }
}

/// The captures and steps that a text refers to, itself being wrong or not.
pub(super) fn refers_to(usage: &Usage) -> (BTreeSet<String>, BTreeSet<String>) {
    match usage.kind {
        Kind::Text | Kind::Sealed | Kind::Whole | Kind::Image => {
            (vars::references(&usage.text).unwrap_or_default().into_iter().collect(), BTreeSet::new())
        }
        Kind::Expr(own) => {
            expr::references(&usage.text, &names(own)).map(|r| (r.captures, r.steps)).unwrap_or_default()
        }
    }
}

/// What exists at a place in the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Captures of the steps before.
    pub captures: BTreeSet<String>,
    pub steps: BTreeSet<String>,
    /// `release.version` and so on, where they are set.
    release: BTreeSet<&'static str>,
    /// All names in use, with the field of each.
    names: BTreeMap<String, String>,
    /// Those of them that are numbers for certain.
    numbers: BTreeSet<String>,
    /// Those of them that only the run's Secret holds.
    sensitive: BTreeSet<String>,
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
    pub(crate) fn take_name(&mut self, name: &str, field: &str, refusals: &mut Refusals) {
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
                "give every step, trigger and follow-up its own name",
            ),
            None => drop(self.names.insert(name.to_owned(), field.to_owned())),
        }
    }

    /// Whether a name is in use.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// What may be used here of the captures of an action, which are taken elsewhere.
    pub(crate) fn know(&mut self, found: Vec<Captured>) {
        for Captured { name, sensitive, .. } in found {
            if sensitive {
                self.sensitive.insert(name.clone());
            }
            self.captures.insert(name);
        }
    }

    /// Takes the captures of an action, which later steps may use.
    pub(crate) fn take_captures(&mut self, found: Vec<Captured>, refusals: &mut Refusals) {
        for captured in found {
            let Captured { name, field, number, sensitive: _ } = captured.clone();
            let ident = name.len() <= MAX_NAME
                && name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            refusals.require(
                ident && !["target", "old", "release"].contains(&name.as_str()),
                &field,
                format!("{name:?} cannot be the name of a capture"),
                "use letters, digits and _, and none of target, old, release",
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
                self.numbers.insert(name);
            }
            self.know(vec![captured]);
        }
    }

    /// Refuses what a text refers to and cannot have.
    pub fn check(&self, usage: &Usage, refusals: &mut Refusals) {
        let Usage { field, kind, text } = usage;
        match kind {
            Kind::Expr(own) => match expr::references(text, &names(own)) {
                Err(why) => refusals.add(field, why, "correct the expression"),
                Ok(refs) => {
                    for name in &refs.captures {
                        self.check_capture(name, field, &format!("captures.{name}"), refusals);
                        self.check_sensitive(name, usage, refusals);
                    }
                    for name in &refs.steps {
                        self.check_step(name, field, refusals);
                    }
                    if let Err(why) = expr::check_types(text, &self.typical(own)) {
                        refusals.add(
                            field,
                            why,
                            "correct the expression; numbers that are calculated with have a decimal point (2.0)",
                        );
                    }
                }
            },
            Kind::Text | Kind::Sealed | Kind::Whole | Kind::Image => match vars::references(text) {
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
                        } else if !["target", "old"].contains(&name.as_str()) {
                            self.check_capture(&name, field, &shown, refusals);
                            self.check_sensitive(&name, usage, refusals);
                        }
                    }
                }
            },
        }
    }

    /// A value of the right type for each variable whose type is known.
    fn typical(&self, own: &[Variable]) -> BTreeMap<String, Var> {
        let captures: serde_json::Map<_, _> = self.numbers.iter().map(|n| (n.clone(), json!(0.5))).collect();
        let known = own.iter().chain(COMMON).filter_map(|v| Some((v.0.to_owned(), v.1.typical()?)));
        known.chain([("captures".to_owned(), serde_json::Value::Object(captures).into())]).collect()
    }

    /// Refuses a sensitive capture where its value would be shown, or journaled.
    fn check_sensitive(&self, name: &str, usage: &Usage, refusals: &mut Refusals) {
        let fits = match usage.kind {
            Kind::Sealed => true,
            Kind::Whole => usage.text == format!("${{{name}}}"),
            Kind::Text | Kind::Image | Kind::Expr(_) => false,
        };
        let why = match usage.kind {
            Kind::Whole => "is sensitive, and is only a part of this value",
            Kind::Text | Kind::Sealed | Kind::Image | Kind::Expr(_) => {
                "is sensitive, and its value would be shown here"
            }
        };
        refusals.require(
            fits || !self.sensitive.contains(name),
            &usage.field,
            format!("capture {name} {why}"),
            "use it in headers, body or form of a request, or as a whole value in the env of a Job",
        );
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
    pub(crate) fn check_step(&self, name: &str, field: &str, refusals: &mut Refusals) {
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
        name.starts_with("release.") || ["target", "old"].contains(&name) || scope.captures.contains(name)
    })
}
