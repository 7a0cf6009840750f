//! Jobs that want more than their namespace gives them: the node, or another account. The level of Pod Security is the
//! namespace's, and the Cutover's account needs no more than any author of a Job.

use anyhow::{Context, Result, ensure};
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::deletion::gone;
use crate::harness::{Case, e2e};

const REST: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";

/// A migration with this pod; its container has the rest.
fn migrates(pod: &str, container: &str) -> String {
    let container = format!("{{name: m, image: 'docker.io/cutover/sample:dev', args: [job, migrate]{container}}}");
    let job = format!("{{deadline: 20m, template: {{spec: {{{pod}containers: [{container}]}}}}}}");
    format!("phases: {{prepare: {{steps: [{{name: migrate, job: {job}}}]}}}}\n{REST}")
}

/// Pods of Jobs, whoever they are of.
async fn pods_of_jobs(t: &Case) -> Result<usize> {
    let pods = t.api::<Pod>().list(&ListParams::default().labels("batch.kubernetes.io/job-name")).await?;
    Ok(pods.items.len())
}

#[test]
fn a_job_that_wants_the_node_gets_no_pod_and_its_run_ends_before_the_switch() {
    e2e("attack_node", async |t: &Case| {
        t.web().await?;
        let baseline = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
        let namespaces = Api::<Namespace>::all(t.client.clone());
        namespaces.patch(&t.ns, &PatchParams::default(), &Patch::Merge(&baseline)).await?;
        t.start().await?;
        let attacks = [
            ("path", "volumes: [{name: host, hostPath: {path: /}}], ", "", "hostPath volumes"),
            ("privileged", "", ", securityContext: {privileged: true}", "privileged"),
            ("network", "hostNetwork: true, ", "", "host namespaces"),
            ("processes", "hostPID: true, ", "", "host namespaces"),
        ];
        for (name, pod, container, words) in attacks {
            t.cutover(name, &migrates(pod, container)).await?;
            let run = t.ends(name, Phase::Failed, 60).await?;
            let message = run.status.and_then(|s| s.ending).context("an ending")?.message;
            ensure!(
                message.contains("violates PodSecurity \"baseline") && message.contains(words),
                "{name}: {message}"
            );
            ensure!(pods_of_jobs(t).await? == 0, "{name}: it has a pod");
            t.api::<Cutover>().delete(name, &DeleteParams::default()).await?;
            gone(t, name, 30).await?;
        }
        ensure!(t.selector_writes("web")?.is_empty(), "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_job_as_an_account_that_is_not_listed_starts_no_run() {
    e2e("attack_account", async |t: &Case| {
        t.web().await?;
        t.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: strong}\n").await?;
        t.start().await?;
        for field in ["serviceAccountName", "serviceAccount"] {
            let name = field.to_lowercase();
            let spec = format!("jobServiceAccounts: []\n{}", migrates(&format!("{field}: strong, "), ""));
            t.cutover(&name, &spec).await?;
            let why = t.condition(&name, "Accepted", false, 20).await?;
            ensure!(why.contains("strong") && why.contains("jobServiceAccounts"), "{field}: {why}");
            ensure!(t.newest(&name).await?.is_none(), "{field}: a run was started");
            t.api::<Cutover>().delete(&name, &DeleteParams::default()).await?;
            gone(t, &name, 30).await?;
        }
        ensure!(t.jobs()? == (0, 0) && t.selector_writes("web")?.is_empty());
        Ok(())
    });
}
