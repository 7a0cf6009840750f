//! A decision is created as the user, and its answer awaited.

use std::time::Duration;

use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};

use crate::api::decision::{CutoverDecision, CutoverDecisionSpec, Resolution, Verb};
use crate::cli::cluster::Cluster;
use crate::cli::exit::{Exit, Failure};
use crate::cli::find::Found;
use crate::journal::words;

/// What somebody says about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub verb: Verb,
    pub gate: Option<String>,
    pub role: Option<String>,
    pub token: Option<String>,
    pub step: Option<String>,
    pub outcome: Option<Resolution>,
    pub comment: Option<String>,
}

impl Word {
    /// A verb without more.
    pub(crate) fn of(verb: Verb, comment: Option<String>) -> Self {
        Self { verb, gate: None, role: None, token: None, step: None, outcome: None, comment }
    }
}

/// What the operator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It took effect.
    Accepted { decision: String, said: String },
    /// It did not, and never will.
    Refused { decision: String, said: String },
    /// Nobody has answered yet.
    Open { decision: String },
}

impl Answer {
    /// The exit code that goes with it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Accepted { .. } => Exit::Done,
            Self::Refused { .. } => Exit::Failed,
            Self::Open { .. } => Exit::TimedOut,
        }
    }
}

/// Says it, and waits for the answer for at most `patience`.
///
/// # Errors
/// The API server does not take it, which it then says itself: a missing right, a policy.
pub(crate) async fn say(cluster: &Cluster, found: &Found, word: Word, patience: Duration) -> Result<Answer, Failure> {
    let decision = create(cluster, found, word).await?;
    await_answer(cluster, decision, patience).await
}

/// Creates the decision alone.
pub(crate) async fn create(cluster: &Cluster, found: &Found, word: Word) -> Result<CutoverDecision, Failure> {
    let name = found.cutover.name_any();
    let run = found.run.as_ref().and_then(|r| r.metadata.uid.clone());
    let run_uid = run.ok_or_else(|| Failure::new(format!("Cutover {name} has no run to decide about")))?;
    let by = cluster.whoami().await?;
    let spec = CutoverDecisionSpec {
        cutover: name.clone(),
        run_uid,
        decision: word.verb,
        gate: word.gate,
        role: word.role,
        token: word.token,
        step: word.step,
        outcome: word.outcome,
        comment: word.comment,
        by,
    };
    let metadata = ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() };
    let decision = CutoverDecision { metadata, spec, status: None };
    cluster.create(&cluster.namespace, &decision, &PostParams::default()).await
}

/// Waits for the operator's answer.
pub(crate) async fn await_answer(
    cluster: &Cluster,
    decision: CutoverDecision,
    patience: Duration,
) -> Result<Answer, Failure> {
    let name = decision.name_any();
    let (api, right) = cluster.api::<CutoverDecision>("watch", None, &cluster.namespace)?;
    let until = tokio::time::Instant::now() + patience;
    let mut version = decision.resource_version().unwrap_or_else(|| "0".to_owned());
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    loop {
        let watch = async {
            let mut stream = std::pin::pin!(api.watch(&params, &version).await?);
            while let Some(event) = stream.next().await {
                match event? {
                    WatchEvent::Added(d) | WatchEvent::Modified(d) if !d.is_open() => return Ok(Some(d)),
                    WatchEvent::Error(e) => return Err(kube::Error::Api(Box::new(*e))),
                    _ => {}
                }
            }
            Ok::<_, kube::Error>(None)
        };
        match tokio::time::timeout_at(until, watch).await {
            Err(_) => return Ok(Answer::Open { decision: name }),
            Ok(Ok(Some(answered))) => return Ok(answer(name, &answered)),
            Ok(Ok(None)) => {}
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => "0".clone_into(&mut version),
            Ok(Err(e @ kube::Error::Api(_))) => return Err(cluster.failure(e, right, Some(&cluster.namespace))),
            // The connection was lost: the answer may have come meanwhile.
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
        if let Some(read) = cluster.get::<CutoverDecision>(&cluster.namespace, &name).await? {
            if !read.is_open() {
                return Ok(answer(name, &read));
            }
            version = read.resource_version().unwrap_or_else(|| "0".to_owned());
        }
    }
}

fn answer(decision: String, answered: &CutoverDecision) -> Answer {
    let said = answered.status.as_ref().and_then(|s| s.result.clone()).unwrap_or_default();
    match words::counts(&said) {
        true => Answer::Accepted { decision, said },
        false => Answer::Refused { decision, said },
    }
}
