//! Clients that never close their connection by themselves: how soon they are on the old side once a rollback has closed the
//! side that was left.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use cutover::api::Phase;
use cutover::api::run::Closing;
use k8s_openapi::api::core::v1::Service;
use sample::load::{Load, LoadConfig, LoadHandle, Report};
use serde_json::json;

use super::Bench;
use crate::harness::wait;
use crate::report::Figure;
use crate::stage::{self, Stage};

/// Clients of each protocol.
const EACH: usize = 25;
/// Requests a second on connections of their own, beside them.
const FRESH: f64 = 50.0;
/// Repetitions, at most: each has a hundred clients.
const REPS: usize = 10;
/// What is promised, in seconds and per cent.
const SOON: Duration = Duration::from_secs(5);
const SHARE: f64 = 99.0;
/// A client that has not moved after this long is counted with it.
const WATCHED: Duration = Duration::from_secs(20);
/// Bound of every other wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Protocols, as the load's report and the table name them.
const PROTOCOLS: [(&str, &str); 4] =
    [("http1", "HTTP/1.1 kept alive"), ("http2", "HTTP/2"), ("grpc", "gRPC"), ("websocket", "websocket")];

/// Rollbacks under such clients.
pub async fn follow(bench: &mut Bench) -> Result<()> {
    let mut stage = Stage::new(&bench.client, "bench-connections", 3).await?;
    stage.spec("rollback: {connections: Close}")?;
    let url = format!("http://{}:80/", stage.address(stage::NAME).await?);
    let reps = bench.reps.min(REPS);
    let (mut shares, mut lost_fresh, mut lost_lasting) = (vec![], vec![], vec![]);
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for rep in 1..=reps {
        let mut config = LoadConfig::new(&url)?;
        (config.fresh_rate, config.lasting, config.lasting_later) = (FRESH, EACH, true);
        sample::load::await_answer(&config, LONGEST).await?;
        let load = Load::start(config);
        let closed = rolled_back(&mut stage, &load).await;
        let report = load.stop().await;
        let closed = closed?;
        let (mut soon, mut slowest) = (0, Duration::ZERO);
        for (name, _) in PROTOCOLS {
            let after = report.lasting[name].left("green", closed.at);
            ensure!(after.len() == EACH, "only {} clients of {name} were on green when it was closed", after.len());
            for after in after.into_iter().map(|after| after.unwrap_or(WATCHED)) {
                soon += usize::from(after <= SOON);
                slowest = slowest.max(after);
                times.entry(name).or_default().push(after.as_secs_f64() * 1000.0);
            }
        }
        shares.push(100.0 * soon as f64 / (EACH * PROTOCOLS.len()) as f64);
        lost_fresh.push(report.pools["fresh"].lost as f64);
        lost_lasting.push(report.lasting.values().map(|kind| kind.lost).sum::<u64>() as f64);
        let share = shares.last().unwrap_or(&0.0);
        let text = format!("{share:.0} % within {SOON:?}, the last after {:.1} s", slowest.as_secs_f64());
        eprintln!("  connections follow: {rep}/{reps} {text}");
    }
    let clients = EACH * PROTOCOLS.len();
    let figures = &mut bench.report.figures;
    figures.push(
        Figure::new(
            "connections-followed",
            "connections that never close, off the left side 5 s after its closing",
            "%",
            &format!(
                "{clients} clients, {EACH} each of HTTP/1.1 kept alive, HTTP/2, gRPC and websockets, connected to the new
                side, each asking every 200 ms over one connection that it never closes by itself. spec.activate is
                reverted, then the new side's pods are made unready, which spares the 30 s before the closing. From the
                journal's time of the closing (status.closings) to each client's first answer by the old side; the
                application closes on SIGTERM. Share of all clients."
            ),
            shares,
        )
        .at_least(SHARE),
    );
    for (name, title) in PROTOCOLS {
        figures.push(Figure::new(
            &format!("connections-{name}"),
            &format!("closing → answered by the old side, {title}"),
            "ms",
            &format!("The same repetitions, each client. One that has not moved counts as {} s.", WATCHED.as_secs()),
            times.remove(name).unwrap_or_default(),
        ));
    }
    figures.push(
        Figure::new(
            "lost-closing-fresh",
            "requests lost while connections follow, fresh connections",
            "requests",
            &format!("{FRESH:.0} requests a second beside these clients, from before the switch to the last of them."),
            lost_fresh,
        )
        .target(None, None, Some(0.0)),
    );
    figures.push(Figure::new(
        "lost-closing-lasting",
        "requests lost while connections follow, connections that never close",
        "requests",
        "Of all clients, from their connection on. A request that the pod had not taken up when it closed the connection is
        sent on the next one, and is not lost.",
        lost_lasting,
    ));
    stage.remove().await
}

/// One switch to green, clients on it, and the rollback; says how green's connections were ended.
async fn rolled_back(stage: &mut Stage, load: &LoadHandle) -> Result<Closing> {
    let all = EACH * PROTOCOLS.len();
    stage.release("green").await?;
    stage.phase(Phase::Observing).await?;
    // From the first answer of green on, the node leads every new connection there.
    until(load, "green answers", LONGEST, |report| report.pools["fresh"].colours.contains_key("green")).await?;
    load.connect();
    until(load, "all clients are on green", LONGEST, |report| report.lasting_on("green") == (all, all)).await?;
    stage.revert("blue").await?;
    wait::until(stage.api::<Service>(), "the Service points to blue", LONGEST, |services| {
        let selector = services.get(stage::NAME).and_then(|s| s.spec.as_ref()?.selector.as_ref());
        Ok(selector.is_some_and(|s| s.get("side").is_some_and(|side| side == "blue")).then_some(()))
    })
    .await?;
    // The node follows a moment later.
    until(load, "blue answers", LONGEST, |report| {
        let fresh = &report.pools["fresh"].colours;
        fresh["blue"].last > fresh["green"].last
    })
    .await?;
    stage.fault("green", json!({"ready": false})).await?;
    let closed = stage.closed("green").await?;
    // Who does not move is counted, too.
    until(load, "all clients are on blue", WATCHED, |report| report.lasting_on("blue") == (all, all)).await.ok();
    stage.rolled_back().await?;
    Ok(closed)
}

async fn until(load: &LoadHandle, what: &str, bound: Duration, test: impl Fn(&Report) -> bool) -> Result<()> {
    wait::poll(what, bound, async || Ok(test(&load.snapshot()).then_some(()))).await
}
