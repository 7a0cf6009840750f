//! Each command of `kubectl cutover` is run by a user who has exactly the rights that `docs/commands.md` says it needs; `plan`
//! is run once more with the optional ones.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use cutover::cli::{Right, reference};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

const SPEC: &str = "phases: {prepare: {steps: [{name: migrate, job: {deadline: 60s, template: {spec: {containers: [{name: c, \
                    image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}}]}}\n\
                    switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, every: 500ms}\n";

/// What is run, and the exit codes that say that it did its work.
const COMMANDS: [(&str, &[&str], &[i32]); 22] = [
    ("status", &["status", "shop"], &[0]),
    ("watch", &["watch", "shop", "--until", "switched", "--timeout", "30s"], &[0]),
    ("history", &["history", "shop"], &[0]),
    ("report", &["report", "shop"], &[0]),
    ("logs", &["logs", "shop", "migrate"], &[0]),
    ("trace", &["trace", "svc/web"], &[0]),
    ("notify", &["notify", "shop", "--event", "Switching", "--dry-run"], &[0]),
    ("plan", &["plan", "shop"], &[0]),
    ("diff", &["diff", "shop"], &[0]),
    ("check", &["check", "shop"], &[0, 1]),
    ("init", &["init", "web"], &[0]),
    ("bundle", &["bundle", "shop"], &[0]),
    // Nothing is released while a run is under way, no gate waits, nothing is open.
    ("release", &["release", "shop", "--version", "3"], &[1]),
    ("approve", &["approve", "shop", "--yes"], &[1]),
    ("reject", &["reject", "shop", "--yes"], &[1]),
    ("resolve", &["resolve", "shop", "migrate", "succeeded", "--yes"], &[1]),
    ("revalidate", &["revalidate", "shop"], &[1]),
    ("suspend", &["suspend", "shop"], &[0]),
    ("resume", &["resume", "shop"], &[0]),
    ("abort", &["abort", "shop", "--yes"], &[1]),
    ("rollback", &["rollback", "shop", "--yes"], &[0]),
    ("retry", &["retry", "shop", "--yes"], &[0, 1]),
];

/// Commands that ask no cluster.
const OFFLINE: [&str; 2] = ["lint", "man"];

/// Gives a user these rights: in the namespace, and what is not in one in the cluster.
async fn grant(t: &Case, user: &str, name: &str, rights: &[Right]) -> Result<()> {
    let mut rules = String::new();
    for r in rights {
        writeln!(rules, "- {{apiGroups: ['{}'], resources: ['{}'], verbs: ['{}']}}", r.group, r.resource, r.verb)?;
    }
    // The verbs of decisions themselves.
    rules.push_str("- {apiGroups: [cutover.dev], resources: [cutovers/run], verbs: ['*']}\n");
    let subject = format!("subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {user}}}]\n");
    let rbac = "apiVersion: rbac.authorization.k8s.io/v1\n";
    t.apply(&format!(
        "{rbac}kind: Role\nmetadata: {{name: {name}}}\nrules:\n{rules}---\n\
         {rbac}kind: RoleBinding\nmetadata: {{name: {name}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\n{subject}"
    ))
    .await
    .with_context(|| name.to_owned())?;
    // The API server knows of them a moment later. What is in no namespace a Role cannot give, and is never needed.
    for right in rights.iter().filter(|r| r.resource != "selfsubjectaccessreviews") {
        wait::poll("a right that is given", secs(20), async || Ok(may(t, user, right).await?.then_some(()))).await?;
    }
    Ok(())
}

/// Whether the API server lets a user do this.
async fn may(t: &Case, user: &str, right: &Right) -> Result<bool> {
    let (resource, sub) =
        right.resource.split_once('/').map_or((right.resource, None), |(r, s)| (r, Some(s.to_owned())));
    let attributes = ResourceAttributes {
        group: Some(right.group.into()),
        resource: Some(resource.into()),
        subresource: sub,
        namespace: Some(t.ns.clone()),
        verb: Some(right.verb.into()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::<SubjectAccessReview>::all(t.client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

#[test]
fn no_command_needs_more_rights_than_it_says() {
    e2e("plugin_rights", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", SPEC).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        let all = reference::rights();
        for (command, _) in &all {
            let known = COMMANDS.iter().any(|(name, ..)| name == command) || OFFLINE.contains(command);
            ensure!(known, "{command} is not tried");
        }
        for (command, arguments, codes) in COMMANDS {
            let (_, rights) = all.iter().find(|(name, _)| *name == command).with_context(|| command.to_owned())?;
            let needed: Vec<Right> = rights.iter().filter(|r| !r.optional).copied().collect();
            let user = format!("{command}@rights.example.com");
            grant(t, &user, &format!("only-{command}"), &needed).await?;
            let file = t.dir.join(format!("{command}.tar.gz")).display().to_string();
            let more: &[&str] = if command == "bundle" { &["--file", &file] } else { &[] };
            let told = t.plugin(Some(&user), &[arguments, more].concat()).await?;
            ensure!(codes.contains(&told.code), "{command}: {told:#?}");
            ensure!(!told.err.contains("defect:") && !told.out.contains("defect:"), "{command}: {told:#?}");
        }
        // With the optional ones, too, every write is tried.
        let (_, rights) = all.iter().find(|(name, _)| *name == "plan").context("plan")?;
        let of_namespace: Vec<Right> = rights.iter().filter(|r| !r.resource.starts_with("cluster")).copied().collect();
        let user = "plan-all@rights.example.com";
        grant(t, user, "all-plan", &of_namespace).await?;
        let told = t.plugin(Some(user), &["plan", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["dryRuns"].as_array().is_some_and(|tried| tried.len() == 4), "{told:#}");
        ensure!(!told["hidden"].to_string().contains("not tried"), "{told:#}");
        Ok(())
    });
}
