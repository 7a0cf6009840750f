//! Two operators on one Lease: the leader is killed, stopped, frozen, cut off. What it was doing goes on, once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover::api::run::CutoverRun;
use cutover::api::{Cutover, Phase};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::audit::Line;
use crate::harness::case::secs;
use crate::harness::operator::Operator;
use crate::harness::proxy::{Fault, Held, Place, Proxy};
use crate::harness::{Case, e2e, wait};

/// A Job with an undo, and a probe that takes the switch back.
fn spec() -> String {
    let job = |args: &str| {
        format!(
            "{{deadline: 60s, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, {args}]}}]}}}}}}"
        )
    };
    format!(
        "phases: {{prepare: {{steps: [{{name: migrate, job: {}, undo: {{job: {}}}}}]}}}}\nswitch: {{minReady: '1', timeout: 60s}}\n\
         observe: {{for: 60s, every: 500ms, triggers: [{{name: down, probe: {{http: {{path: /health}}, failing: 2}}}}]}}\n",
        job("sleep, '3000'"),
        job("print, undone"),
    )
}

fn is_switch(method: &http::Method, path: &str) -> bool {
    *method == http::Method::PATCH && path.contains("/services/") && !path.contains("dryRun")
}

/// `a` leads and `b` follows.
async fn pair(t: &Case, server: Option<&str>) -> Result<(Operator, Operator)> {
    let a = t.candidate("a", server).await?;
    t.leads("a", 20).await?;
    let b = t.candidate("b", None).await?;
    wait::poll("b follows", secs(20), async || Ok(t.log_of("b")?.contains("following").then_some(()))).await?;
    Ok((a, b))
}

/// How long after `since` a request was received.
fn after(since: Timestamp, line: &Line) -> Result<Duration> {
    let at: Timestamp = line.at.parse()?;
    Ok(Duration::try_from(at.duration_since(since)).unwrap_or_default())
}

/// Says how long the Lease and the first write of `b` took, by the API server's clock.
fn told(t: &Case, what: &str, since: Timestamp) -> Result<()> {
    let lines = t.audit()?;
    let taken = lines
        .iter()
        .filter(|l| l.resource == "leases" && l.agent.ends_with("(b)") && l.is_write() && l.done())
        .find(|l| l.at.parse::<Timestamp>().is_ok_and(|at| at > since))
        .context("b never wrote the Lease")?;
    let writes = t.writes_of("b")?;
    let first = writes.iter().find(|l| l.done()).context("b wrote nothing")?;
    eprintln!(
        "measured: {what}: Lease taken after {:?}, first write ({} {}) after {:?}",
        after(since, taken)?,
        first.verb,
        first.resource,
        after(since, first)?
    );
    Ok(())
}

fn follows(t: &Case) -> Result<()> {
    let log = t.log_of("b")?;
    ensure!(!log.contains("driving"), "the follower started a driver: {log}");
    let writes = t.writes_of("b")?;
    ensure!(writes.is_empty(), "the follower wrote {writes:?}");
    Ok(())
}

/// The leader ends by a signal while a restore is due that it cannot make.
async fn rollback_goes_on(t: &Case, signal: &str) -> Result<()> {
    let proxy = Proxy::start().await?;
    t.web().await?;
    let (mut a, _b) = pair(t, Some(&proxy.url)).await?;
    t.cutover("shop", &spec()).await?;
    t.phase("shop", Phase::Observing, 60).await?;
    follows(t)?;
    proxy.fail(|method, path| is_switch(method, path).then_some(Fault::Refuse(503)));
    t.fault("web", "green", json!({"error_rate": 1.0})).await?;
    t.phase("shop", Phase::RollingBack, 30).await?;
    ensure!(t.side("web").await? == "green", "the restore was to be kept from the leader");
    follows(t)?;
    let (since, began) = (Timestamp::now(), Instant::now());
    a.signal(signal)?;
    t.points_to("web", "blue", 30).await?;
    eprintln!("measured: {signal} of the leader with a restore due: selector restored after {:?}", began.elapsed());
    wait::poll("a is gone", secs(15), async || Ok(a.exited())).await?;
    let run = t.ends("shop", Phase::RolledBack, 60).await?;
    told(t, &format!("{signal} of the leader with a restore due"), since)?;
    ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
    ensure!(t.jobs()? == (2, 2), "two Jobs, but {:?} were created and started", t.jobs()?);
    ensure!(run.status.is_some());
    Ok(())
}

#[test]
fn a_killed_leaders_rollback_goes_on() {
    e2e("leader_killed", async |t: &Case| rollback_goes_on(t, "KILL").await);
}

#[test]
fn a_stopped_leader_hands_over_at_once() {
    e2e("leader_stopped", async |t: &Case| rollback_goes_on(t, "TERM").await);
}

#[test]
fn a_step_that_a_killed_leader_began_is_finished_once_by_the_next() {
    e2e("leader_killed_in_step", async |t: &Case| {
        t.web().await?;
        let (a, _b) = pair(t, None).await?;
        t.cutover("shop", &spec().replace("for: 60s", "for: 3s")).await?;
        t.run_until("shop", "the Job runs", secs(30), |run| {
            let step = run.status.as_ref().and_then(|s| s.steps.iter().find(|s| s.name == "migrate"));
            Ok(step.filter(|s| s.job.as_ref().is_some_and(|j| j.uid.is_some())).map(|_| ()))
        })
        .await?;
        follows(t)?;
        let since = Timestamp::now();
        a.signal("KILL")?;
        t.ends("shop", Phase::Completed, 60).await?;
        told(t, "KILL of the leader in the middle of a step", since)?;
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        ensure!(t.jobs()? == (1, 1), "one Job, but {:?} were created and started", t.jobs()?);
        Ok(())
    });
}

/// Freezes the leader while one of its requests is held; the other switches and restores; then the request goes on and
/// the leader wakes.
async fn frozen(t: &Case, hold: impl FnOnce(&Proxy) -> Held) -> Result<()> {
    let proxy = Proxy::start().await?;
    t.web().await?;
    let mut held = hold(&proxy);
    let (a, _b) = pair(t, Some(&proxy.url)).await?;
    t.cutover("shop", &spec()).await?;
    held.come(secs(60)).await?;
    a.signal("STOP")?;
    let since = Timestamp::now();
    t.leads("b", 20).await?;
    t.points_to("web", "green", 30).await?;
    t.phase("shop", Phase::Observing, 30).await?;
    t.fault("web", "green", json!({"error_rate": 1.0})).await?;
    let run = t.ends("shop", Phase::RolledBack, 60).await?;
    told(t, "freeze of the leader between claim and act", since)?;
    let asleep = t.audit()?.len();
    held.release();
    a.signal("CONT")?;
    wait::poll("a has seen that b leads", secs(20), async || {
        Ok(t.log_of("a")?.contains("drivers are stopped").then_some(()))
    })
    .await?;
    // Whatever it may still have sent was answered before this renewal of the other.
    next_renewal(t).await?;
    let late: Vec<Line> = t.audit()?.split_off(asleep);
    // Events tell what has happened, and change nothing.
    let ours = |l: &&Line| l.is_write() && l.agent.ends_with("(a)") && l.resource != "events";
    let late: Vec<&Line> = late.iter().filter(ours).collect();
    let done: Vec<&&Line> = late.iter().filter(|l| l.done()).collect();
    ensure!(done.is_empty(), "the frozen leader wrote after it woke: {done:?}");
    let sent: Vec<String> = late.iter().map(|l| format!("{} {} {}", l.verb, l.resource, l.code)).collect();
    eprintln!("measured: sent by the frozen leader after it woke, and refused: {sent:?}");
    ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
    ensure!(t.side("web").await? == "blue");
    ensure!(t.jobs()? == (2, 2), "two Jobs, but {:?} were created and started", t.jobs()?);
    let now: CutoverRun = t.closed("shop", 5).await?;
    ensure!(now.status == run.status, "the journal of a run that was over changed");
    Ok(())
}

/// A restore that is late by a whole release: the other has restored, and the next release has been switched to.
#[test]
fn a_leader_frozen_with_its_restore_under_way_does_not_take_back_the_next_release() {
    e2e("leader_frozen_restore", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        let restores = |method: &http::Method, path: &str, body: &[u8]| {
            is_switch(method, path) && body.windows(5).any(|w| w == b"fence")
        };
        let mut held = proxy.hold(Place::OnTheWay, restores);
        let (a, _b) = pair(t, Some(&proxy.url)).await?;
        t.cutover("shop", &spec()).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        held.come(secs(30)).await?;
        a.signal("STOP")?;
        t.ends("shop", Phase::RolledBack, 60).await?;
        t.fault("web", "green", json!({"error_rate": 0.0})).await?;
        t.merge::<Cutover>("shop", json!({"spec": {"release": {"version": "2"}}})).await?;
        t.run_until("shop", "the next release", secs(60), |run| {
            let switched =
                run.name_any() == "shop-2" && run.status.as_ref().is_some_and(|s| s.phase == Phase::Observing);
            Ok(switched.then_some(()))
        })
        .await?;
        let asleep = t.audit()?.len();
        held.release();
        a.signal("CONT")?;
        wait::poll("a has seen that b leads", secs(20), async || {
            Ok(t.log_of("a")?.contains("drivers are stopped").then_some(()))
        })
        .await?;
        next_renewal(t).await?;
        let late = t.audit()?.split_off(asleep);
        let late: Vec<&Line> = late.iter().filter(|l| l.resource == "services" && l.agent.ends_with("(a)")).collect();
        let sent: Vec<i64> = late.iter().filter(|l| l.is_write()).map(|l| l.code).collect();
        eprintln!("measured: the late restore was answered {sent:?}");
        ensure!(!sent.is_empty() && sent.iter().all(|code| *code >= 400), "the late restore was answered {sent:?}");
        ensure!(t.side("web").await? == "green", "the next release was taken back by a restore of the former one");
        ensure!(t.selector_writes("web")? == ["green", "blue", "green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

/// Waits for two renewals from now.
async fn next_renewal(t: &Case) -> Result<()> {
    let mut first = None;
    wait::until(t.api::<Lease>(), "two renewals", secs(15), |all| {
        let at = all.values().next().and_then(|l| l.spec.as_ref()?.renew_time.as_ref().map(|m| m.0));
        let (Some(at), first) = (at, &mut first) else { return Ok(None) };
        let from: Timestamp = *first.get_or_insert(at);
        Ok((at.duration_since(from) > jiff::SignedDuration::from_millis(1500)).then_some(()))
    })
    .await
}

#[test]
fn a_leader_frozen_with_its_switch_under_way_changes_nothing_when_it_wakes() {
    e2e("leader_frozen_patch", async |t: &Case| {
        frozen(t, |proxy| proxy.hold(Place::OnTheWay, |method, path, _| is_switch(method, path))).await
    });
}

#[test]
fn a_leader_frozen_between_claim_and_act_sends_nothing_when_it_wakes() {
    e2e("leader_frozen_claim", async |t: &Case| {
        let claims = |method: &http::Method, path: &str, body: &[u8]| {
            let switching = body.windows(19).any(|w| w == br#""phase":"Switching""#);
            *method == http::Method::PUT && path.contains("/cutoverruns/") && switching
        };
        frozen(t, |proxy| proxy.hold(Place::OnTheWayBack, claims)).await
    });
}

#[test]
fn a_leader_cut_off_from_its_lease_begins_nothing_and_still_restores() {
    e2e("leader_cut_off", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        let _a = t.candidate("a", Some(&proxy.url)).await?;
        t.leads("a", 20).await?;
        t.cutover("shop", &spec()).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        proxy.fail(|_, path| path.contains("/leases").then_some(Fault::Refuse(429)));
        wait::poll("lapsed", secs(20), async || {
            let failed = t.log_of("a")?.matches("the Lease cannot be written").count();
            Ok((failed >= 10).then_some(()))
        })
        .await?;
        let before = t.writes_of("a")?.len();
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        t.points_to("web", "blue", 20).await?;
        let writes = t.writes_of("a")?.split_off(before);
        let others: Vec<&Line> = writes.iter().filter(|l| l.resource != "services").collect();
        ensure!(others.is_empty(), "a lapsed leader wrote {others:?}");
        proxy.heal();
        t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

/// Delays each write of the Lease by this time. The API server carries it out even if its sender has given up.
fn slow_lease(proxy: &Proxy, time: Duration) {
    proxy.fail(move |method, path| {
        (*method != http::Method::GET && path.contains("/leases")).then_some(Fault::Late(time))
    });
}

#[test]
fn a_leader_whose_renewals_take_long_goes_on() {
    e2e("leader_slow_lease", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        let (_a, _b) = pair(t, Some(&proxy.url)).await?;
        slow_lease(&proxy, Duration::from_millis(1500));
        // Only slow ones keep it from here on.
        next_renewal(t).await?;
        next_renewal(t).await?;
        t.cutover("shop", &spec().replace("for: 60s", "for: 8s")).await?;
        t.ends("shop", Phase::Completed, 90).await?;
        follows(t)?;
        let log = t.log_of("a")?;
        ensure!(!log.contains("does not hold its Lease"), "it could not write all the time: {log}");
        ensure!(!log.contains("the Lease cannot be written"), "renewals failed: {log}");
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

/// Renewals of the leader take longer and longer while one of its Jobs runs. They are carried out all the same.
async fn gives_way(t: &Case, first: &[u64], then: u64) -> Result<()> {
    let proxy = Proxy::start().await?;
    t.web().await?;
    let (_a, _b) = pair(t, Some(&proxy.url)).await?;
    t.cutover("shop", &spec().replace("for: 60s", "for: 3s")).await?;
    t.run_until("shop", "the Job runs", secs(30), |run| {
        let step = run.status.as_ref().and_then(|s| s.steps.iter().find(|s| s.name == "migrate"));
        Ok(step.filter(|s| s.job.as_ref().is_some_and(|j| j.uid.is_some())).map(|_| ()))
    })
    .await?;
    let since = Timestamp::now();
    for time in first {
        slow_lease(&proxy, Duration::from_millis(*time));
        next_renewal(t).await?;
    }
    slow_lease(&proxy, Duration::from_millis(then));
    t.leads("b", 30).await?;
    t.ends("shop", Phase::Completed, 60).await?;
    told(t, "renewals of the leader take too long", since)?;
    let lines = t.audit()?;
    let written = |l: &&Line| l.resource == "leases" && l.is_write() && l.done();
    let taken = lines.iter().filter(written).find(|l| l.agent.ends_with("(b)")).context("b never wrote the Lease")?;
    let before = |l: &&Line| l.agent.ends_with("(a)") && l.at < taken.at;
    let last = lines.iter().filter(written).rfind(before).context("a never wrote the Lease")?;
    eprintln!("measured: taken {:?} after the last late renewal", after(last.at.parse()?, taken)?);
    ensure!(!t.log_of("b")?.contains("drivers are stopped"), "the Lease went to and fro");
    ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
    ensure!(t.jobs()? == (1, 1), "one Job, but {:?} were created and started", t.jobs()?);
    Ok(())
}

#[test]
fn a_leader_whose_renewals_come_after_the_lease_was_taken_gives_way() {
    e2e("leader_late_lease", async |t: &Case| gives_way(t, &[], 4000).await);
}

/// Each late renewal keeps the other waiting, and is worth nothing to its sender.
#[test]
fn a_leader_whose_renewals_are_worth_nothing_when_they_come_gives_way() {
    e2e("leader_worthless_lease", async |t: &Case| gives_way(t, &[1500], 2800).await);
}
