//! What people say in a test, each with a client of their own name.

use anyhow::{Context, Result, ensure};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec, DecisionStatus, Resolution};
use cutover::api::{CutoverRun, Verb};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};

use super::app::PEOPLE;
use super::case::{Case, newest, secs};
use super::{cluster, wait};

impl Case {
    /// A person's decision about the newest run.
    pub async fn decide(&self, cutover: &str, verb: Verb) -> Result<()> {
        self.decide_as(PEOPLE[0], PEOPLE[0], cutover, verb, None).await.map(drop)
    }

    /// A person's answer to a lost outcome or an open question (`decision`).
    pub async fn resolve(&self, cutover: &str, step: &str, outcome: Resolution) -> Result<()> {
        self.decide_as(PEOPLE[0], PEOPLE[0], cutover, Verb::Resolve, Some((step, outcome))).await.map(drop)
    }

    /// A decision that `user` creates and that says it is by `by`; its name.
    pub async fn decide_as(
        &self,
        user: &str,
        by: &str,
        cutover: &str,
        verb: Verb,
        about: Option<(&str, Resolution)>,
    ) -> Result<String> {
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

    /// A decision that `user` creates, whatever it says; its name.
    pub async fn say(&self, user: &str, spec: CutoverDecisionSpec) -> Result<String> {
        let generate_name = Some(format!("{}-", spec.cutover));
        let mut decision = CutoverDecision::new("", spec);
        decision.metadata = ObjectMeta { generate_name, ..ObjectMeta::default() };
        let api: Api<CutoverDecision> = Api::namespaced(cluster::client(Some(user)).await?, &self.ns);
        Ok(api.create(&PostParams::default(), &decision).await?.name_any())
    }

    /// The answer on a decision, once it stands there: the columns that a person sees.
    pub async fn answer(&self, decision: &str) -> Result<DecisionStatus> {
        let found = wait::until(self.api::<CutoverDecision>(), "an answer on the decision", secs(20), |all| {
            Ok(all.get(decision).filter(|d| !d.is_open()).cloned())
        });
        let status = found.await?.status.context("a status")?;
        ensure!(status.at.is_some() && status.result.is_some(), "{status:?}");
        Ok(status)
    }

    /// Says it as the first person and waits for what came of it.
    pub async fn told(&self, cutover: &str, verb: Verb) -> Result<String> {
        let name = self.decide_as(PEOPLE[0], PEOPLE[0], cutover, verb, None).await?;
        Ok(self.answer(&name).await?.result.unwrap_or_default())
    }
}
