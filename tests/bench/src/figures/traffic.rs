//! Lost requests under constant load, at planned switches and at restores.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use sample::load::{Load, LoadConfig, Report};
use tokio::time::sleep;

use super::Bench;
use crate::harness::{audit, wait};
use crate::report::Figure;
use crate::stage::{self, Stage};

/// Load goes on for this long after a switch or a restore, so that what comes of it is counted with it.
const SETTLE: Duration = Duration::from_secs(1);
/// Requests a second on connections of their own, and on kept-alive ones.
const RATES: (f64, f64) = (200.0, 50.0);

/// Switches and restores with healthy pods on both sides.
pub async fn lost(bench: &mut Bench) -> Result<()> {
    let mut stage = Stage::new(&bench.client, "bench-traffic", 3).await?;
    let url = format!("http://{}:80/", stage.address(stage::NAME).await?);
    let client = stage::http()?;
    wait::poll("the Service answers", Duration::from_secs(30), async || {
        Ok(client.get(&url).send().await.is_ok_and(|a| a.status().is_success()).then_some(()))
    })
    .await?;
    let [fresh, kept] = [("fresh", RATES.0, 0.0), ("kept-alive", 0.0, RATES.1)].map(|(name, fresh, kept)| {
        LoadConfig::new(&url).map(|mut config| {
            (config.fresh_rate, config.keepalive_rate) = (fresh, kept);
            (name, Load::start(config))
        })
    });
    let loads = [fresh?, kept?];
    let result = cycles(bench, &mut stage, &loads).await;
    let mut reports = vec![];
    for (name, load) in &loads {
        reports.push((*name, load.stop().await));
    }
    result?;
    for (name, report) in &reports {
        let rate = if *name == "fresh" { RATES.0 } else { RATES.1 };
        let wanted = rate * bench.reps as f64 * 2.0 * SETTLE.as_secs_f64();
        ensure!(report.sent as f64 > wanted, "only {} requests on {name} connections were sent", report.sent);
        for (kind, title) in [("switch", "switch"), ("restore", "restore")] {
            let values = windows(report, kind, bench.reps)?;
            let figure = Figure::new(
                &format!("lost-{kind}-{name}"),
                &format!("requests lost at a {title}, {name} connections"),
                "requests",
                &format!(
                    "{rate:.0} requests a second on {name} connections, three healthy pods on each side; refused, reset, cut
                    off or without a full answer in 5 s. Counted from the apply to {} s after the end of the {title}; {}
                    requests in all.",
                    SETTLE.as_secs(),
                    report.sent
                ),
                values,
            );
            bench.report.figures.push(if *name == "fresh" { figure.target(None, None, Some(0.0)) } else { figure });
        }
    }
    stage.remove().await
}

async fn cycles(bench: &Bench, stage: &mut Stage, loads: &[(&str, sample::load::LoadHandle)]) -> Result<()> {
    let mark = |name: &str| {
        for (_, load) in loads {
            load.mark(name);
        }
    };
    sleep(SETTLE).await;
    for rep in 1..=bench.reps {
        let from = audit::end();
        mark(&format!("switch {rep}"));
        stage.release("green").await?;
        stage.phase(Phase::Observing).await?;
        sleep(SETTLE).await;
        mark(&format!("restore {rep}"));
        stage.revert("blue").await?;
        stage.account(from).await?;
        sleep(SETTLE).await;
        mark("between");
        let lost: u64 = loads.iter().map(|(_, load)| load.snapshot().lost).sum();
        bench.progress("switch and restore under load", rep, &format!("{lost} lost so far"));
    }
    Ok(())
}

fn windows(report: &Report, kind: &str, reps: usize) -> Result<Vec<f64>> {
    (1..=reps)
        .map(|rep| {
            let window = report.mark(&format!("{kind} {rep}")).context("a window of the load is missing")?;
            ensure!(window.sent > 0, "no request was sent in the window {}", window.name);
            Ok(window.lost as f64)
        })
        .collect()
}
