//! What is said of a manifest as soon as it is applied, and the words by which one manifest serves both directions.

use anyhow::ensure;
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::harness::app;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// The Cutover that asks for the side that is live already: nothing ever starts.
const IDLE: &str = "activate: blue\n";

fn step(expect: &str) -> String {
    format!("phases: {{verify: {{steps: [{{name: smoke, http: {{path: /health, expect: ['{expect}']}}}}]}}}}\n")
}

fn template(expect: &str) -> String {
    format!(
        "apiVersion: cutover.dev/v1alpha1\nkind: CutoverTemplate\nmetadata: {{name: shared}}\nspec:\n  phases: \
         {{verify: {{steps: [{{name: shared, http: {{path: /health, expect: ['{expect}']}}}}]}}}}\n"
    )
}

#[test]
fn mistakes_are_told_when_the_cutover_or_a_template_of_it_is_applied() {
    e2e("accepted", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover(
            "shop",
            &format!(
                "{IDLE}{}observe: {{triggers: [{{name: slow, metric: {{query: x, above: \"1\"}}}}]}}\n",
                step("statsu == 200")
            ),
        )
        .await?;
        let why = t.condition("shop", "Accepted", false, 20).await?;
        for part in
            ["InvalidSpec: ", "spec.phases.verify.steps[smoke].http.expect[0]", "spec.observe.triggers[slow].metric"]
        {
            ensure!(why.contains(part), "{part}: {why}");
        }
        let stalled = t.condition("shop", "Stalled", true, 10).await?;
        ensure!(stalled.contains("spec.phases.verify.steps[smoke].http.expect[0]"), "{stalled}");
        // Put right: nothing else happens, since the side is live already.
        t.cutover("shop", &format!("{IDLE}{}", step("status == 200"))).await?;
        t.condition("shop", "Accepted", true, 20).await?;
        t.condition("shop", "Stalled", false, 10).await?;
        t.condition("shop", "Ready", true, 10).await?;
        // A template that is missing, comes, is spoilt and put right.
        t.cutover("shop", &format!("{IDLE}{}templates: [{{name: shared}}]\n", step("status == 200"))).await?;
        let why = t.condition("shop", "Accepted", false, 20).await?;
        ensure!(why.contains("there is no CutoverTemplate shared"), "{why}");
        t.apply(&template("status == 200")).await?;
        t.condition("shop", "Accepted", true, 20).await?;
        t.apply(&template("status ==")).await?;
        let why = t.condition("shop", "Accepted", false, 20).await?;
        ensure!(why.contains("(CutoverTemplate shared).phases.verify.steps[shared].http.expect[0]"), "{why}");
        t.apply(&template("status == 204")).await?;
        t.condition("shop", "Accepted", true, 20).await?;
        ensure!(t.newest("shop").await?.is_none(), "a run was started");
        Ok(())
    });
}

#[test]
fn one_manifest_scales_the_consumers_of_either_side() {
    e2e("both_directions", async |t: &Case| {
        t.web().await?;
        for side in ["blue", "green"] {
            let consumer = app::deployment("consumer", &app::Colour::new(side).replicas(0));
            t.apply(&consumer).await?;
        }
        t.start().await?;
        let spec = |activate: &str| {
            format!(
                "activate: {activate}\nphases: {{finish: {{steps: [{{name: consume, scale: {{workloads: \
                 [{{kind: Deployment, name: 'consumer-${{target}}'}}], replicas: 1}}}}, {{name: stop, scale: {{workloads: \
                 [{{kind: Deployment, name: 'consumer-${{old}}'}}], replicas: 0}}}}]}}}}\nswitch: {{timeout: 20s}}\n\
                 observe: {{for: 1s, every: 500ms}}\n"
            )
        };
        for (to, from) in [("green", "blue"), ("blue", "green")] {
            t.cutover("shop", &spec(to)).await?;
            t.points_to("web", to, 60).await?;
            wait::until(t.api::<Deployment>(), &format!("consumer-{to} alone"), secs(60), |all| {
                let wants = |side: &str| all.get(&format!("consumer-{side}")).and_then(|d| d.spec.as_ref()?.replicas);
                Ok((wants(to) == Some(1) && wants(from) == Some(0)).then_some(()))
            })
            .await?;
            // The switch back of the second run is no restore of the first.
            t.phase("shop", Phase::Completed, 60).await?;
            t.closed("shop", 20).await?;
        }
        // What stands there once the names are written out is no name.
        let wrong = spec("green").replace("consumer-${target}", "consumer-${target}.");
        t.cutover("shop", &wrong).await?;
        let why = t.condition("shop", "Accepted", false, 20).await?;
        ensure!(why.contains("spec.phases.finish.steps[consume].scale.workloads[0].name"), "{why}");
        ensure!(why.contains("gives \"consumer-green.\""), "{why}");
        Ok(())
    });
}

#[test]
fn a_port_that_two_services_have_needs_the_name_of_one() {
    e2e("ambiguous_port", async |t: &Case| {
        t.web().await?;
        t.apply(&app::service("web", "blue").replace("name: web}", "name: api}")).await?;
        t.start().await?;
        let spec = |port: &str, attempt: u32| {
            format!(
                "release: {{attempt: {attempt}}}\nservices: [{{name: web}}, {{name: api}}]\nswitch: {{timeout: 20s}}\n\
                 observe: {{for: 1s, every: 500ms}}\nphases: {{verify: {{steps: [{{name: smoke, http: {{path: /health, {port}}}}}]}}}}\n"
            )
        };
        t.cutover("shop", &spec("port: '80'", 1)).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let status = run.status.unwrap_or_default();
        let said = status.ending.map(|e| e.message).unwrap_or_default();
        ensure!(said.contains("step smoke: http.port: Services web and api both have port \"80\""), "{said}");
        ensure!(status.steps.iter().all(|s| s.name == "cutover-permissions"), "something was done: {:?}", status.steps);
        t.cutover("shop", &spec("port: '80', service: api", 2)).await?;
        t.points_to("web", "green", 60).await?;
        t.ends("shop", Phase::Completed, 30).await.map(|_| ())
    });
}

#[test]
fn a_target_that_does_not_run_the_images_of_the_release_is_not_switched_to() {
    e2e("images", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = |image: &str| {
            format!(
                "release: {{version: '2', images: ['{image}']}}\nswitch: {{timeout: 20s}}\n\
                 observe: {{for: 1s, every: 500ms}}\n"
            )
        };
        t.cutover("shop", &spec("docker.io/cutover/other:1")).await?;
        t.run_until("shop", "the wait for the image", secs(60), |run| {
            let messages = run.status.iter().flat_map(|s| &s.steps).filter_map(|s| s.message.as_deref());
            Ok(messages
                .filter(|m| m.contains("runs docker.io/cutover/other:1, which spec.release.images names"))
                .map(|_| ())
                .next())
        })
        .await?;
        ensure!(t.side("web").await? == "blue");
        t.cutover("shop", &spec("docker.io/cutover/sample:dev")).await?;
        t.points_to("web", "green", 60).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        ensure!(run.spec.plan["release"]["version"] == json!("2"), "{}", run.spec.plan["release"]);
        Ok(())
    });
}

fn kubectl(arguments: &[&str]) -> anyhow::Result<String> {
    let output =
        std::process::Command::new("kubectl").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "kubectl {arguments:?}: {said}");
    Ok(said)
}

#[test]
fn the_definitions_are_applied_from_the_client_and_explain_every_field() {
    e2e("definitions", async |t: &Case| {
        // Keeps the whole object in an annotation, which has a limit that the definitions must not reach.
        for name in ["cutovers", "cutoverruns", "cutoverdecisions", "cutovertemplates", "clustercutovertemplates"] {
            kubectl(&["apply", "-f", &format!("crds/{name}.yaml")])?;
        }
        for (field, about) in [
            ("spec.phases", "The steps of each phase"),
            ("spec.phases.steps.http.path", "percent-encoded"),
            ("spec.phases.steps.job.deadline", "10m by default"),
            ("spec.phases.steps.suite.steps.http.expect", "any 2xx where none is given"),
            ("spec.phases.steps.undo.job.from.side", "live when the run began"),
            ("spec.phases.steps.http.capture.sensitive", "Kept in a Secret of the run"),
            ("spec.observe.triggers.severity", "`Rollback` by default"),
        ] {
            let said =
                kubectl(&["explain", &format!("cutover.{field}")])?.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(said.contains(about), "{field}: {said}");
        }
        // No operator runs here: what none has seen is not Current to kstatus.
        t.cutover("fresh", IDLE).await?;
        let fresh = t.api::<Cutover>().get("fresh").await?;
        ensure!(fresh.status.as_ref().and_then(|s| s.observed_generation) == Some(-1), "{:?}", fresh.status);
        Ok(())
    });
}
