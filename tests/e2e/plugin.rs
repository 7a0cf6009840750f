//! `kubectl cutover` as a person at night uses it: sees, says, goes back without the operator.

use anyhow::{Context, ensure};
use cutover::api::{Cutover, Phase};
use serde_json::json;

use crate::harness::app::PEOPLE;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, record, wait};

pub(crate) const JANE: Option<&str> = Some(PEOPLE[0]);
pub(crate) const WATCHING: &str = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 3}}]}\n";

/// What a person needs to look at pods and workloads beside the run.
pub(crate) fn may_look(ns: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: look, namespace: {ns}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {}}}]\n",
        PEOPLE[0]
    )
}

/// A Role of the namespace, for one person.
fn bound(role: &str, user: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {user}}}]\n"
    )
}

#[test]
fn a_person_looks_and_rolls_back() {
    e2e("plugin_rollback", async |t: &Case| {
        t.web().await?;
        t.apply(&may_look(&t.ns)).await?;
        t.start().await?;
        let told = t.plugin(JANE, &["status", "shop"]).await?.with(5)?;
        told.says(&["has no Cutover", "next: "])?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        wait::poll("what the status of a run observed tells", secs(20), async || {
            let told = t.plugin(JANE, &["status", "shop"]).await?.with(0)?;
            let all = ["Observing", "green is live", "live: green", "Triggers", "down", "web-blue", "1 of 1 ready"];
            Ok(told.says(&all).ok().map(|_| ()))
        })
        .await?;
        let told = t.plugin(JANE, &["status", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["phase"] == "Observing" && told["live"] == "green", "{told:#}");
        ensure!(told["sides"][0]["workloads"][0]["pods"][0]["ready"] == true, "{told:#}");
        ensure!(told["hidden"] == json!([]), "{told:#}");
        let named = t.plugin(JANE, &["status", "shop", "-o", "name"]).await?.with(0)?;
        ensure!(named.out == "cutover.cutover.dev/shop\ncutoverrun.cutover.dev/shop-1\n", "{named:?}");
        // Nobody is asked without a terminal, and nothing is done.
        t.plugin(JANE, &["rollback", "shop"]).await?.with(64)?.says(&["Service web", "--yes"])?;
        ensure!(t.side("web").await? == "green");
        let told = t.plugin(JANE, &["rollback", "shop", "--yes", "-m", "carts are empty"]).await?.with(0)?;
        told.says(&["Service web: its users go back from green to blue", "accepted"])?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let told = t.plugin(JANE, &["status", "shop"]).await?.with(0)?;
        told.says(&["rolled back to blue", "carts are empty", "Rollback by jane@example.com"])?;
        // What is refused says so, by its exit code, too.
        t.plugin(JANE, &["suspend", "shop"]).await?.with(1)?.says(&["run shop-1 is over"])?;
        t.plugin(JANE, &["retry", "shop", "--yes"]).await?.with(0)?.says(&["accepted"])?;
        t.run_until("shop", "the second run", secs(30), |run| {
            Ok((run.metadata.name.as_deref() == Some("shop-2")).then_some(()))
        })
        .await?;
        t.phase("shop", Phase::Observing, 40).await?;
        let told = t.plugin(JANE, &["status", "shop-1"]).await?.with(0)?;
        told.says(&["rolled back to blue"])?;
        t.plugin(JANE, &["rollback", "run/shop-1", "--yes"]).await?.with(1)?.says(&["run shop-1 is over"])?;
        Ok(())
    });
}

/// The gate needs two people; the role `qa` is Jane's alone.
pub(crate) const GATE: &str = "phases: {prepare: {steps: [{name: go, approval: {roles: [{name: qa}, {name: operations}], within: 10m, \
                    instructions: look at the board, checklist: [a call by phone]}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";

pub(crate) fn role(role: &str, person: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: gate-{role}}}\nrules:\n\
         - {{apiGroups: [cutover.dev], resources: [cutovers/{role}], verbs: [approve, reject]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: gate-{role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: gate-{role}}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {person}}}]\n---\n"
    )
}

#[test]
fn a_gate_is_approved_with_the_token_of_what_was_shown() {
    e2e("plugin_gate", async |t: &Case| {
        t.web().await?;
        t.apply(&role("qa", PEOPLE[0])).await?;
        t.start().await?;
        t.cutover("shop", GATE).await?;
        wait::until(t.api::<Cutover>(), "a gate that waits", secs(30), |all| {
            Ok(all.values().any(|c| c.status.as_ref().is_some_and(|s| s.gate.is_some())).then_some(()))
        })
        .await?;
        let told = t.plugin(JANE, &["status", "shop"]).await?.with(0)?;
        let command = format!("kubectl cutover approve shop --role qa -n {}", t.ns);
        told.says(&[
            "gate go waits for qa, operations",
            "look at the board",
            "a call by phone",
            &command,
            "you may not list pods",
        ])?;
        t.plugin(JANE, &["status", "--waiting"]).await?.with(0)?.says(&["shop", "AwaitingDecision"])?;
        t.plugin(JANE, &["approve", "shop", "--yes", "--token", "stale"]).await?.with(1)?.says(&["look again"])?;
        t.plugin(JANE, &["approve", "shop", "--yes", "--role", "board"])
            .await?
            .with(5)?
            .says(&["no role board", "qa"])?;
        // Omar may act in no role yet.
        let omar = Some(PEOPLE[1]);
        let told = t.plugin(omar, &["approve", "shop", "--yes"]).await?.with(5)?;
        told.says(&["you may not approve in any role that is missing", "cutovers.cutover.dev/qa"])?;
        t.plugin(omar, &["approve", "shop", "--yes", "--role", "qa"])
            .await?
            .with(1)?
            .says(&["refused by a policy", "approve"])?;
        t.plugin(JANE, &["approve", "shop", "--yes"]).await?.with(0)?.says(&["look at the board", "accepted"])?;
        t.apply(&role("operations", PEOPLE[1])).await?;
        wait::poll("the role is Omar's", secs(20), async || {
            let told = t.plugin(omar, &["approve", "shop", "--yes"]).await?;
            Ok((told.code == 0).then_some(()))
        })
        .await?;
        t.ends("shop", Phase::Completed, 40).await?;
        let told = t.plugin(JANE, &["approve", "shop", "--yes"]).await?.with(1)?;
        told.says(&["no gate of shop waits", "green is live"])?;
        Ok(())
    });
}

#[test]
fn a_person_goes_back_while_the_operator_is_away() {
    e2e("plugin_break_glass", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        // Nothing but the sample Role for this night.
        let otto = "otto@example.com";
        t.apply(&bound("cutover-break-glass", otto)).await?;
        t.kill();
        let command = ["rollback", "shop", "--yes", "--without-operator", "-m", "carts are empty"];
        let told = wait::poll("the Role is Otto's", secs(20), async || {
            let told = t.plugin(Some(otto), &[&command[..], &["-o", "json"]].concat()).await?;
            Ok((told.code != 5).then_some(told))
        });
        let told = told.await?.with(0)?;
        ensure!(told.json()?[0]["restored"] == true && !told.err.contains("could not be recorded"), "{told:?}");
        ensure!(t.side("web").await? == "blue");
        // Said twice, it changes nothing.
        t.plugin(Some(otto), &command).await?.with(0)?;
        t.restart_as_before()?;
        let run = t.ends("shop", Phase::RolledBack, 40).await?;
        let status = run.status.context("a status")?;
        let switch = status.switch.context("a switch")?;
        ensure!(switch.services[0].adopted, "{switch:?}");
        let told = t.plugin(JANE, &["history", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told[0]["who"] == json!(["otto@example.com (Rollback)"]), "{told:#}");
        ensure!(told[0]["cause"] == "Rollback by otto@example.com: carts are empty", "{told:#}");
        t.plugin(JANE, &["status", "shop"])
            .await?
            .with(0)?
            .says(&["Rollback by otto@example.com", "carts are empty"])?;
        // The way back was the person's own write.
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_restore_by_hand_leaves_users_where_the_old_side_is_empty() {
    e2e("plugin_break_glass_empty", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, builtIn: Disarmed}\n").await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.kill();
        t.merge::<k8s_openapi::api::apps::v1::Deployment>("web-blue", json!({"spec": {"replicas": 0}})).await?;
        wait::poll("no pod of blue", secs(60), async || Ok(t.pods("web", "blue").await?.is_empty().then_some(())))
            .await?;
        // Who is on call alone may not write Services, and is told what to ask for.
        let told = t.plugin(JANE, &["rollback", "shop", "--yes", "--without-operator"]).await?.with(1)?;
        told.says(&["services \"web\" is forbidden", "--role=cutover-break-glass --user=jane@example.com"])?;
        let told = t.plugin(None, &["rollback", "shop", "--yes", "--without-operator"]).await?.with(1)?;
        told.says(&["the old side has 0 ready endpoints", "scale it up"])?;
        ensure!(t.side("web").await? == "green");
        Ok(())
    });
}

#[test]
fn what_cannot_be_done_is_one_sentence_with_the_next_command() {
    e2e("plugin_bad_input", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let nobody = Some("nobody@example.com");
        let told = t.plugin(nobody, &["status", "shop"]).await?.with(5)?;
        let told = told.says(&["you may not get cutovers.cutover.dev in namespace", "kubectl create role"])?;
        ensure!(told.err.lines().count() == 1 && told.out.is_empty(), "{told:?}");
        let told = t.plugin(None, &["status", "--context", "elsewhere"]).await?.with(5)?;
        told.says(&["no cluster", "--context"])?;
        t.plugin(None, &["status", "service/web"])
            .await?
            .with(5)?
            .says(&["neither a Cutover nor a run", "run/NAME"])?;
        t.plugin(None, &["status", "shop", "--older-than", "1h"]).await?.with(64)?;
        t.plugin(None, &["approve", "shop", "--wait", "soon"]).await?.with(64)?.says(&["--wait"])?;
        t.cutover("shop", "phases: {preflight: {steps: [{name: odd, wait: {for: 1s}}]}}\nswitch: {timeout: 20s}\n")
            .await?;
        t.cutover("shop-1", "switch: {timeout: 20s}\n").await?;
        t.plugin(None, &["status"]).await?.with(0)?.says(&["CUTOVER", "shop-1"])?;
        t.plugin(None, &["abort"]).await?.with(5)?.says(&["has 2 Cutovers", "shop, shop-1"])?;
        Ok(())
    });
}

/// A Job that writes a line, with a value that nobody is to see.
const JOB: &str = "phases: {prepare: {steps: [{name: migrate, job: {deadline: 60s, template: {spec: {containers: [{name: c, \
                   image: 'docker.io/cutover/sample:dev', args: [job, migrate], env: [{name: PIN, value: unseen-env}]}]}}}}, \
                   {name: page, http: {path: /health, headers: [{name: Authorization, value: Bearer unseen-header}]}}]}}\n";

#[test]
fn what_happened_is_told_afterwards() {
    e2e("plugin_afterwards", async |t: &Case| {
        t.web().await?;
        t.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {pin: canary-secret}\n").await?;
        t.start().await?;
        t.cutover("shop", &format!("{JOB}{WATCHING}")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.plugin(JANE, &["rollback", "shop", "--yes", "-m", "carts are empty"]).await?.with(0)?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let told = t.plugin(JANE, &["history", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told[0]["outcome"] == "RolledBack" && told[0]["run"] == "shop-1", "{told:#}");
        ensure!(told[0]["who"] == json!(["jane@example.com (Rollback)"]), "{told:#}");
        t.plugin(JANE, &["history", "shop"]).await?.with(0)?.says(&["carts are empty", "RolledBack"])?;
        let told = t.plugin(JANE, &["report", "shop-1", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["verdict"]["decision"] == "NO-GO", "{told:#}");
        ensure!(told["verdict"]["owners"] == json!(["jane@example.com"]), "{told:#}");
        record::agrees(&told, &t.audit()?)?;
        let sheet = t.plugin(JANE, &["report", "shop", "--template", "incident"]).await?.with(0)?;
        sheet.says(&["carts are empty", "users were on the target for"])?;
        t.plugin(None, &["logs", "shop", "migrate"])
            .await?
            .with(0)?
            .says(&["==> migrate migrate-", "migration 42 applied"])?;
        t.plugin(None, &["logs", "shop", "page"]).await?.with(5)?.says(&["has no Job"])?;
        t.plugin(None, &["logs", "shop", "none"]).await?.with(5)?.says(&["step none", "migrate"])?;
        t.plugin(JANE, &["logs", "shop"]).await?.with(5)?.says(&["you may not list pods"])?;
        let told = t.plugin(None, &["trace", "svc/web", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["side"] == "blue" && told["cutovers"] == json!(["shop"]), "{told:#}");
        let moves: Vec<_> = told["moves"].as_array().context("moves")?.iter().map(|m| (&m["what"], &m["to"])).collect();
        ensure!(moves == [(&json!("restore"), &json!("blue")), (&json!("switch"), &json!("green"))], "{moves:?}");
        ensure!(told["moves"][0]["who"] == json!(["jane@example.com (Rollback)"]), "{told:#}");
        t.plugin(None, &["trace", "web"])
            .await?
            .with(0)?
            .says(&["restore from green to blue", "written by cutover"])?;
        t.plugin(None, &["trace", "svc/none"]).await?.with(5)?.says(&["no Service none"])?;
        bundle(t).await
    });
}

/// The archive holds what is needed, and none of the canaries.
async fn bundle(t: &Case) -> anyhow::Result<()> {
    let path = t.dir.join("bundle.tar.gz");
    let file = path.display().to_string();
    t.plugin(None, &["bundle", "shop", "--file", &file]).await?.with(0)?.says(&["bundle.tar.gz"])?;
    let mut files = std::collections::BTreeMap::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(&path)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.iter().skip(1).collect::<std::path::PathBuf>().display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text)?;
        files.insert(name, text);
    }
    for name in [
        "contents.yaml",
        "status.txt",
        "cutover.yaml",
        "runs/shop-1.yaml",
        "pods.yaml",
        "events.yaml",
        "decisions.yaml",
    ] {
        ensure!(files.contains_key(name), "{name} is missing: {:?}", files.keys());
    }
    ensure!(files.keys().any(|name| name.starts_with("logs/migrate-")), "{:?}", files.keys());
    for (name, text) in &files {
        ensure!(!text.contains("canary") && !text.contains("unseen"), "a canary stands in {name}");
    }
    // Whoever may read little gets little, and is told what is missing.
    let told = t.plugin(JANE, &["bundle", "shop", "--file", &file, "-o", "json"]).await?.with(0)?.json()?;
    let missing = told["missing"].to_string();
    ensure!(missing.contains("pods.yaml: you may not list pods"), "{told:#}");
    Ok(())
}

#[test]
fn a_release_sets_up_the_idle_side_and_activates_it() {
    e2e("plugin_release", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec =
            "release: {version: 2.0.0, podLabel: version}\nswitch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";
        t.cutover("shop", spec).await?;
        let told = t.plugin(None, &["release", "shop", "--version", "3.0.0"]).await?;
        ensure!(told.code == 1 || told.code == 5, "{told:?}");
        t.ends("shop", Phase::Completed, 40).await?;
        let image = "docker.io/cutover/sample:dev";
        t.plugin(None, &["release", "shop"]).await?.with(64)?.says(&["--version"])?;
        let wrong = ["release", "shop", "--version", "3.0.0", "--image", "web=x"];
        t.plugin(None, &wrong)
            .await?
            .with(64)?
            .says(&["no container of side blue fits --image web=x", "web-blue/app"])?;
        let told = t.plugin(JANE, &["release", "shop", "--version", "3.0.0"]).await?.with(5)?;
        told.says(&["you may not", "kubectl create role"])?;
        let arguments = ["release", "shop", "--version", "3.0.0", "--image", image, "--revision", "abc"];
        let dry = t.plugin(None, &[&arguments[..], &["--dry-run", "-o", "patch"]].concat()).await?.with(0)?;
        dry.says(&["kubectl patch deployment web-blue", "kubectl patch cutover shop", "--type merge"])?;
        let dry = t.plugin(None, &[&arguments[..], &["--dry-run", "-o", "yaml"]].concat()).await?.with(0)?;
        dry.says(&["kind: Cutover", "kind: Deployment", "activate: blue"])?;
        ensure!(t.side("web").await? == "green");
        // It ends with its run, and with the exit code of `watch`.
        let told = t.plugin(None, &[&arguments[..], &["--wait=60s"]].concat()).await?.with(0)?;
        told.says(&["activate blue", "label version=3.0.0", "shop-2", "Completed"])?;
        ensure!(t.side("web").await? == "blue");
        let asked = t.api::<Cutover>().get("shop").await?.spec.release.and_then(|r| r.requested_by);
        ensure!(asked.as_deref().is_some_and(|by| !by.is_empty()), "{asked:?}");
        let told = t.plugin(None, &["status", "shop"]).await?.with(0)?;
        told.says(&["blue@3.0.0 is live"])?;
        Ok(())
    });
}

#[test]
fn words_are_completed_from_the_cluster() {
    e2e("plugin_completion", async |t: &Case| {
        t.web().await?;
        t.cutover("shop", "switch: {timeout: 20s}\n").await?;
        let program = t.dir.join("kubectl_complete-cutover");
        std::os::unix::fs::symlink(crate::harness::plugin::program(), &program)?;
        let output = tokio::process::Command::new(&program).args(["status", "-n", &t.ns, "sh"]).output().await?;
        let out = String::from_utf8(output.stdout)?;
        ensure!(out == "shop\n:4\n", "{out:?}");
        Ok(())
    });
}
