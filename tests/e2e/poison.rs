//! Objects that nobody should have to read: some that this version does not understand, as another version may have
//! written them, and some that are as large as can be. Each is an error of its own; everything else goes on. And the
//! definitions of all of them, gone and back.

use anyhow::{Context, Result, ensure};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::run::CutoverRun;
use cutover::api::{Cutover, Phase, Verb};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::deletion::gone;
use crate::harness::app::{self, Colour, PEOPLE};
use crate::harness::case::secs;
use crate::harness::definitions::Definitions;
use crate::harness::{Case, alone, cluster, wait};

const QUICK: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";
const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 10m, every: 500ms}\n";
/// What the operator may hold when it meets all of this: the program of the tests is not the one that is shipped.
const MOST_KIB: u64 = 192 * 1024;

/// Objects of a kind of ours, whatever is in them.
async fn objects(t: &Case, kind: &str, user: Option<&str>) -> Result<Api<DynamicObject>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cutover.dev", "v1alpha1", kind));
    Ok(Api::namespaced_with(cluster::client(user).await?, &t.ns, &resource))
}

/// Creates an object as a user, once the API server knows of the changed definition.
async fn create(t: &Case, kind: &str, user: Option<&str>, object: Value) -> Result<()> {
    let api = objects(t, kind, user).await?;
    let object: DynamicObject = serde_json::from_value(object)?;
    let mut last = String::new();
    let what = format!("{kind} {} is taken", object.name_any());
    let made = wait::poll(&what, secs(20), async || match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(Some(())),
        Err(error) => {
            last = error.to_string();
            Ok(None)
        }
    });
    made.await.with_context(|| last)
}

/// The definitions as another version may have them: with values that this one does not know.
async fn loosen(definitions: &Definitions) -> Result<()> {
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (plural, field) in [("cutovers", "driftPolicy"), ("cutoverdecisions", "outcome")] {
        definitions.change(plural, json!([{"op": "remove", "path": format!("{spec}/{field}/enum")}])).await?;
    }
    let any = json!([{"op": "replace", "path": format!("{spec}/planVersion"), "value": {"x-kubernetes-int-or-string": true}}]);
    definitions.change("cutoverruns", any).await
}

/// What is said of an object in Events.
async fn told(t: &Case, kind: &str, name: &str, words: &str) -> Result<()> {
    wait::until(t.api::<Event>(), &format!("an Event about {kind} {name}"), secs(20), |all| {
        let is = |r: &ObjectReference| r.kind.as_deref() == Some(kind) && r.name.as_deref() == Some(name);
        let of = |e: &&Event| e.regarding.iter().chain(&e.related).any(is);
        let says = |e: &Event| e.note.as_ref().is_some_and(|note| note.contains(words));
        Ok(all.values().filter(of).any(says).then_some(()))
    })
    .await
}

/// A Cutover with as many steps as there may be, and a spec of about so many KiB.
fn large(name: &str, kib: usize) -> Result<Value> {
    let each = kib * 1024 / 195 - 130;
    let (description, mut left) = ("d".repeat(500), each.saturating_sub(500));
    let mut expect = vec![];
    while left > 20 {
        let size = left.min(500);
        expect.push(format!("'{}' != ''", "e".repeat(size - 10)));
        left -= size;
    }
    let suite = |n: usize| {
        let step = |i: usize| {
            json!({"name": format!("check-{n}-{i}"), "description": description,
            "http": {"path": "/health", "expect": expect}})
        };
        json!({"name": format!("suite-{n}"), "suite": {"steps": (0..39).map(step).collect::<Vec<_>>()}})
    };
    let steps: Vec<Value> = (0..5).map(suite).collect();
    app::cutover(name, "web", &format!("phases: {{verify: {{steps: {}}}}}\n{QUICK}", json!(steps)))
}

#[test]
fn what_cannot_be_read_and_what_is_large_keeps_nothing_else_from_its_way() {
    alone("poison", async |t: &Case| {
        t.web().await?;
        t.app("api", Colour::new("blue"), Colour::new("green")).await?;
        t.start().await?;
        Definitions::during(&t.client, async |definitions| {
            loosen(definitions).await?;
            // Others go on: one that stands already, and one that comes later.
            t.apply_value(&app::cutover("stands", "api", WATCHING)?).await?;
            let stands = t.phase("stands", Phase::Observing, 60).await?;
            let mut poison = app::cutover("poison", "nowhere", QUICK)?;
            poison["spec"]["driftPolicy"] = "Dance".into();
            create(t, "Cutover", None, poison).await?;
            let spec = json!({"cutover": "poison", "cutoverUID": "u", "planVersion": "two", "plan": {"services": ["nowhere"]}});
            let meta = json!({"name": "poison-1", "labels": {"cutover.dev/cutover": "poison"}});
            let object = json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun", "metadata": meta, "spec": spec});
            create(t, "CutoverRun", Some(&cluster::operator_user()), object).await?;
            let spec = json!({"cutover": "stands", "runUID": stands.uid(), "decision": "Resolve", "step": "decision",
                "outcome": "Dance", "by": PEOPLE[0]});
            let object = json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverDecision",
                "metadata": {"name": "poison"}, "spec": spec});
            create(t, "CutoverDecision", Some(PEOPLE[0]), object).await?;
            told(t, "Cutover", "poison", "cannot be read").await?;
            told(t, "CutoverRun", "poison-1", "cannot be read").await?;

            let large = large("large", 250)?;
            let size = large["spec"].to_string().len() / 1024;
            t.apply_value(&large).await?;
            let run = closed(t, "large", Phase::Completed, 120).await?;
            let steps = run.data["status"]["steps"].as_array().map_or(0, Vec::len);
            println!("{size} KiB of spec, {steps} records of steps");
            ensure!((240..=256).contains(&size), "{size} KiB");
            // The one that stood is steered as before, also after a restart.
            let before = t.memory()?;
            t.crash()?;
            let (cutover, run_uid) = ("stands".to_owned(), stands.uid().context("a uid")?);
            let by = PEOPLE[0].to_owned();
            let (gate, role, token, step, outcome, comment) = (None, None, None, None, None, None);
            let decision = Verb::Rollback;
            let spec =
                CutoverDecisionSpec { cutover, run_uid, decision, gate, role, token, step, outcome, comment, by };
            t.say(PEOPLE[0], spec).await?;
            closed(t, "stands", Phase::RolledBack, 60).await?;
            ensure!(t.side("api").await? == "blue");

            // What nobody understands hangs on nothing: a run under way ends as it does when its Cutover is deleted.
            objects(t, "Cutover", None).await?.delete("stands", &DeleteParams::default()).await?;
            t.apply_value(&app::cutover("turns", "api", WATCHING)?).await?;
            in_phase(t, "turns", Phase::Observing, 60).await?;
            let turned = Patch::Merge(json!({"spec": {"driftPolicy": "Dance"}}));
            objects(t, "Cutover", None).await?.patch("turns", &PatchParams::default(), &turned).await?;
            told(t, "Cutover", "turns", "cannot be read").await?;
            objects(t, "Cutover", None).await?.delete("turns", &DeleteParams::default()).await?;
            gone_whatever_it_is(t, "turns").await?;
            ensure!(t.side("api").await? == "blue", "a run of a Cutover that was deleted stayed on the target");

            let after = t.memory()?;
            println!("memory, KiB now and at most: {before:?} of the first process, {after:?} of the second");
            ensure!(before.1.max(after.1) < MOST_KIB, "the operator held {before:?}, {after:?} KiB");
            objects(t, "Cutover", None).await?.delete("poison", &DeleteParams::default()).await?;
            gone_whatever_it_is(t, "poison").await?;
            objects(t, "CutoverRun", None).await?.delete("poison-1", &DeleteParams::default()).await?;
            objects(t, "CutoverDecision", None).await?.delete("poison", &DeleteParams::default()).await?;
            Ok(())
        })
        .await
    });
}

/// Waits until the run of a Cutover is in a phase, without reading more of it.
async fn in_phase(t: &Case, cutover: &str, phase: Phase, bound: u64) -> Result<DynamicObject> {
    let runs = objects(t, "CutoverRun", None).await?;
    wait::poll(&format!("the run of {cutover} is {phase}"), secs(bound), async || {
        t.alive()?;
        let mut all = runs.list(&Default::default()).await?.items;
        all.retain(|r| r.data["spec"]["cutover"] == *cutover && r.data["status"]["phase"] == phase.as_str());
        Ok(all.pop())
    })
    .await
}

/// Waits until it has ended so.
async fn closed(t: &Case, cutover: &str, phase: Phase, bound: u64) -> Result<DynamicObject> {
    wait::poll(&format!("the run of {cutover} closes"), secs(bound), async || {
        let run = in_phase(t, cutover, phase, bound).await?;
        Ok((run.data["status"]["state"] == "Closed").then_some(run))
    })
    .await
}

/// Waits until a Cutover and its runs are gone, without reading what they say.
async fn gone_whatever_it_is(t: &Case, name: &str) -> Result<()> {
    let (cutovers, runs) = (objects(t, "Cutover", None).await?, objects(t, "CutoverRun", None).await?);
    wait::poll(&format!("Cutover {name} gone"), secs(40), async || {
        t.alive()?;
        let left = runs.list(&Default::default()).await?.items;
        let own = left.iter().filter(|r| r.data["spec"]["cutover"] == *name && r.data["spec"]["planVersion"] != "two");
        Ok((cutovers.get_opt(name).await?.is_none() && own.count() == 0).then_some(()))
    })
    .await
}

#[test]
#[ignore = "night: takes the definitions of all kinds away"]
fn definitions_that_are_deleted_and_installed_again_are_served_without_a_restart() {
    alone("definitions_deleted", async |t: &Case| {
        let listen = crate::harness::seen::free_address().await?;
        t.arguments(&["--listen", &listen]);
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        Definitions::during(&t.client, async |definitions| {
            definitions.delete().await?;
            // The Cutover goes with its definition: what was switched goes back first.
            t.points_to("web", "blue", 30).await?;
            definitions.gone(90).await?;
            readiness(t, &listen, 503, 30).await?;
            definitions.put_back().await?;
            let back = std::time::Instant::now();
            readiness(t, &listen, 200, 90).await?;
            println!("ready {} s after the definitions were back", back.elapsed().as_secs());
            t.cutover("again", QUICK).await?;
            t.ends("again", Phase::Completed, 90).await?;
            t.alive()?;
            t.api::<Cutover>().delete("again", &DeleteParams::default()).await?;
            gone(t, "again", 30).await?;
            // Every kind is heard of again.
            let runs = t.api::<CutoverRun>().list(&Default::default()).await?.items.len();
            let decisions = t.api::<CutoverDecision>().list(&Default::default()).await?.items.len();
            ensure!((runs, decisions) == (0, 0), "{runs} runs and {decisions} decisions are left");
            Ok(())
        })
        .await
    });
}

/// Waits until `/readyz` answers with this code.
async fn readiness(t: &Case, listen: &str, code: u16, bound: u64) -> Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut last = String::new();
    let what = format!("/readyz answers {code}");
    let answered = wait::poll(&what, secs(bound), async || {
        t.alive()?;
        let answer = http.get(format!("http://{listen}/readyz")).send().await?;
        let found = answer.status().as_u16();
        last = answer.text().await?;
        Ok((found == code).then_some(()))
    });
    answered.await.with_context(|| last)
}
