//! How every test ends: the operator comes to rest, and then all promises are checked that can be seen from outside.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover::api::run::{RunState, Selector};
use cutover::api::{Cutover, CutoverDecision, CutoverRun};
use cutover::plan::Plan;
use k8s_openapi::api::core::v1::{Event, Secret, Service};
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use super::audit::{self, Line};
use super::case::{Case, secs};
use super::{promises, wait};

/// What is at rest asks for nothing for so long.
const QUIET: Duration = secs(2);
/// A value of a Secret that is shorter stands elsewhere by accident.
const SHORTEST_SECRET: usize = 8;

impl Case {
    /// Checks the promises over everything that the test did. `e2e` calls it for every test: none can leave it out.
    pub async fn finish(&self) -> Result<()> {
        self.rest().await?;
        let lines = self.audit()?;
        promises::check(&lines)?;
        self.valid_sides(&lines).await?;
        self.no_secret(&lines).await
    }

    /// P7: where everything is closed the operator asks for nothing any more, watches apart.
    async fn rest(&self) -> Result<()> {
        let all = ListParams::default();
        let runs = self.api::<CutoverRun>().list(&all).await?;
        let closed = |r: &CutoverRun| r.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
        let idle = |c: &Cutover| {
            let conditions = c.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
            c.metadata.deletion_timestamp.is_none()
                && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let cutovers = self.api::<Cutover>().list(&all).await?;
        if !self.runs() || runs.items.is_empty() || !runs.iter().all(closed) || !cutovers.iter().all(idle) {
            return Ok(());
        }
        let from = audit::end();
        let (mut asked, mut since, mut last) = (0, Instant::now(), None);
        wait::poll("P7: no request for 2 s once all runs are closed", secs(20), async || {
            let mut lines = audit::read(&self.ns, from)?;
            lines.retain(|l| l.sender == promises::OPERATOR && l.verb != "watch" && l.resource != "leases");
            if lines.len() > asked {
                (asked, since) = (lines.len(), Instant::now());
                last = lines.last().map(|l| format!("{} {} {}", l.verb, l.resource, l.name));
            }
            Ok((since.elapsed() >= QUIET).then_some(()))
        })
        .await
        .with_context(|| format!("the last one was {last:?}"))
    }

    /// P11: a Service that only the operator pointed somewhere names one of the two sides of a plan.
    async fn valid_sides(&self, lines: &[Line]) -> Result<()> {
        let all = ListParams::default();
        let plans = self.api::<CutoverRun>().list(&all).await?;
        let plans: Vec<Plan> = plans.iter().filter_map(|r| serde_json::from_value(r.spec.plan.clone()).ok()).collect();
        for service in self.api::<Service>().list(&all).await? {
            let name = service.name_any();
            let selector: Selector = service.spec.and_then(|s| s.selector).unwrap_or_default();
            let mut of = plans.iter().filter(|p| p.services.contains(&name)).peekable();
            let ours = lines.iter().rfind(|l| l.resource == "services" && l.name == name && l.is_write() && l.done());
            if of.peek().is_none() || ours.is_none_or(|l| l.sender != promises::OPERATOR) {
                continue;
            }
            let names = |side: &Selector| side.iter().all(|(k, v)| selector.get(k) == Some(v));
            let valid = of.any(|p| names(&p.old.selector) != names(&p.target.selector));
            ensure!(valid, "P11: Service {name} points to {selector:?}, which is no side");
        }
        Ok(())
    }

    /// P9: the values of Secrets are in no object, no Event, no line of a log and no request of the operator.
    async fn no_secret(&self, lines: &[Line]) -> Result<()> {
        let all = ListParams::default();
        let mut secrets: BTreeSet<String> = self.secrets();
        for secret in self.api::<Secret>().list(&all).await? {
            let values = secret.data.into_iter().flatten().filter_map(|(_, value)| String::from_utf8(value.0).ok());
            secrets.extend(values);
        }
        secrets.retain(|value| value.len() >= SHORTEST_SECRET);
        // So tests call values that must be nowhere.
        secrets.insert("canary-".into());
        fn text(objects: &impl Serialize) -> Result<String> {
            Ok(serde_json::to_string(objects)?)
        }
        let mut texts = vec![
            ("the Cutovers' status".to_owned(), text(&statuses(self.api::<Cutover>().list(&all).await?.items))?),
            ("the CutoverRuns".to_owned(), text(&self.api::<CutoverRun>().list(&all).await?.items)?),
            ("the CutoverDecisions".to_owned(), text(&self.api::<CutoverDecision>().list(&all).await?.items)?),
            ("the Events".to_owned(), text(&self.api::<Event>().list(&all).await?.items)?),
        ];
        for file in std::fs::read_dir(&self.dir)?.filter_map(|entry| Some(entry.ok()?.path())) {
            if file.extension().is_some_and(|e| e == "log") {
                texts.push((file.display().to_string(), String::from_utf8_lossy(&std::fs::read(&file)?).into_owned()));
            }
        }
        // Every journal that ever was among them, and the Jobs.
        for line in lines.iter().filter(|l| l.sender == promises::OPERATOR && !l.body.is_null()) {
            texts
                .push((format!("{} {} {} at {}", line.verb, line.resource, line.name, line.at), line.body.to_string()));
        }
        let leak = promises::leak(&texts, &secrets);
        ensure!(leak.is_none(), "P9: the value of a Secret is in {}", leak.unwrap_or_default());
        Ok(())
    }
}

/// A spec says what its author wrote.
fn statuses(cutovers: Vec<Cutover>) -> Vec<cutover::api::CutoverStatus> {
    cutovers.into_iter().filter_map(|c| c.status).collect()
}
