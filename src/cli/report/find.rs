//! The run that a report is about: from the cluster, from what is kept of runs that are gone, or from a file.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::api::run::CutoverRun;
use crate::cli::exit::Failure;
use crate::cli::find;
use crate::cli::global::Global;
use crate::cli::rights::READ;
use crate::cli::session::Session;

/// Largest file: a run has at most 512 KiB, and YAML takes more room than JSON.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The run of a name (a run's, else a Cutover's: its newest), or of a file.
///
/// # Errors
/// There is none, or it is no CutoverRun.
pub(super) async fn run(global: &Global, name: Option<&str>, file: Option<&PathBuf>) -> Result<CutoverRun, Failure> {
    if let Some(file) = file {
        return of_file(file);
    }
    let session = Session::open(global, &READ).await?;
    let (cluster, namespace) = (&session.cluster, session.namespace());
    match find::find(cluster, name).await {
        Ok(found) => found.run.ok_or_else(|| {
            let name = found.cutover.metadata.name.unwrap_or_default();
            Failure::new(format!("Cutover {name} has had no run yet"))
        }),
        // A run outlives its Cutover for a while.
        Err(failure) => {
            let name = name.map(|n| n.rsplit_once('/').map_or(n, |(_, name)| name));
            let left = match name {
                Some(name) => cluster.get::<CutoverRun>(namespace, name).await.ok().flatten(),
                None => None,
            };
            left.ok_or(failure)
        }
    }
}

fn of_file(path: &Path) -> Result<CutoverRun, Failure> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| Failure::new(format!("{shown} cannot be read: {e}"));
    let mut text = String::new();
    let from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(unreadable)?),
    };
    from.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::new(format!("{shown} is larger than a CutoverRun can be")));
    }
    parse(&text).map_err(|why| Failure::new(format!("{shown} is no CutoverRun: {why}")))
}

/// A CutoverRun as JSON or YAML.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(text: &str) -> Result<CutoverRun, String> {
    let begins = text.trim_start();
    let value: serde_json::Value = match begins.starts_with('{') {
        true => serde_json::from_str(text).map_err(|e| e.to_string()),
        false => serde_saphyr::from_str(text).map_err(|e| e.to_string()),
    }?;
    if value["kind"] != "CutoverRun" {
        return Err(format!("its kind is {}", value["kind"]));
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}
