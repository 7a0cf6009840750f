//! The figures, one file for each kind of trial.

pub mod connections;
pub mod crowd;
pub mod dead;
pub mod hostile;
pub mod metric;
pub mod size;
pub mod switch;
pub mod traffic;

use anyhow::Result;
use kube::Client;

use crate::operator::Launcher;
use crate::report::Report;

/// What all figures need.
pub struct Bench {
    /// The administrator.
    pub client: Client,
    /// Starts operators.
    pub launcher: Launcher,
    /// A short run.
    pub quick: bool,
    /// Repetitions.
    pub reps: usize,
    /// Numbers of idle Cutovers.
    pub crowds: Vec<usize>,
    /// Address of the node, on which the stand-in for Prometheus listens.
    pub node: String,
    /// What was measured so far.
    pub report: Report,
}

impl Bench {
    /// Says how far a figure is.
    pub fn progress(&self, what: &str, rep: usize, value: &str) {
        eprintln!("  {what}: {rep}/{} {value}", self.reps);
    }
}

/// A share of an interval that differs from repetition to repetition and covers it evenly: where within the interval
/// something happens decides how long it takes to be seen.
pub fn phase(rep: usize) -> f64 {
    (rep as f64 * 0.618_033_988_75).fract()
}

/// All requests of the operator since `from`, watches apart.
pub fn operator_requests(from: u64) -> Result<Vec<crate::harness::audit::Line>> {
    let user = crate::harness::cluster::operator_user();
    let needle = format!("\"username\":\"{user}\"");
    let mut lines = crate::harness::audit::lines(from, |text| text.contains(&needle))?;
    lines.retain(|line| line.sender == user);
    Ok(lines)
}
