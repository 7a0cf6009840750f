//! The road to the API server is bad: connections are reset, answers come late or never, watches fall silent.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cutover::api::{Cutover, Phase, Verb};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e, wait};

const WATCHING: &str = "switch: {timeout: 30s}\nobserve: {for: 120s, every: 500ms}\n";

fn is_write(method: &http::Method, path: &str) -> bool {
    *method != http::Method::GET && !path.contains("dryRun") && !path.contains("/token")
}

/// Each write of a user's object meets this once.
fn once_each(fault: Fault) -> impl Fn(&http::Method, &str) -> Option<Fault> + Send + Sync + 'static {
    let met = Mutex::new(BTreeSet::new());
    move |method, path| {
        let theirs = ["/services/", "/jobs", "/deployments/"].iter().any(|kind| path.contains(kind));
        let first = || met.lock().is_ok_and(|mut met| met.insert((method.clone(), path.to_owned())));
        (theirs && is_write(method, path) && first()).then(|| fault.clone())
    }
}

fn with_job() -> String {
    let job = "{deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}";
    format!("phases: {{prepare: {{steps: [{{name: migrate, job: {job}, undo: {{job: {job}}}}}]}}}}\n{WATCHING}")
}

#[test]
fn connections_that_are_reset_after_a_write_make_nothing_happen_twice() {
    e2e("network_reset", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        proxy.fail(once_each(Fault::Reset));
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", &with_job()).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(proxy.refused() >= 4, "only {} connections were reset", proxy.refused());
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        ensure!(t.jobs()? == (2, 2), "two Jobs, but {:?} were created and started", t.jobs()?);
        Ok(())
    });
}

#[test]
fn writes_that_nobody_ever_answers_are_given_up_and_tried_again() {
    e2e("network_black_hole", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        proxy.fail(once_each(Fault::BlackHole));
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", &with_job()).await?;
        t.phase("shop", Phase::Observing, 90).await?;
        // From now on no restore gets through.
        let before = proxy.refused();
        proxy.fail(|method, path| (path.contains("/services/") && is_write(method, path)).then_some(Fault::BlackHole));
        t.decide("shop", Verb::Rollback).await?;
        wait::poll("restores in the hole", secs(30), async || Ok((proxy.refused() >= before + 2).then_some(())))
            .await?;
        ensure!(t.side("web").await? == "green");
        proxy.heal();
        let healed = Instant::now();
        t.points_to("web", "blue", 20).await?;
        eprintln!("measured: selector restored {:?} after the hole was closed", healed.elapsed());
        t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_slow_road_makes_a_run_slow_and_nothing_else() {
    e2e("network_slow", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        proxy.fail(|method, path| is_write(method, path).then_some(Fault::Delay(Duration::from_millis(700))));
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", &with_job().replace("for: 120s", "for: 2s")).await?;
        t.ends("shop", Phase::Completed, 90).await?;
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        ensure!(t.jobs()? == (1, 1), "one Job, but {:?} were created and started", t.jobs()?);
        Ok(())
    });
}

#[test]
fn a_revert_is_honoured_before_the_switch_while_the_watch_of_the_cutover_is_silent() {
    e2e("watch_of_cutover_silent", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let spec = "phases: {verify: {steps: [{name: hold, wait: {for: 45s}}]}}\nswitch: {timeout: 20s}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        proxy.freeze(|path| path.contains("/cutovers"));
        t.merge::<Cutover>("shop", json!({"spec": {"activate": "blue"}})).await?;
        // Seen by a live read, before the switch is due.
        t.phase("shop", Phase::Aborted, 60).await?;
        ensure!(t.selector_writes("web")?.is_empty(), "{:?}", t.selector_writes("web")?);
        proxy.thaw();
        t.ends("shop", Phase::Aborted, 30).await.map(drop)
    });
}

#[test]
fn the_end_of_a_job_is_seen_while_the_watch_of_jobs_is_silent() {
    e2e("watch_of_jobs_silent", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        proxy.freeze(|path| path.contains("/jobs"));
        let job = "{deadline: 120s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, fail]}]}}}";
        t.cutover("shop", &format!("phases: {{prepare: {{steps: [{{name: migrate, job: {job}}}]}}}}\n{WATCHING}"))
            .await?;
        t.phase("shop", Phase::Failed, 90).await?;
        ensure!(t.jobs()? == (1, 1), "one Job, but {:?} were created and started", t.jobs()?);
        proxy.thaw();
        t.ends("shop", Phase::Failed, 30).await.map(drop)
    });
}
