//! A decision counts once, where and when it was authorised, and its result stands on it.

use anyhow::{Context, ensure};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::run::StepState;
use cutover::api::{Cutover, CutoverRun, Phase, Verb};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::harness::app::PEOPLE;
use crate::harness::case::{newest, secs};
use crate::harness::proxy::Proxy;
use crate::harness::{Case, cluster, e2e, wait};

const HELD: &str = "phases: {prepare: {steps: [{name: hold, wait: {for: 60s}}]}}\nswitch: {timeout: 20s}\n";
const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 10m, every: 1s}\n";

/// Names of the Cutover's runs.
async fn runs(t: &Case) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> =
        t.api::<CutoverRun>().list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// The newest run of a Cutover.
async fn run_of(t: &Case, cutover: &str) -> anyhow::Result<CutoverRun> {
    let runs = t.api::<CutoverRun>().list(&ListParams::default()).await?;
    newest(runs.items.iter(), cutover).cloned().context("a run")
}

fn word(cutover: &str, run_uid: &str, verb: Verb, by: &str) -> CutoverDecisionSpec {
    CutoverDecisionSpec::about(cutover, run_uid, verb, by)
}

/// Gives a user every verb on runs of one Cutover.
fn on_call(user: &str, cutover: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {user}}}\nrules:\n\
         - {{apiGroups: [cutover.dev], resources: [cutovers, cutoverruns], verbs: [get, list, watch]}}\n\
         - {{apiGroups: [cutover.dev], resources: [cutoverdecisions], verbs: [get, list, watch, create]}}\n\
         - {{apiGroups: [cutover.dev], resources: [cutovers/run], resourceNames: [{cutover}], verbs: [abort, rollback, retry]}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {user}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {user}}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {user}}}]\n"
    )
}

/// User qa may approve, gates of role qa alone.
const QA: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: qa}\nrules:\n\
     - {apiGroups: [cutover.dev], resources: [cutoverdecisions], verbs: [create]}\n\
     - {apiGroups: [cutover.dev], resources: [cutovers/qa], verbs: [approve]}\n---\n\
     apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: qa}\n\
     roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: qa}\n\
     subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: qa}]\n";

/// An approval of a gate that there is not.
fn void(run_uid: &str) -> CutoverDecisionSpec {
    CutoverDecisionSpec {
        gate: Some("x".into()),
        role: Some("qa".into()),
        token: Some("t".into()),
        ..word("shop", run_uid, Verb::Approve, "qa")
    }
}

#[test]
fn a_retry_said_while_the_run_is_under_way_never_starts_anything() {
    e2e("words_retry_under_way", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let result = t.told("shop", Verb::Retry).await?;
        ensure!(result.starts_with("refused: the run is not over"), "{result}");
        let result = t.told("shop", Verb::Rollback).await?;
        ensure!(result == "accepted", "{result}");
        t.ends("shop", Phase::RolledBack, 30).await?;
        // Neither by itself, nor for a new operator, nor when the Cutover changes.
        t.crash()?;
        t.merge::<Cutover>("shop", json!({"metadata": {"annotations": {"woken": "yes"}}})).await?;
        // What is said about another run has been looked at: so has everything said before.
        let result = t.told("shop", Verb::Abort).await?;
        ensure!(result.contains("is over: RolledBack"), "{result}");
        ensure!(runs(t).await? == ["shop-1"], "{:?}", runs(t).await?);
        // Said now it counts, and once.
        let name = t.decide_as(PEOPLE[0], PEOPLE[0], "shop", Verb::Retry, None).await?;
        let answer = t.answer(&name).await?;
        ensure!(answer.run.as_deref() == Some("shop-2"), "{answer:?}");
        t.phase("shop", Phase::Observing, 60).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.phase("shop", Phase::RolledBack, 30).await?;
        t.closed("shop", 40).await?;
        t.crash()?;
        ensure!(t.told("shop", Verb::Abort).await?.contains("run shop-2 is over"));
        ensure!(runs(t).await? == ["shop-1", "shop-2"], "{:?}", runs(t).await?);
        Ok(())
    });
}

#[test]
fn a_retry_for_a_run_that_is_not_the_newest_or_was_deleted_is_refused() {
    e2e("words_retry_old", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &format!("{HELD}historyLimit: 1\n")).await?;
        let mut uids = vec![];
        for n in 1..=3 {
            t.run_until("shop", "the next run", secs(30), |run| {
                let found = run.name_any() == format!("shop-{n}");
                Ok((found && run.status.as_ref().is_some_and(|s| s.phase == Phase::Preparing)).then_some(()))
            })
            .await?;
            let run = run_of(t, "shop").await?;
            uids.push(run.uid().context("a uid")?);
            t.decide("shop", Verb::Abort).await?;
            t.ends("shop", Phase::Aborted, 30).await?;
            if n < 3 {
                let result = t.told("shop", Verb::Retry).await?;
                ensure!(result == format!("accepted: run shop-{} is started", n + 1), "{result}");
            }
        }
        wait::until(t.api::<CutoverRun>(), "the first run is deleted", secs(20), |all| {
            Ok((!all.contains_key("shop-1")).then_some(()))
        })
        .await?;
        let said = t.say(PEOPLE[0], word("shop", &uids[0], Verb::Retry, PEOPLE[0])).await?;
        let result = t.answer(&said).await?.result.unwrap_or_default();
        ensure!(result.starts_with("refused") && result.contains("has it no more"), "{result}");
        let said = t.say(PEOPLE[0], word("shop", &uids[1], Verb::Retry, PEOPLE[0])).await?;
        let result = t.answer(&said).await?.result.unwrap_or_default();
        ensure!(result.starts_with("refused"), "{result}");
        let result = t.told("shop", Verb::Revalidate).await?;
        ensure!(result.contains("has not completed (Aborted)"), "{result}");
        ensure!(run_of(t, "shop").await?.name_any() == "shop-3");
        Ok(())
    });
}

#[test]
fn a_retry_authorised_for_another_cutover_is_refused_and_hides_nobodys() {
    e2e("words_cross", async |t: &Case| {
        t.web().await?;
        t.apply(&crate::harness::app::service("web", "blue").replacen("name: web", "name: other", 1)).await?;
        t.apply(&on_call("mallory", "mine")).await?;
        t.start().await?;
        let mut mine = crate::harness::app::cutover("mine", "web", "activate: blue\n")?;
        mine["spec"]["services"] = json!([{"name": "other"}]);
        t.apply_value(&mine).await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let uid = run_of(t, "shop").await?.uid().context("a uid")?;
        let forbidden = t.say("mallory", word("shop", &uid, Verb::Rollback, "mallory")).await;
        ensure!(forbidden.is_err(), "RBAC names one Cutover");
        for verb in [Verb::Retry, Verb::Rollback] {
            let said = t.say("mallory", word("mine", &uid, verb, "mallory")).await?;
            let result = t.answer(&said).await?.result.unwrap_or_default();
            ensure!(result.contains("is not a run of Cutover mine"), "{result}");
        }
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let said = t.say("mallory", word("mine", &uid, Verb::Retry, "mallory")).await?;
        let result = t.answer(&said).await?.result.unwrap_or_default();
        ensure!(result.contains("is not a run of Cutover mine"), "{result}");
        ensure!(runs(t).await? == ["shop-1"], "{:?}", runs(t).await?);
        let result = t.told("shop", Verb::Retry).await?;
        ensure!(result == "accepted: run shop-2 is started", "{result}");
        ensure!(runs(t).await? == ["shop-1", "shop-2"], "{:?}", runs(t).await?);
        Ok(())
    });
}

/// Another tenant's namespace, with a Cutover of the same name, on whose runs `mallory` may say anything.
async fn tenant(t: &Case) -> anyhow::Result<String> {
    let namespace = format!("{}-other", t.ns);
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"cutover.dev/e2e": "true"}},
    });
    cluster::apply(&t.client, &object, &namespace).await?;
    let rights = crate::harness::app::tenant(&namespace)?;
    let all = [&rights, "---", &crate::harness::app::service("web", "blue"), "---", &on_call("mallory", "shop")];
    for object in cluster::documents(&all.join("\n"))? {
        cluster::apply(&t.client, &object, &namespace).await?;
    }
    cluster::apply(&t.client, &crate::harness::app::cutover("shop", "web", "activate: blue\n")?, &namespace).await?;
    Ok(namespace)
}

#[test]
fn what_is_said_in_another_namespace_counts_for_nobody_here() {
    e2e("words_elsewhere", async |t: &Case| {
        t.web().await?;
        let other = tenant(t).await?;
        t.arguments(&["--namespace", &other]);
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let uid = run_of(t, "shop").await?.uid().context("a uid")?;
        let words: Api<CutoverDecision> = Api::namespaced(cluster::client(Some("mallory")).await?, &other);
        let says = async |verb: Verb| {
            let word = CutoverDecision::new(&format!("{verb:?}").to_lowercase(), word("shop", &uid, verb, "mallory"));
            words.create(&PostParams::default(), &word).await?;
            let name = word.name_any();
            let answer = wait::until(words.clone(), "an answer elsewhere", secs(20), |all| {
                Ok(all.get(&name).filter(|d| !d.is_open()).and_then(|d| d.status.clone()))
            });
            anyhow::Ok(answer.await?.result.unwrap_or_default())
        };
        for verb in [Verb::Rollback, Verb::Abort] {
            let result = says(verb).await?;
            ensure!(result.starts_with("refused") && result.contains("has no run"), "{verb:?}: {result}");
        }
        // Nor here, where nobody has given her anything.
        ensure!(t.say("mallory", word("shop", &uid, Verb::Rollback, "mallory")).await.is_err());
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let result = says(Verb::Retry).await?;
        ensure!(result.starts_with("refused") && result.contains("has no run"), "{result}");
        ensure!(runs(t).await? == ["shop-1"], "{:?}", runs(t).await?);
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        let by = run_of(t, "shop").await?.status.context("a status")?.decisions;
        ensure!(by.len() == 1 && by[0].by == PEOPLE[0], "{by:?}");
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(t.client.clone());
        namespaces.delete(&other, &DeleteParams::default()).await?;
        Ok(())
    });
}

#[test]
fn a_word_on_a_run_of_a_former_cutover_of_the_name_starts_nothing() {
    e2e("words_former", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", HELD).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        t.decide("shop", Verb::Abort).await?;
        t.ends("shop", Phase::Aborted, 30).await?;
        let uid = run_of(t, "shop").await?.uid().context("a uid")?;
        // Its run stays behind, as somebody who deletes in a hurry leaves it.
        t.api::<Cutover>().delete("shop", &DeleteParams::orphan()).await?;
        wait::until(t.api::<Cutover>(), "the first Cutover is gone", secs(30), |all| Ok(all.is_empty().then_some(())))
            .await?;
        t.cutover("shop", "activate: blue\n").await?;
        t.condition("shop", "Ready", true, 30).await?;
        for verb in [Verb::Retry, Verb::Revalidate, Verb::Rollback] {
            let said = t.say(PEOPLE[0], word("shop", &uid, verb, PEOPLE[0])).await?;
            let result = t.answer(&said).await?.result.unwrap_or_default();
            ensure!(result.starts_with("refused") && result.contains("is not a run of Cutover shop"), "{result}");
        }
        ensure!(runs(t).await? == ["shop-1"] && t.selector_writes("web")?.is_empty(), "{:?}", runs(t).await?);
        // Nobody else would.
        t.api::<CutoverRun>().delete("shop-1", &DeleteParams::default()).await?;
        Ok(())
    });
}

#[test]
fn void_approvals_do_not_silence_a_rollback() {
    e2e("words_flood", async |t: &Case| {
        t.web().await?;
        t.apply(QA).await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let uid = run_of(t, "shop").await?.uid().context("a uid")?;
        let void = void(&uid);
        for _ in 0..210 {
            t.say("qa", void.clone()).await?;
        }
        let result = t.told("shop", Verb::Rollback).await?;
        ensure!(result == "accepted", "{result}");
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        let taken = run.status.context("a status")?.decisions;
        ensure!(taken.len() == 1, "refused ones stand on themselves: {taken:?}");
        wait::until(t.api::<CutoverDecision>(), "an answer on every decision", secs(20), |all| {
            Ok((all.len() == 211 && all.values().all(|d| !d.is_open())).then_some(()))
        })
        .await
    });
}

#[test]
fn an_operator_killed_between_a_word_and_its_answer_repeats_nothing_and_answers() {
    e2e("words_crash", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", HELD).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        for (verb, wanted) in [(Verb::Suspend, "accepted"), (Verb::Resume, "accepted"), (Verb::Abort, "accepted")] {
            let said = t.decide_as(PEOPLE[0], PEOPLE[0], "shop", verb, None).await?;
            t.crash()?;
            let result = t.answer(&said).await?.result.unwrap_or_default();
            ensure!(result == wanted, "{verb:?}: {result}");
        }
        let run = t.ends("shop", Phase::Aborted, 30).await?;
        let taken = run.status.context("a status")?.decisions;
        ensure!(taken.len() == 3, "each once: {taken:?}");
        let said = t.decide_as(PEOPLE[0], PEOPLE[0], "shop", Verb::Retry, None).await?;
        t.crash()?;
        let result = t.answer(&said).await?.result.unwrap_or_default();
        ensure!(result == "accepted: run shop-2 is started", "{result}");
        t.phase("shop", Phase::Preparing, 30).await?;
        t.crash()?;
        // One that was refused stays refused for whoever comes next.
        let result = t.told("shop", Verb::Rollback).await?;
        ensure!(result.contains("nothing has been switched"), "{result}");
        ensure!(runs(t).await? == ["shop-1", "shop-2"], "{:?}", runs(t).await?);
        Ok(())
    });
}

#[test]
fn an_abort_that_the_watch_does_not_show_is_found_by_the_live_reading_before_the_claim() {
    e2e("abort_behind_a_silent_watch", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.apply(QA).await?;
        t.start_through(Some(&proxy.url)).await?;
        let spec = "phases: {verify: {steps: [{name: hold, wait: {for: 15s}}]}}\nswitch: {timeout: 20s}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        proxy.freeze(|path| path.contains("/cutoverdecisions"));
        // More than one list holds, and all of them before the abort.
        let void = void(&run_of(t, "shop").await?.uid().context("a uid")?);
        let api: Api<CutoverDecision> = Api::namespaced(cluster::client(Some("qa")).await?, &t.ns);
        let names = (0..510).map(|n| CutoverDecision::new(&format!("a-{n:03}"), void.clone()));
        let made = names.map(|decision| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &decision).await.map(drop) }
        });
        futures::stream::iter(made).buffer_unordered(8).try_collect::<()>().await?;
        t.decide("shop", Verb::Abort).await?;
        let run = t.phase("shop", Phase::Aborted, 40).await?;
        let hold = run.status.context("status")?.steps.into_iter().find(|s| s.name == "hold").map(|s| s.state);
        ensure!(hold == Some(StepState::Succeeded), "it was seen before the switch was due: hold is {hold:?}");
        ensure!(t.selector_writes("web")?.is_empty(), "{:?}", t.selector_writes("web")?);
        proxy.thaw();
        t.ends("shop", Phase::Aborted, 30).await.map(drop)
    });
}
