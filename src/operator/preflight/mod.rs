//! Start checks: what this operator needs of the cluster, asked at the start and again while it runs; said in the log and
//! as the reason for not being ready, with the remedy. Runs under way come to no harm: what this version cannot serve
//! takes its right to write away ([`Leadership`]), so that no step is begun, and a restore that is due is still made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use crate::act::call::CallError;
use crate::net::leadership::Leadership;

mod fields;
mod policies;
pub(crate) mod rights;
pub(crate) mod schema;

/// The first version that has all that is used: admission policies with variables and `authorizer`, and the selectable
/// field by which active runs are listed. The chart asks for the same.
pub(crate) const OLDEST: (u32, u32) = (1, 33);
/// How often is asked while something is amiss, and while nothing is.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How long the start may be held up by an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What something amiss means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It is said.
    Told,
    /// The operator is not ready, and goes on.
    NotReady,
    /// The operator is not ready, and writes nothing but a restore that is due.
    MayNotWrite,
}

/// Something amiss, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    /// What it is, and what to do.
    pub text: String,
}

impl Finding {
    fn new(weight: Weight, text: impl Into<String>) -> Self {
        Self { weight, text: text.into() }
    }
}

/// The checks, with what each of them found last: one that the API server does not answer keeps its former result.
pub struct Preflight {
    client: Client,
    rights: rights::Rights,
    schema: schema::Check,
    operator: String,
    health: Arc<Health>,
    leadership: Leadership,
    found: [Vec<Finding>; 4],
    told: BTreeSet<Finding>,
}

impl Preflight {
    /// Checks for the operator of this user name, in these namespaces (none: all), with its Lease there.
    pub fn new(
        client: Client,
        operator: &str,
        namespaces: &[String],
        lease: Option<&str>,
        health: Arc<Health>,
        leadership: Leadership,
    ) -> Self {
        Self {
            rights: rights::Rights::new(operator, namespaces, lease),
            schema: schema::Check::default(),
            operator: operator.into(),
            found: Default::default(),
            told: BTreeSet::new(),
            client,
            health,
            leadership,
        }
    }

    /// The first look, before anything is driven; it holds up the start for a few seconds at most.
    pub async fn first(&mut self) {
        if tokio::time::timeout(PATIENCE, self.look()).await.is_err() {
            tracing::warn!("the start checks have no answer yet; going on without");
        }
    }

    /// Looks again and again until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = if self.told.is_empty() { AGAIN.1 } else { AGAIN.0 };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let Self { client, schema, operator, rights, .. } = self;
        let (version, schema, policies, rights) =
            tokio::join!(version(client), schema.look(client), policies::look(client, operator), rights.look(client));
        for (slot, (check, result)) in self.found.iter_mut().zip([
            ("version", version),
            ("schema", schema),
            ("policies", policies),
            ("rights", rights),
        ]) {
            match result {
                Ok(found) => *slot = found,
                Err(e) => tracing::warn!(check, error = %e, "a start check has no answer"),
            }
        }
        self.tell();
    }

    fn tell(&mut self) {
        let now: BTreeSet<Finding> = self.found.iter().flatten().cloned().collect();
        for finding in now.difference(&self.told) {
            match finding.weight {
                Weight::Told => tracing::warn!("{}", finding.text),
                Weight::NotReady => tracing::error!("not ready: {}", finding.text),
                Weight::MayNotWrite => {
                    tracing::error!("not ready, and nothing is begun or recorded until it is fixed: {}", finding.text);
                }
            }
        }
        for finding in self.told.difference(&now) {
            tracing::info!("fixed: {}", finding.text);
        }
        let texts = |least: Weight| -> Option<String> {
            let list: Vec<&str> = now.iter().rev().filter(|f| f.weight >= least).map(|f| f.text.as_str()).collect();
            (!list.is_empty()).then(|| list.join("\n"))
        };
        self.leadership.unfit(texts(Weight::MayNotWrite));
        self.health.amiss(texts(Weight::NotReady));
        self.told = now;
    }
}

async fn version(client: &Client) -> Result<Vec<Finding>, CallError> {
    let info = crate::act::call::call(client.apiserver_version()).await?;
    Ok(too_old(&info.major, &info.minor).into_iter().collect())
}

/// Vendors write minor versions such as `33+`.
pub(crate) fn too_old(major: &str, minor: &str) -> Option<Finding> {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let (major_number, minor_number) = (number(major)?, number(minor)?);
    ((major_number, minor_number) < OLDEST).then(|| {
        let text = format!(
            "the API server is Kubernetes {major}.{minor}, and Cutover needs {}.{} or later (admission policies, selectable \
             fields of its runs): upgrade the cluster",
            OLDEST.0, OLDEST.1
        );
        Finding::new(Weight::MayNotWrite, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_too_old_is_told_from_a_vendors_way_to_write_versions() {
        assert_eq!(too_old("1", "33"), None);
        assert_eq!(too_old("1", "36+"), None);
        assert_eq!(too_old("2", "0"), None);
        assert_eq!(too_old("?", ""), None, "not known is not too old");
        let old = too_old("1", "32+").expect("too old");
        assert_eq!(old.weight, Weight::MayNotWrite);
        assert!(old.text.contains("1.32+") && old.text.contains("1.33"), "{}", old.text);
    }
}
