//! PURE. The record of a run as an in-toto Statement (v1), for a key of the user's own to sign: the subjects are the images
//! of the target, by digest, and the predicate is the record.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::Report;
use crate::cli::exit::Failure;

/// The form of the statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The form of the predicate: `docs/schema/report.json`.
const PREDICATE: &str = "https://cutover.dev/attestation/run/v1";

/// An in-toto Statement.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statement<'a> {
    #[serde(rename = "_type")]
    statement: &'static str,
    subject: Vec<Subject>,
    predicate_type: &'static str,
    predicate: &'a Report,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) struct Subject {
    /// Where it comes from, without tag and digest.
    name: String,
    /// By the name of the hash, in hexadecimal.
    digest: BTreeMap<&'static str, String>,
}

/// The statement about a run.
///
/// # Errors
/// The run knows no digest of an image of its target: there is nothing that it could be about.
pub(super) fn statement(report: &Report) -> Result<Statement<'_>, Failure> {
    let mut subject: Vec<Subject> = vec![];
    for image in report.sides.iter().filter(|s| s.part == "target").flat_map(|s| &s.images) {
        for digest in &image.digests {
            let id = image.ids.iter().find(|id| id.ends_with(digest.as_str())).unwrap_or(&image.image);
            let name = id.split_once('@').map_or(id.as_str(), |(name, _)| name).to_owned();
            let Some(hex) = digest.strip_prefix("sha256:") else { continue };
            subject.push(Subject { name, digest: [("sha256", hex.to_owned())].into() });
        }
    }
    subject.sort();
    subject.dedup();
    if subject.is_empty() {
        return Err(Failure::new(format!("run {} has recorded no digest of an image of its target", report.run))
            .next("attest a run of images that come from a registry; a report without --attest says what is known"));
    }
    Ok(Statement { statement: STATEMENT, subject, predicate_type: PREDICATE, predicate: report })
}
