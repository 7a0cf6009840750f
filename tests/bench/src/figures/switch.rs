//! The minimal manifest with a target that is ready: how long until it is live, and what that asks of the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use cutover::api::Phase;
use tokio::time::sleep;

use super::{Bench, operator_requests};
use crate::harness::audit;
use crate::report::{Figure, Requests, Summary};
use crate::stage::{Stage, millis};

/// How long an observed run is watched for its requests.
const WATCHED: Duration = Duration::from_secs(60);

/// Apply → switched, reverted → restored, and the requests of such a run.
pub async fn switch(bench: &mut Bench) -> Result<()> {
    let mut stage = Stage::new(&bench.client, "bench-switch", 1).await?;
    let (mut switched, mut restored, mut totals) = (vec![], vec![], vec![]);
    let mut counts: Vec<BTreeMap<String, u64>> = vec![];
    for rep in 1..=bench.reps {
        let from = audit::end();
        stage.release("green").await?;
        stage.phase(Phase::Observing).await?;
        let reverted = audit::end();
        stage.revert("blue").await?;
        let mut run = stage.account(from).await?;
        switched.push(millis(run.applied()?, run.pointed_to("green")?));
        counts.push(run.requests());
        totals.push(run.requests().values().sum::<u64>() as f64);
        run.lines = audit::read(&stage.namespace, reverted)?;
        restored.push(millis(run.applied()?, run.pointed_to("blue")?));
        let text =
            format!("{:.0} ms, back in {:.0} ms", switched.last().unwrap_or(&0.0), restored.last().unwrap_or(&0.0));
        bench.progress("apply → switched", rep, &text);
    }
    bench.report.figures.push(Figure::new(
        "apply-switched",
        "apply → switched, no gates",
        "ms",
        "From the arrival of the Cutover's change at the API server to its acceptance of the selector patch. Minimal
        manifest: rights, dry runs of both patches and the target's readiness are checked on the way.",
        switched,
    ));
    bench.report.figures.push(Figure::new(
        "revert-restored",
        "spec.activate reverted → restored",
        "ms",
        "From the arrival of the change to the acceptance of the selector patch.",
        restored,
    ));
    bench.report.figures.push(Figure::new(
        "requests-per-run",
        "requests for one run",
        "requests",
        "All requests of the operator in the namespace from the apply to the closed run, switch and rollback included
        (audit log).",
        totals,
    ));
    bench.report.requests.push(Requests {
        title: "Requests of one run that is switched and rolled back (median of each)".into(),
        rows: medians(&counts),
    });
    observed(bench, &mut stage).await?;
    stage.remove().await
}

/// What a run that is only observed asks for in a minute.
async fn observed(bench: &mut Bench, stage: &mut Stage) -> Result<()> {
    stage.release("green").await?;
    stage.phase(Phase::Observing).await?;
    eprintln!("  a run is observed for {WATCHED:?}");
    let from = audit::end();
    sleep(WATCHED).await;
    let mut count: BTreeMap<String, u64> = BTreeMap::new();
    for line in operator_requests(from)?.iter().filter(|l| l.namespace == stage.namespace) {
        let dry = if line.dry_run { " (dry run)" } else { "" };
        *count.entry(format!("{} {}{dry}", line.verb, line.resource)).or_default() += 1;
    }
    bench
        .report
        .requests
        .push(Requests { title: "Requests of one run in a minute of observation".into(), rows: medians(&[count]) });
    stage.revert("blue").await?;
    stage.rolled_back().await
}

fn medians(counts: &[BTreeMap<String, u64>]) -> Vec<(String, f64)> {
    let mut names: Vec<&String> = counts.iter().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    let of = |name: &String| {
        let values: Vec<f64> = counts.iter().map(|c| c.get(name).copied().unwrap_or(0) as f64).collect();
        Summary::of(&values).median
    };
    names.into_iter().map(|name| (name.clone(), of(name))).collect()
}
