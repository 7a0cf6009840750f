//! What people say in a test, each with a client of their own name.

use anyhow::{Context, Result};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec, Resolution};
use cutover::api::{CutoverRun, Verb};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};

use super::app::PEOPLE;
use super::case::{Case, newest};
use super::cluster;

impl Case {
    /// A person's decision about the newest run.
    pub async fn decide(&self, cutover: &str, verb: Verb) -> Result<()> {
        self.decide_as(PEOPLE[0], PEOPLE[0], cutover, verb, None).await
    }

    /// A person's answer to a lost outcome or an open question (`decision`).
    pub async fn resolve(&self, cutover: &str, step: &str, outcome: Resolution) -> Result<()> {
        self.decide_as(PEOPLE[0], PEOPLE[0], cutover, Verb::Resolve, Some((step, outcome))).await
    }

    /// A decision that `user` creates and that says it is by `by`.
    pub async fn decide_as(
        &self,
        user: &str,
        by: &str,
        cutover: &str,
        verb: Verb,
        about: Option<(&str, Resolution)>,
    ) -> Result<()> {
        let runs = self.api::<CutoverRun>().list(&ListParams::default()).await?;
        let run = newest(runs.items.iter(), cutover).context("there is no run to decide about")?;
        let spec = CutoverDecisionSpec {
            cutover: cutover.to_owned(),
            run_uid: run.uid().unwrap_or_default(),
            decision: verb,
            gate: None,
            role: None,
            token: None,
            step: about.map(|(step, _)| step.to_owned()),
            outcome: about.map(|(_, outcome)| outcome),
            comment: Some(self.name.clone()),
            by: by.to_owned(),
        };
        self.say(user, spec).await
    }

    /// A decision that `user` creates, whatever it says.
    pub async fn say(&self, user: &str, spec: CutoverDecisionSpec) -> Result<()> {
        let generate_name = Some(format!("{}-", spec.cutover));
        let mut decision = CutoverDecision::new("", spec);
        decision.metadata = ObjectMeta { generate_name, ..ObjectMeta::default() };
        let api: Api<CutoverDecision> = Api::namespaced(cluster::client(Some(user)).await?, &self.ns);
        api.create(&PostParams::default(), &decision).await?;
        Ok(())
    }
}
