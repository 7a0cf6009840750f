//! Steps and triggers that read what the cluster itself has: logs of pods, what pods use, objects.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepState, TrialVerdict};
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::{secs, step};
use crate::harness::usage::Usage;
use crate::harness::{Case, e2e};

/// A container that says that it has begun, and tells of errors once the application beside it is told to.
const TALKER: &str = r#"{name: talker, image: "docker.io/cutover/busybox:1",
    command: [sh, -c, "trap exit TERM; echo started; (until wget -qO- http://127.0.0.1:8080/ | grep -q 'disabled\":true'; do sleep 0.2; done; i=0; while true; do i=$((i+1)); echo ERROR order-4711-$i; sleep 0.3; done) & wait"]}"#;

#[test]
fn lines_of_logs_are_counted_and_too_many_roll_back() {
    e2e("logs", async |t: &Case| {
        t.app("web", Colour::new("blue"), Colour::new("green").beside(TALKER)).await?;
        t.start().await?;
        let spec = r#"
phases:
  verify:
    steps:
    - {name: quiet, logs: {side: Target, container: talker, matches: "^ERROR", expect: "value == 0.0"}}
    - {name: begun, logs: {workload: {kind: Deployment, name: web-green}, container: talker, matches: "^started$", within: 1h, expect: "value == 1.0"}}
switch: {timeout: 20s}
observe: {for: 60s, every: 500ms, triggers: [{name: bad, logs: {container: talker, matches: "^ERROR order-", within: 1m, moreThan: 2}}]}
"#;
        t.cutover("shop", spec).await?;
        let run = t.phase("shop", Phase::Observing, 30).await?;
        for (name, lines) in [("quiet", 0), ("begun", 1)] {
            let record = step(&run, name)?;
            ensure!(record.state == StepState::Succeeded, "{record:?}");
            let evidence = record.evidence.clone().context("evidence")?;
            ensure!(evidence["lines"] == lines && evidence["pods"] == 1, "{evidence}");
        }
        t.control("web", "green", "/api/feature-flags/emergency-disable", json!({})).await?;
        let run = t.ends("shop", Phase::RolledBack, 45).await?;
        ensure!(t.side("web").await? == "blue");
        let status = run.status.context("status")?;
        let ending = status.ending.clone().context("ending")?;
        ensure!(ending.trigger.as_deref() == Some("bad") && ending.message.contains("more than 2"), "{ending:?}");
        // What the lines say is in no object.
        ensure!(!serde_json::to_string(&status)?.contains("4711"), "a line of a log is in the journal");
        Ok(())
    });
}

#[test]
fn a_log_that_is_not_there_is_no_verdict() {
    e2e("logs_absent", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover(
            "shop",
            "phases: {verify: {steps: [{name: quiet, logs: {side: Target, container: talker, matches: ERROR, expect: 'value == 0.0'}}]}}\n",
        )
        .await?;
        let run = t.ends("shop", Phase::Failed, 40).await?;
        let message = step(&run, "quiet")?.message.clone().unwrap_or_default();
        ensure!(message.contains("inconclusive") && message.contains("no container talker"), "{message}");
        ensure!(t.selector_writes("web")?.is_empty(), "switched without a verdict");
        Ok(())
    });
}

/// A container that does something once the application beside it is told to. It ends when it is asked to: the first
/// process of a container gets no signal that it does not wait for.
fn later(what: &str) -> String {
    let wait = "until wget -qO- http://127.0.0.1:8080/ | grep -q 'disabled\\\":true'; do sleep 0.2; done";
    format!(
        r#"{{name: worker, image: "docker.io/cutover/busybox:1", resources: {{limits: {{cpu: 300m, memory: 600Mi}}}}, command: [sh, -c, "trap exit TERM; ({wait}; {what}) & wait"]}}"#
    )
}

#[test]
fn memory_above_its_bound_rolls_back_and_no_sample_is_no_verdict() {
    e2e("pods_memory", async |t: &Case| {
        let mut usage = Usage::new(t).await?;
        // What is read without a line break is kept until it ends, and it cannot end while nobody takes it.
        let eater = later("head -c 120m /dev/zero | tail | sleep 600");
        t.app("web", Colour::new("blue"), Colour::new("green").beside(&eater)).await?;
        t.start().await?;
        let spec = "switch: {timeout: 20s}\n\
            observe: {for: 120s, every: 1s, triggers: [{name: bad, pods: {memory: {above: 100Mi, sustained: 1s}}}]}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let trigger = |run: &CutoverRun| run.status.as_ref().and_then(|s| s.triggers.first().cloned());
        if usage.is_stand_in() {
            t.run_until("shop", "an inconclusive trial", secs(20), |run| {
                let none = |r: &cutover::api::run::TriggerRecord| r.last == Some(TrialVerdict::Inconclusive);
                Ok(trigger(run).filter(none).and_then(|r| r.saw).filter(|saw| saw.contains("no sample of pod")))
            })
            .await?;
        }
        usage
            .until("a good trial", async || {
                Ok(t.newest("shop").await?.and_then(|run| trigger(&run)).filter(|r| r.last == Some(TrialVerdict::Good)))
            })
            .await?;
        t.control("web", "green", "/api/feature-flags/emergency-disable", json!({})).await?;
        usage.until("the rollback", async || Ok((t.side("web").await? == "blue").then_some(()))).await?;
        let run = t.ends("shop", Phase::RolledBack, 20).await?;
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.trigger.as_deref() == Some("bad") && ending.message.contains("> 100Mi"), "{ending:?}");
        Ok(())
    });
}

#[test]
fn busy_processors_and_growing_memory_are_seen() {
    e2e("pods_cpu_and_growth", async |t: &Case| {
        let mut usage = Usage::new(t).await?;
        // Two loops: how fast the machine is changes neither the pace of the memory, nor that the processor is busy to its bound.
        let piece =
            "(while true; do (head -c 3m /dev/zero | tail | sleep 600) & sleep 1; done) & while true; do :; done";
        t.app("web", Colour::new("blue"), Colour::new("green").beside(&later(piece))).await?;
        t.start().await?;
        let spec = "switch: {timeout: 20s}\nobserve:\n  for: 180s\n  every: 1s\n  triggers:\n  \
            - {name: busy, severity: Warn, pods: {cpu: {above: 100m}}}\n  \
            - {name: grows, pods: {memoryGrowing: {for: 50s}}}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.control("web", "green", "/api/feature-flags/emergency-disable", json!({})).await?;
        usage.until("the rollback", async || Ok((t.side("web").await? == "blue").then_some(()))).await?;
        let run = t.ends("shop", Phase::RolledBack, 20).await?;
        let status = run.status.context("status")?;
        let ending = status.ending.clone().context("ending")?;
        ensure!(ending.trigger.as_deref() == Some("grows") && ending.message.contains("has grown by"), "{ending:?}");
        let busy = status.triggers.iter().find(|r| r.name == "busy").context("busy")?;
        ensure!(busy.fired_at.is_some() && busy.saw.as_ref().is_some_and(|s| s.contains("of CPU > 100m")), "{busy:?}");
        Ok(())
    });
}

#[test]
fn objects_are_read_as_the_account_and_a_change_rolls_back() {
    e2e("resource", async |t: &Case| {
        t.web().await?;
        let budget = |open: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "budget"}, "data": {"open": open}});
        t.apply_value(&budget("yes")).await?;
        t.start().await?;
        let spec = r#"
phases:
  preflight:
    steps:
    - name: image
      resource:
        apiVersion: apps/v1
        kind: Deployment
        name: web-green
        record: true
        expect: ["object.spec.template.spec.containers[0].image.contains('cutover/sample')", "object.status.readyReplicas >= 1"]
    - {name: none, critical: false, resource: {apiVersion: v1, kind: ConfigMap, name: nowhere, expect: ["true"]}}
switch: {timeout: 20s}
observe:
  for: 60s
  every: 500ms
  triggers:
  - {name: bad, resource: {apiVersion: v1, kind: ConfigMap, name: budget, expect: ["object.data.open == 'yes'"]}}
"#;
        t.cutover("shop", spec).await?;
        let run = t.phase("shop", Phase::Observing, 30).await?;
        let evidence = step(&run, "image")?.evidence.clone().context("evidence")?;
        ensure!(evidence["saw"]["object.status.readyReplicas"] == 1, "{evidence}");
        let none = step(&run, "none")?;
        ensure!(none.message.as_ref().is_some_and(|m| m.contains("ConfigMap nowhere does not exist")), "{none:?}");
        t.apply_value(&budget("no")).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.trigger.as_deref() == Some("bad") && ending.message.contains("ConfigMap budget"), "{ending:?}");
        let lines = t.audit()?;
        let read = lines.iter().filter(|l| l.resource == "configmaps" && l.name == "budget" && l.verb == "get");
        let users: std::collections::BTreeSet<&str> = read.map(|l| l.user.as_str()).collect();
        ensure!(users.iter().all(|u| u.ends_with(":cutover")) && !users.is_empty(), "read as {users:?}");
        Ok(())
    });
}

#[test]
fn an_object_that_the_account_may_not_read_is_known_before_anything_is_done() {
    e2e("resource_forbidden", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover(
            "shop",
            "phases: {verify: {steps: [{name: volume, resource: {apiVersion: v1, kind: PersistentVolumeClaim, name: data, expect: ['true']}}]}}\n",
        )
        .await?;
        // The right may still be given: preflight asks again for a minute.
        t.run_until("shop", "the remedy", secs(30), |run| {
            let mut said = run.status.iter().flat_map(|s| &s.steps).filter_map(|s| s.message.as_ref());
            let remedy = |m: &&String| m.contains("--verb=get --resource=persistentvolumeclaims");
            Ok(said.find(remedy).map(|_| ()))
        })
        .await?;
        ensure!(t.selector_writes("web")?.is_empty());
        Ok(())
    });
}
