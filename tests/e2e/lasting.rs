//! Connections follow, seen by clients that never close theirs: HTTP/1.1 kept alive, HTTP/2, gRPC, websockets. A restore moves
//! new connections alone; these follow when the pods of the side that was left end.

use anyhow::{Context, ensure};
use cutover::api::run::{CutoverRun, RunState};
use cutover::api::{Phase, Verb};
use jiff::Timestamp;
use sample::load::{LoadHandle, Report};
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// Clients of each protocol.
const EACH: usize = 5;
/// In all four.
const ALL: usize = 4 * EACH;

/// Waits until the load's report passes a test.
async fn until(load: &LoadHandle, what: &str, test: impl Fn(&Report) -> bool) -> anyhow::Result<Report> {
    wait::poll(what, secs(30), async || Ok(Some(load.snapshot()).filter(&test))).await
}

/// A run that observes its target, with clients on that.
async fn observed(t: &Case, connections: &str) -> anyhow::Result<LoadHandle> {
    t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
    let load = t.load_that_lasts("web", 50.0, EACH).await?;
    t.start().await?;
    let spec = format!("observe: {{for: 10m, every: 500ms}}\nrollback: {{connections: {connections}}}\n");
    t.cutover("shop", &format!("switch: {{timeout: 20s}}\n{spec}")).await?;
    t.phase("shop", Phase::Observing, 40).await?;
    // From the first answer of green on, the node leads every new connection there.
    until(&load, "green answers", |report| report.pools["fresh"].colours.contains_key("green")).await?;
    ensure!(load.connect());
    until(&load, "all clients are on green", |report| report.lasting_on("green") == (ALL, ALL)).await?;
    Ok(load)
}

/// Whether blue answers new connections now: the node follows a selector a moment later.
fn restored(report: &Report) -> bool {
    let fresh = &report.pools["fresh"].colours;
    fresh["blue"].last > fresh["green"].last
}

/// Ends the load. Nobody may have lost anything: no fresh connection, and no client.
async fn nothing_lost(load: &LoadHandle) -> anyhow::Result<Report> {
    let report = load.stop().await;
    let fresh = &report.pools["fresh"];
    ensure!(fresh.lost == 0 && fresh.sent > 50, "{} of {} lost: {:?}", fresh.lost, fresh.sent, fresh.losses);
    for (name, kind) in &report.lasting {
        ensure!((kind.lost, kind.app_errors) == (0, 0), "{name}: {kind:?}");
    }
    Ok(report)
}

fn ended(run: &CutoverRun) -> Option<Timestamp> {
    run.status.as_ref()?.timeline.last().map(|moment| moment.at)
}

#[test]
fn clients_that_never_close_their_connection_are_on_the_old_side_once_the_target_is_closed() {
    e2e("close_lasting", async |t: &Case| {
        let load = observed(t, "Close").await?;
        t.decide("shop", Verb::Rollback).await?;
        t.points_to("web", "blue", 10).await?;
        let on = until(&load, "blue answers", restored).await?.lasting_on("green");
        ensure!(on == (ALL, ALL), "{on:?}: a restore moves no connection that is open");
        // The pause before the closing is for a side that could serve: `connections.rs` looks at it.
        t.fault("web", "green", json!({"ready": false})).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        until(&load, "all clients are on blue", |report| report.lasting_on("blue") == (ALL, ALL)).await?;
        let report = nothing_lost(&load).await?;

        // What stands in the object says what was still there, and when it was ended.
        let status = run.status.context("status")?;
        let [closed] = status.closings.as_slice() else { anyhow::bail!("{:?}", status.closings) };
        ensure!((closed.side.as_str(), closed.had, closed.left.is_none()) == ("green", 2, true), "{closed:?}");
        ensure!(closed.ended.is_some() && closed.endpoints.contains_key("web"), "{closed:?}");
        let [workload] = closed.workloads.as_slice() else { anyhow::bail!("{closed:?}") };
        ensure!(
            (workload.workload.name.as_str(), workload.from, workload.done) == ("web-green", 2, true),
            "{closed:?}"
        );
        for (name, kind) in &report.lasting {
            let after = kind.left("green", closed.at);
            ensure!(
                after.len() == EACH && after.iter().all(Option::is_some),
                "{name}: {after:?} of {:?}",
                kind.clients
            );
            eprintln!("{name}: off green after {:?}", after.iter().flatten().max());
        }
        Ok(())
    });
}

#[test]
fn where_connections_are_kept_those_clients_stay_on_the_target() {
    e2e("keep_lasting", async |t: &Case| {
        let load = observed(t, "Keep").await?;
        t.decide("shop", Verb::Rollback).await?;
        t.points_to("web", "blue", 10).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let closed = |run: &CutoverRun| run.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
        let run = t.run_until("shop", "closed", secs(30), |run| Ok(closed(run).then(|| run.clone()))).await?;
        let over = ended(&run).context("the end stands in the timeline")?;
        let answered = |report: &Report| {
            let mut clients = report.lasting.values().flat_map(|kind| &kind.clients);
            clients.all(|client| client.at.is_some_and(|at| at > over)) && restored(report)
        };
        let report = until(&load, "blue answers new connections, and every client is answered", answered).await?;
        ensure!(report.lasting_on("green") == (ALL, ALL), "{:?}", report.lasting);
        nothing_lost(&load).await?;
        ensure!(run.status.context("status")?.closings.is_empty());
        Ok(())
    });
}
