//! `kubectl cutover watch` in a pipeline: what it prints, and its exit codes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use cutover::api::{Cutover, Phase, Verb};
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::watching::Watching;
use crate::harness::{Case, cluster, e2e};

const QUICK: &str = "release: {version: 2.0.0}\nswitch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";
const LONG: &str = "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n";
const HELD: &str = "phases: {prepare: {steps: [{name: hold, wait: {for: 60s}}]}}\nswitch: {timeout: 20s}\n";
const GATE: &str = "phases: {verify: {steps: [{name: go, approval: {roles: [{name: qa}], within: 10m}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";

/// Bounds everything that is waited for here.
const BOUND: Duration = secs(90);

#[test]
fn a_watch_that_begins_before_the_run_ends_with_it_and_takes_no_older_one_for_it() {
    e2e("watch_done", async |t: &Case| {
        t.web().await?;
        // Applied while the operator is away: there is no run yet, and nobody has looked.
        t.cutover("shop", QUICK).await?;
        let mut first = Watching::start(t, &["shop", "--until", "completed", "--timeout", "90s"])?;
        first.says("shop waiting: the operator has not looked at the last change", secs(20)).await?;
        first.says("the operator seems to be away: ", secs(30)).await?;
        t.start().await?;
        ensure!(first.exit(BOUND).await? == 0, "{}", first.errors());
        let lines = first.lines();
        for phase in ["Preflight", "Switching", "Observing", "Completed"] {
            ensure!(lines.iter().any(|l| l.contains(&format!("shop-1 {phase}"))), "no line for {phase}: {lines:?}");
        }
        t.ends("shop", Phase::Completed, 20).await?;
        // The next release. The watch begins while the completed run is still the newest one.
        t.kill();
        t.merge::<Cutover>("shop", json!({"spec": {"activate": "blue", "release": {"version": "2.1.0"}}})).await?;
        let mut second = Watching::start(t, &["shop", "--until", "switched", "-o", "json", "--timeout", "90s"])?;
        second.says("has not looked at the last change", secs(20)).await?;
        let release = ["shop", "--for-release", "2.1.0", "--until", "completed", "--timeout", "90s"];
        let mut third = Watching::start(t, &release)?;
        let mut named = Watching::start(t, &["shop", "--run", "shop-2", "--timeout", "90s"])?;
        named.says("run shop-2 is not there yet", secs(20)).await?;
        ensure!(second.runs()?, "the completed run was taken for the new one: {:?}", second.lines());
        t.restart_as_before()?;
        ensure!(second.exit(BOUND).await? == 0, "{}", second.errors());
        for line in second.lines() {
            let change: serde_json::Value = serde_json::from_str(&line)?;
            ensure!(change["cutover"] == "shop" && change["run"] != "shop-1", "{line}");
        }
        ensure!(third.exit(BOUND).await? == 0 && named.exit(BOUND).await? == 0);
        ensure!(third.lines().iter().all(|l| !l.contains("shop-1")), "{:?}", third.lines());
        t.ends("shop", Phase::Completed, 60).await?;
        // What was asked for has come already.
        let mut late = Watching::start(t, &["run/shop-1"])?;
        ensure!(late.exit(BOUND).await? == 0);
        ensure!(late.lines().len() == 1 && late.lines()[0].contains("shop-1 Completed: since"), "{:?}", late.lines());
        Ok(())
    });
}

#[test]
fn a_rollback_and_an_abort_have_exit_codes_of_their_own() {
    e2e("watch_back", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", LONG).await?;
        let mut back = Watching::start(t, &["shop", "--until", "completed"])?;
        back.says("shop-1 Observing", BOUND).await?;
        let mut switched = Watching::start(t, &["shop", "--until", "switched"])?;
        ensure!(switched.exit(BOUND).await? == 0);
        t.decide("shop", Verb::Rollback).await?;
        ensure!(back.exit(BOUND).await? == 2, "{:?}", back.lines());
        let last = back.lines().pop().unwrap_or_default();
        ensure!(last.contains("shop-1 RolledBack") && last.contains("Rollback by jane"), "{last}");
        t.ends("shop", Phase::RolledBack, 30).await?;
        t.cutover("other", &HELD.replace("hold", "stand")).await?;
        let mut refused = Watching::start(t, &["other", "--timeout", "3s"])?;
        ensure!(refused.exit(BOUND).await? == 4, "another Cutover has the Service: {:?}", refused.lines());
        ensure!(refused.lines().iter().any(|l| l.contains("other waiting: ")), "{:?}", refused.lines());
        Ok(())
    });
}

#[test]
fn an_aborted_run_is_a_failed_one() {
    e2e("watch_abort", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", HELD).await?;
        let mut watch = Watching::start(t, &["shop"])?;
        watch.says("step hold: begun", BOUND).await?;
        t.decide("shop", Verb::Abort).await?;
        ensure!(watch.exit(BOUND).await? == 1, "{:?}", watch.lines());
        ensure!(watch.lines().iter().any(|l| l.contains("shop-1 Aborted")), "{:?}", watch.lines());
        t.ends("shop", Phase::Aborted, 20).await.map(drop)
    });
}

#[test]
fn a_gate_is_printed_with_its_command_and_waited_at_unless_somebody_asks() {
    e2e("watch_gate", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", GATE).await?;
        let mut waits = Watching::start(t, &["shop", "--until", "waiting", "--timeout", "90s"])?;
        ensure!(waits.exit(BOUND).await? == 3, "{:?}", waits.lines());
        let line = waits.lines().pop().unwrap_or_default();
        let command = format!("next: kubectl cutover approve shop --role qa -n {}", t.ns);
        ensure!(line.contains("gate go: waits for qa") && line.ends_with(&command), "{line}");
        let mut leaves = Watching::start(t, &["shop", "--until", "completed", "--exit-when-waiting"])?;
        ensure!(leaves.exit(BOUND).await? == 3);
        let mut stays = Watching::start(t, &["shop", "--until", "completed", "--timeout", "3s"])?;
        ensure!(stays.exit(BOUND).await? == 4, "{:?}", stays.lines());
        ensure!(stays.errors().contains("not completed within 3s: run shop-1 is not over"), "{}", stays.errors());
        t.decide("shop", Verb::Abort).await?;
        t.ends("shop", Phase::Aborted, 20).await.map(drop)
    });
}

#[test]
fn what_cannot_be_found_out_is_neither_success_nor_failure() {
    e2e("watch_unknown", async |t: &Case| {
        let mut nothing = Watching::start(t, &["shop", "--until", "completed"])?;
        ensure!(nothing.exit(BOUND).await? == 5);
        ensure!(nothing.errors().contains("has no Cutover"), "{}", nothing.errors());
        // Nobody drives it, so it can be deleted at once.
        t.cutover("shop", GATE).await?;
        let mut gone = Watching::start(t, &["shop"])?;
        gone.says("waiting", BOUND).await?;
        t.api::<Cutover>().delete("shop", &DeleteParams::default()).await?;
        ensure!(gone.exit(BOUND).await? == 5 && gone.errors().contains("Cutover shop has been deleted"));
        let mut usage = Watching::start(t, &["shop", "--until", "done"])?;
        ensure!(usage.exit(BOUND).await? == 64);
        t.cutover("shop", GATE).await?;
        let stranger = ["shop", "--as", "mallory"];
        let mut stranger = Watching::with(t, std::path::Path::new(&std::env::var("KUBECONFIG")?), &stranger)?;
        ensure!(stranger.exit(BOUND).await? == 5 && stranger.errors().contains("you may not get cutovers.cutover.dev"));
        Ok(())
    });
}

/// A run that observes, and the kubeconfig of a pipeline whose connections can be made to fail.
async fn observed_through_a_proxy(t: &Case) -> Result<(Proxy, PathBuf)> {
    t.apply(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: pipeline}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: pipeline}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: cutover-on-call}\n\
         subjects: [{kind: ServiceAccount, name: pipeline}]\n",
    )
    .await?;
    t.start().await?;
    t.cutover("shop", LONG).await?;
    t.phase("shop", Phase::Observing, 60).await?;
    let proxy = Proxy::start().await?;
    let kubeconfig = t.dir.join("pipeline");
    std::fs::write(&kubeconfig, cluster::kubeconfig_of(&t.client, &t.ns, "pipeline", Some(&proxy.url)).await?)?;
    Ok((proxy, kubeconfig))
}

#[test]
fn a_connection_that_dies_without_a_word_is_noticed() {
    e2e("watch_silent", async |t: &Case| {
        t.web().await?;
        let (proxy, kubeconfig) = observed_through_a_proxy(t).await?;
        let mut watch = Watching::with(t, &kubeconfig, &["shop", "--until", "completed"])?;
        watch.says("shop-1 Observing", BOUND).await?;
        proxy.road().forget();
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(watch.exit(BOUND).await? == 2, "{:?} {}", watch.lines(), watch.errors());
        Ok(())
    });
}

#[test]
fn a_watch_outlives_its_connection_and_a_place_that_is_forgotten() {
    e2e("watch_lost", async |t: &Case| {
        t.web().await?;
        let (proxy, kubeconfig) = observed_through_a_proxy(t).await?;
        let mut watch = Watching::with(t, &kubeconfig, &["shop", "--until", "completed"])?;
        watch.says("shop-1 Observing", BOUND).await?;
        let mut late = Watching::with(t, &kubeconfig, &["shop", "--timeout", "12s"])?;
        late.says("shop-1 Observing", BOUND).await?;
        // Everything breaks, and what is tried meanwhile too.
        proxy.fail(|_, _| Some(Fault::Break));
        proxy.road().reset();
        watch.says("connection: lost since", BOUND).await?;
        ensure!(late.exit(BOUND).await? == 5, "{:?} {}", late.lines(), late.errors());
        ensure!(late.errors().contains("the connection to the cluster has been lost for"), "{}", late.errors());
        // What happens in between is told afterwards. The API server does not remember where the watch stood.
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
            "message": "too old resource version"});
        let gone: std::sync::Arc<str> = gone.to_string().into();
        proxy.fail(move |_, path| path.contains("watch=").then(|| Fault::Answer(410, gone.clone())));
        ensure!(watch.exit(BOUND).await? == 2, "{:?}", watch.lines());
        ensure!(watch.lines().iter().any(|l| l.contains("connection: back")), "{:?}", watch.lines());
        Ok(())
    });
}

#[test]
fn a_run_that_is_superseded_ends_the_wait_for_it() {
    e2e("watch_superseded", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &format!("release: {{version: 2.0.0}}\n{HELD}")).await?;
        let mut watch = Watching::start(t, &["shop"])?;
        watch.says("step hold: begun", BOUND).await?;
        t.merge::<Cutover>("shop", json!({"spec": {"release": {"version": "2.0.1"}}})).await?;
        ensure!(watch.exit(BOUND).await? == 1, "{:?}", watch.lines());
        ensure!(watch.lines().iter().any(|l| l.contains("shop-1 Superseded")), "{:?}", watch.lines());
        // Whoever asks now is told of the one that took its place.
        let mut next = Watching::start(t, &["shop"])?;
        next.says("shop-2", BOUND).await?;
        t.run_until("shop", "a second run", secs(30), |run| {
            Ok(run.metadata.name.as_deref().filter(|n| *n == "shop-2").map(|_| ()))
        })
        .await?;
        t.decide("shop", Verb::Abort).await?;
        ensure!(next.exit(BOUND).await? == 1, "{:?}", next.lines());
        t.ends("shop", Phase::Aborted, 20).await.map(drop)
    });
}
