//! PURE. Manifests → findings, without a cluster: what the API server, its admission policies and the operator would refuse,
//! by the same definitions, rules and functions; and what is legal and dangerous.
//!
//! Files are read (`yaml`), taken apart into objects (`objects`) and checked one by one: the definition's schema (`schema`)
//! and CEL rules (`rules`), the policies (`policies`), then what the operator does when a Cutover is applied (`resolving`),
//! what the objects of the input say of each other (`references`), and dangers (`warnings`).

mod actions;
mod code;
mod metadata;
mod nearest;
mod objects;
mod policies;
mod references;
pub mod report;
mod resolving;
mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod unit;
mod warnings;
mod yaml;

use std::collections::BTreeSet;

pub use code::{Code, Severity};
pub use policies::{Unjudged, unjudged};
pub use yaml::Place;

use crate::plan::Offered;

/// Largest file.
pub const MAX_FILE: usize = 10 * 1024 * 1024;
/// Most bytes of all files together.
pub const MAX_ALL: usize = 64 * 1024 * 1024;
/// Most findings that are told; more are counted.
pub const MAX_FINDINGS: usize = 1000;

/// Most findings that are looked for: an input that gives more is not read to its end.
const MAX_KEPT: usize = 20 * MAX_FINDINGS;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// As it is shown.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// How to check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Names that a Cutover refers to must be in the input.
    pub require_references: bool,
    /// Findings that are not told.
    pub ignore: BTreeSet<Code>,
    /// The sources of metrics that the operator's configuration offers; any name is taken where this is not known.
    pub offered: Option<Offered>,
}

/// One thing that is wrong or dangerous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding.
    pub code: Code,
    /// In which file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// In which object, such as `Cutover prod/shop`; empty where it is about the file.
    pub object: String,
    /// In which field; empty where it is about the object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By file and place.
    pub findings: Vec<Finding>,
    /// Findings beyond the most that are told.
    pub untold: usize,
    /// Errors, those that are not told included.
    pub errors: usize,
    /// Warnings, likewise.
    pub warnings: usize,
    /// Objects of Cutover's own kinds.
    pub checked: usize,
    /// Files that were read.
    pub files: usize,
}

fn others(count: usize) -> String {
    match count {
        0 => "nor is any other object".to_owned(),
        1 => "one other object is".to_owned(),
        more => format!("{more} other objects are"),
    }
}

/// Checks files together: each may refer to objects of all.
pub fn check(files: Vec<File>, options: &Options) -> Outcome {
    let mut findings = vec![];
    let count = files.len();
    let objects = objects::of(files, &mut findings);
    findings.truncate(MAX_KEPT);
    let checked = objects.own().count();
    if checked == 0 && findings.is_empty() {
        findings.push(Finding {
            code: Code::Nothing,
            file: String::new(),
            place: Place { line: 1, column: 1 },
            object: String::new(),
            field: String::new(),
            message: format!("no object of cutover.dev is in the input ({})", others(objects.others())),
            remedy: "name the files or folders that hold them".into(),
        });
    }
    let mut rules = rules::Rules::default();
    let mut read = vec![];
    // What is wrong so often was not written by hand.
    for object in objects.own() {
        if findings.len() >= MAX_KEPT {
            break;
        }
        read.push((object, schema::check(object, &mut rules, &mut findings)));
    }
    policies::check(&read, &mut findings);
    resolving::check(&objects, &read, options, &mut findings);
    findings.retain(|finding| !options.ignore.contains(&finding.code));
    findings.sort_by(|a, b| (&a.file, a.place, a.code, &a.field).cmp(&(&b.file, b.place, b.code, &b.field)));
    findings.dedup();
    let errors = findings.iter().filter(|finding| finding.code.severity() == Severity::Error).count();
    let warnings = findings.len() - errors;
    let untold = findings.len().saturating_sub(MAX_FINDINGS);
    findings.truncate(MAX_FINDINGS);
    Outcome { findings, untold, errors, warnings, checked, files: count }
}
