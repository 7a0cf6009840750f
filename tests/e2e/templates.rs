//! Templates: shared steps with parameters, resolved into a run's plan when it starts.

use anyhow::{Context, ensure};
use cutover::api::{ClusterCutoverTemplate, CutoverRun, Phase};
use cutover::plan::Plan;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Case, cluster, e2e};

fn template(wait: &str) -> String {
    format!(
        "apiVersion: cutover.dev/v1alpha1\nkind: CutoverTemplate\nmetadata: {{name: pause}}\nspec:\n  parameters: \
         [{{name: name}}]\n  phases: {{prepare: {{steps: [{{name: \"${{param.name}}-pause\", wait: {{for: {wait}}}}}]}}}}\n"
    )
}

#[test]
fn templates_of_the_namespace_and_of_the_cluster_become_steps_and_a_change_waits_for_the_next_run() {
    e2e("templates", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        // Of all namespaces: its name is this test's own.
        let shared = format!("{}-smoke", t.ns);
        let whole: Api<ClusterCutoverTemplate> = Api::all(t.client.clone());
        let object = json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "ClusterCutoverTemplate", "metadata": {"name": shared},
            "spec": {
                "parameters": [{"name": "path", "default": "/ready"}, {"name": "tries", "type": "Integer", "default": "3"}],
                "phases": {"verify": {"steps": [{"name": "smoke", "retry": {"attempts": "${param.tries}", "every": "1s"},
                    "http": {"path": "${param.path}", "expect": ["status == 200"]}}]}},
            },
        });
        whole.patch(&shared, &PatchParams::apply("e2e").force(), &Patch::Apply(&object)).await?;
        let spec = format!(
            "templates:\n- {{name: pause, parameters: [{{name: name, value: first}}]}}\n- {{kind: ClusterCutoverTemplate, name: \
             {shared}}}\nphases: {{prepare: {{steps: [{{name: own, wait: {{for: 3s}}}}]}}}}\nswitch: {{timeout: 20s}}\n\
             observe: {{for: 2s, every: 500ms}}\n"
        );
        t.cutover("shop", &spec).await?;
        // One is missing: said by name, and nothing starts.
        let why = t.condition("shop", "Stalled", true, 30).await?;
        ensure!(why.contains("there is no CutoverTemplate pause in namespace"), "{why}");
        t.apply(&template("1s")).await?;
        // Begun, and then the template changes and goes.
        let run = t.phase("shop", Phase::Preparing, 60).await?;
        t.apply(&template("1h")).await?;
        let api: Api<cutover::api::CutoverTemplate> = t.api();
        api.delete("pause", &DeleteParams::default()).await?;
        let plan: Plan = serde_json::from_value(run.spec.plan.clone())?;
        let used: Vec<&str> = plan.templates.iter().map(|t| t.kind.as_str()).collect();
        ensure!(used == ["CutoverTemplate", "ClusterCutoverTemplate"], "{used:?}");
        let ended: CutoverRun = t.ends("shop", Phase::Completed, 90).await?;
        let steps: Vec<String> = ended.status.context("status")?.steps.into_iter().map(|s| s.name).collect();
        let order = |name: &str| steps.iter().position(|s| s == name).with_context(|| format!("{name}: {steps:?}"));
        ensure!(order("first-pause")? < order("own")? && order("own")? < order("smoke")?, "{steps:?}");
        whole.delete(&shared, &DeleteParams::default()).await?;
        // Whoever uses the cluster's template needs no right on it, and gets none by it.
        let team = cluster::client(Some(&format!("system:serviceaccount:{}:cutover", t.ns))).await?;
        let theirs: Api<ClusterCutoverTemplate> = Api::all(team);
        ensure!(theirs.get(&shared).await.is_err_and(|e| matches!(e, kube::Error::Api(s) if s.code == 403)));
        Ok(())
    });
}
