//! Watches die: refused, reset, frozen, forgotten by the network. Health says so, and nothing needs a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover::api::{Phase, Verb};
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e, wait};

const OBSERVED: &str = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}\n";

fn is_watch(path: &str) -> bool {
    path.contains("watch=")
}

/// A run that is observed, of an operator whose road goes through a proxy.
async fn observed(t: &Case, spec: &str) -> Result<Proxy> {
    let proxy = Proxy::start().await?;
    t.web().await?;
    t.start_through(Some(&proxy.url)).await?;
    t.cutover("shop", spec).await?;
    t.phase("shop", Phase::Observing, 60).await?;
    t.ready("operator").await?;
    Ok(proxy)
}

/// Waits until `/readyz` or `/livez` answers so; how long that took.
async fn answers(t: &Case, which: &str, code: u16, says: &str, bound: u64) -> Result<Duration> {
    let began = Instant::now();
    wait::poll(&format!("/{which} says {code} {says}"), secs(bound), async || {
        t.alive()?;
        let said = t.health("operator", which).await?;
        Ok(said.filter(|(now, text)| *now == code && text.contains(says)).map(|_| ()))
    })
    .await?;
    Ok(began.elapsed())
}

/// A Cutover that has nothing to do; the operator hears of it by a watch alone.
async fn another(t: &Case, name: &str) -> Result<()> {
    let spec = format!("services: [{{name: {name}}}]\nactivate: blue\n");
    t.cutover(name, &spec).await
}

/// Waits until the operator has looked at it; how long that took.
async fn looked_at(t: &Case, name: &str, bound: u64) -> Result<Duration> {
    let began = Instant::now();
    t.condition(name, "Accepted", true, bound).await?;
    Ok(began.elapsed())
}

/// Every watch is refused for so long; then the road heals.
async fn refused(t: &Case, time: Duration) -> Result<()> {
    let proxy = observed(t, OBSERVED).await?;
    proxy.fail(|_, path| is_watch(path).then_some(Fault::Refuse(503)));
    let began = Instant::now();
    proxy.break_watches(|_| true);
    let unready = answers(t, "readyz", 503, "the watch of ", 10).await?;
    another(t, "idle").await?;
    // Live reads succeed all the while: after two minutes a new process would do better.
    if time > secs(150) {
        answers(t, "livez", 503, "the watch of ", 140).await?;
        let dead = began.elapsed();
        ensure!(dead >= secs(118), "/livez failed {dead:?} after the watches had");
        eprintln!("measured: all watches refused: /livez fails after {dead:?}");
    }
    tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
    let (code, why) = t.health("operator", "readyz").await?.context("no health")?;
    ensure!(code == 503, "ready while no watch works: {why}");
    proxy.heal();
    let healed = Instant::now();
    looked_at(t, "idle", 60).await?;
    let resumed = healed.elapsed();
    answers(t, "readyz", 200, "ok", 20).await?;
    let ready = healed.elapsed();
    answers(t, "livez", 200, "ok", 5).await?;
    eprintln!(
        "measured: all watches refused for {time:?}: /readyz fails after {unready:?}; healed: reconciling again after \
         {resumed:?}, /readyz after {ready:?}"
    );
    t.decide("shop", Verb::Rollback).await?;
    t.ends("shop", Phase::RolledBack, 60).await?;
    t.alive()
}

#[test]
fn while_all_watches_are_refused_it_is_not_ready_and_goes_on_by_itself_when_they_are_back() {
    e2e("watches_refused", async |t: &Case| refused(t, secs(6)).await);
}

#[test]
#[ignore = "night: five minutes without watches"]
fn watches_that_are_refused_for_minutes_fail_livez_and_come_back_without_a_restart() {
    e2e("watches_refused_long", async |t: &Case| refused(t, secs(300)).await);
}

/// What the API server says to a watch whose place it has forgotten: at once, or as the first event.
fn gone() -> [Fault; 2] {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version: 1 (2)"});
    let event = json!({"type": "ERROR", "object": status});
    [Fault::Answer(410, status.to_string().into()), Fault::Answer(200, format!("{event}\n").into())]
}

#[test]
fn a_watch_whose_place_is_forgotten_lists_what_it_has_missed() {
    e2e("watch_gone", async |t: &Case| {
        let proxy = observed(t, OBSERVED).await?;
        for (fault, name) in gone().into_iter().zip(["at-once", "as-event"]) {
            // The controller's, and the one that all runs share.
            let of_cutovers = |path: &str| is_watch(path) && path.contains("/cutovers?");
            proxy.fail(move |_, path| of_cutovers(path).then_some(Fault::Refuse(503)));
            proxy.end_watches(of_cutovers);
            answers(t, "readyz", 503, "the watch of cutovers", 10).await?;
            another(t, name).await?;
            // Whoever watched before the fault is told once that its place is gone; a new place is another one.
            let told = Arc::new(AtomicUsize::new(0));
            let twice = told.clone();
            proxy.fail(move |_, path| {
                let place = of_cutovers(path) && twice.fetch_add(1, Ordering::SeqCst) < 2;
                place.then(|| fault.clone())
            });
            let took = looked_at(t, name, 30).await?;
            ensure!(told.load(Ordering::SeqCst) > 0, "nobody was told that the place is gone");
            eprintln!("measured: 410 {name}: what was missed is seen after {took:?}");
            answers(t, "readyz", 200, "ok", 15).await?;
            proxy.heal();
        }
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 60).await.map(drop)
    });
}

/// Watched in every namespace in which a run is driven.
const SHARED: [&str; 5] = ["pods", "jobs", "endpointslices", "services", "deployments"];

/// What is watched for runs, each as often as it is.
fn shared(open: &[String]) -> Vec<&str> {
    let mut all: Vec<&str> = open.iter().filter_map(|path| path.rsplit('/').next()).collect();
    all.retain(|kind| SHARED.contains(kind));
    all.sort_unstable();
    all
}

#[test]
fn three_runs_of_a_namespace_hold_no_more_watches_than_one_and_none_when_they_are_over() {
    e2e("watches_shared", async |t: &Case| {
        let proxy = Proxy::start().await?;
        let spec = |app: &str, more: &str| {
            format!(
                "services: [{{name: {app}}}]\nsides: [{{name: blue, selector: {{side: blue}}, workloads: [{{kind: Deployment, \
                 name: {app}-blue}}]}}, {{name: green, selector: {{side: green}}, workloads: [{{kind: Deployment, name: \
                 {app}-green}}]}}]\n{OBSERVED}{more}"
            )
        };
        for app in ["web", "api", "cart"] {
            t.app(app, Colour::new("blue"), Colour::new("green")).await?;
        }
        t.start_through(Some(&proxy.url)).await?;
        t.ready("operator").await?;
        // The controller sees the Services' metadata at all times.
        let idle = proxy.watches_are(secs(20), |open| shared(open) == ["services"]).await?;
        t.cutover("one", &spec("web", "")).await?;
        t.phase("one", Phase::Observing, 60).await?;
        // No step is a Job, so nobody watches Jobs.
        let all = ["deployments", "endpointslices", "pods", "services", "services"];
        let of_one = proxy.watches_are(secs(20), |open| shared(open) == all).await?;
        t.cutover("two", &spec("api", "")).await?;
        t.cutover("three", &spec("cart", "")).await?;
        t.phase("two", Phase::Observing, 60).await?;
        t.phase("three", Phase::Observing, 60).await?;
        let of_three = proxy.watches_are(secs(20), |open| shared(open) == all).await?;
        eprintln!(
            "measured: watches without a run {}, of one run {}, of three {}",
            idle.len(),
            of_one.len(),
            of_three.len()
        );
        // Each hears of its own.
        t.fault("api", "green", json!({"error_rate": 1.0})).await?;
        t.ends("two", Phase::RolledBack, 60).await?;
        ensure!(t.side("web").await? == "green" && t.side("cart").await? == "green");
        t.decide("one", Verb::Rollback).await?;
        t.decide("three", Verb::Rollback).await?;
        t.ends("one", Phase::RolledBack, 60).await?;
        t.ends("three", Phase::RolledBack, 60).await?;
        proxy.watches_are(secs(20), |open| shared(open) == ["services"]).await.map(drop)
    });
}

#[test]
fn one_watch_that_breaks_again_and_again_holds_up_no_other() {
    e2e("watch_breaks", async |t: &Case| {
        let proxy = observed(t, OBSERVED).await?;
        let of_pods = |path: &str| is_watch(path) && path.contains("/pods?");
        proxy.fail(move |_, path| of_pods(path).then_some(Fault::Break));
        proxy.break_watches(of_pods);
        answers(t, "readyz", 503, "the watch of pods in namespace ", 10).await?;
        another(t, "idle").await?;
        let took = looked_at(t, "idle", 5).await?;
        eprintln!("measured: the watch of pods broken: a Cutover is looked at after {took:?}");
        t.decide("shop", Verb::Rollback).await?;
        t.points_to("web", "blue", 10).await?;
        proxy.heal();
        answers(t, "readyz", 200, "ok", 15).await?;
        t.ends("shop", Phase::RolledBack, 60).await.map(drop)
    });
}

#[test]
#[ignore = "night: a connection is given up after 65 s of silence"]
fn connections_that_die_without_a_word_delay_no_rollback_and_are_left_within_65_s() {
    e2e("connections_forgotten", async |t: &Case| {
        let proxy = observed(t, OBSERVED).await?;
        // The moment from which on no watch says anything.
        let began = Instant::now();
        proxy.road().forget();
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        t.points_to("web", "blue", 30).await?;
        eprintln!(
            "measured: connections dead without a word: selector back {:?} after the fault of the new side",
            began.elapsed()
        );
        another(t, "idle").await?;
        looked_at(t, "idle", 80).await?;
        let left = began.elapsed();
        eprintln!("measured: connections dead without a word: the watch of Cutovers works again after {left:?}");
        ensure!(left < secs(75), "a dead watch was left only after {left:?}");
        t.ends("shop", Phase::RolledBack, 60).await?;
        answers(t, "readyz", 200, "ok", 70).await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
#[ignore = "night: silence counts as death after a minute, and kills after two more"]
fn watches_that_open_and_stay_silent_fail_readyz_and_then_livez() {
    e2e("watches_silent", async |t: &Case| {
        let proxy = observed(t, OBSERVED).await?;
        let began = Instant::now();
        proxy.freeze(|_| true);
        answers(t, "readyz", 503, "has heard nothing for", 90).await?;
        let unready = began.elapsed();
        answers(t, "livez", 503, "has heard nothing for", 150).await?;
        let dead = began.elapsed();
        ensure!(dead >= unready + secs(115), "/livez failed {dead:?} after /readyz had, {unready:?}");
        t.decide("shop", Verb::Rollback).await?;
        t.points_to("web", "blue", 40).await?;
        proxy.thaw();
        let thawed = Instant::now();
        answers(t, "readyz", 200, "ok", 75).await?;
        eprintln!(
            "measured: all watches silent: /readyz fails after {unready:?}, /livez after {dead:?}; thawed: ready after {:?}",
            thawed.elapsed()
        );
        answers(t, "livez", 200, "ok", 5).await?;
        t.ends("shop", Phase::RolledBack, 60).await.map(drop)
    });
}

#[test]
#[ignore = "night: watches are silent for a minute"]
fn an_abort_is_honoured_within_one_reading_while_its_watches_are_silent() {
    e2e("abort_silent", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let spec = "phases: {verify: {steps: [{name: hold, wait: {for: 90s}}]}}\nswitch: {timeout: 20s}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        proxy.freeze(|path| path.contains("/cutovers") || path.contains("/cutoverdecisions"));
        let began = Instant::now();
        t.decide("shop", Verb::Abort).await?;
        t.phase("shop", Phase::Aborted, 60).await?;
        eprintln!("measured: watches of Cutover and decisions silent: aborted after {:?}", began.elapsed());
        ensure!(began.elapsed() < secs(40), "an abort took {:?}", began.elapsed());
        tokio::time::sleep(secs(60).saturating_sub(began.elapsed())).await;
        ensure!(t.selector_writes("web")?.is_empty(), "{:?}", t.selector_writes("web")?);
        proxy.thaw();
        t.ends("shop", Phase::Aborted, 30).await.map(drop)
    });
}

#[test]
#[ignore = "night: a watch is silent for a minute"]
fn a_job_that_fails_while_its_watch_is_silent_is_found_by_the_next_reading() {
    e2e("job_silent", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let job = |args: &str| {
            format!(
                "{{deadline: 120s, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, {args}]}}]}}}}}}"
            )
        };
        let steps = format!("[{{name: migrate, job: {}}}, {{name: never, job: {}}}]", job("fail"), job("migrate"));
        proxy.freeze(|path| path.contains("/jobs") || path.contains("/pods"));
        t.cutover("shop", &format!("phases: {{prepare: {{steps: {steps}}}}}\nswitch: {{timeout: 20s}}\n")).await?;
        let failed = wait::until(t.api::<k8s_openapi::api::batch::v1::Job>(), "a failed Job", secs(60), |all| {
            let failed = |j: &&k8s_openapi::api::batch::v1::Job| {
                let conditions = j.status.as_ref().and_then(|s| s.conditions.as_ref());
                conditions.into_iter().flatten().any(|c| c.type_ == "Failed" && c.status == "True")
            };
            Ok(all.values().find(failed).map(|_| Instant::now()))
        })
        .await?;
        t.phase("shop", Phase::Failed, 60).await?;
        let took = failed.elapsed();
        eprintln!("measured: watches of Jobs and pods silent: a failed Job is seen after {took:?}");
        ensure!(took < secs(35), "a failed Job was seen only after {took:?}");
        ensure!(t.jobs()? == (1, 1), "the step after a failed one: {:?} Jobs created and started", t.jobs()?);
        proxy.thaw();
        t.ends("shop", Phase::Failed, 30).await.map(drop)
    });
}
