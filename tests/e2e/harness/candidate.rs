//! Several operators on one Lease, in the test's own namespace.

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use super::audit::Line;
use super::case::secs;
use super::cluster::{self, OPERATOR, SYSTEM};
use super::operator::Operator;
use super::{Case, wait};

/// What the operator may do in its own namespace, here granted in the test's.
fn rights() -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: lease}}\n\
         rules: [{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch]}}]\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: lease}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: lease}}\n\
         subjects: [{{kind: ServiceAccount, name: {OPERATOR}, namespace: {SYSTEM}}}]\n"
    )
}

impl Case {
    /// Starts one of several operators, through another address of the API server where one is named.
    pub async fn candidate(&self, name: &str, server: Option<&str>) -> Result<Operator> {
        self.apply(&rights()).await?;
        let kubeconfig = self.dir.join(format!("kubeconfig-{name}"));
        std::fs::write(&kubeconfig, cluster::operator_kubeconfig(&self.client, server).await?)?;
        Operator::candidate(&self.ns, &kubeconfig, &self.dir.join(format!("{name}.log")), name, &self.given())
    }

    /// Starts an operator that acts as another account than the operator's own.
    pub async fn operator_as(&self, name: &str, account: &str) -> Result<Operator> {
        let kubeconfig = self.dir.join(format!("kubeconfig-{name}"));
        std::fs::write(&kubeconfig, cluster::kubeconfig_of(&self.client, &self.ns, account, None).await?)?;
        Operator::candidate(&self.ns, &kubeconfig, &self.dir.join(format!("{name}.log")), name, &self.given())
    }

    /// What `/readyz` of an operator of this name says; `None` where it does not serve yet. The only one is `operator`.
    pub async fn readiness(&self, name: &str) -> Result<Option<(u16, String)>> {
        self.health(name, "readyz").await
    }

    /// What `/readyz` or `/livez` of an operator of this name says; `None` where it does not serve yet.
    pub async fn health(&self, name: &str, which: &str) -> Result<Option<(u16, String)>> {
        let log = self.log_of(name)?;
        let Some(address) = log.split_once("listen=Ok(").and_then(|(_, rest)| rest.split(')').next()) else {
            return Ok(None);
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let Ok(answer) = http.get(format!("http://{address}/{which}")).send().await else { return Ok(None) };
        Ok(Some((answer.status().as_u16(), answer.text().await?)))
    }

    /// Waits until an operator of this name is not ready, for a reason that says all of this.
    pub async fn not_ready(&self, name: &str, says: &[&str]) -> Result<()> {
        wait::poll(&format!("{name} is not ready: {says:?}"), secs(30), async || {
            let said = self.readiness(name).await?;
            Ok(said.filter(|(code, text)| *code == 503 && says.iter().all(|s| text.contains(s))).map(|_| ()))
        })
        .await
    }

    /// Waits until an operator of this name is ready.
    pub async fn ready(&self, name: &str) -> Result<()> {
        wait::poll(&format!("{name} is ready"), secs(30), async || {
            Ok(self.readiness(name).await?.filter(|(code, _)| *code == 200).map(|_| ()))
        })
        .await
    }

    /// Waits until an operator of this name holds the Lease; "" waits until nobody does.
    pub async fn leads(&self, name: &str, bound: u64) -> Result<()> {
        wait::until(self.api::<Lease>(), &format!("{name} leads"), secs(bound), |all| {
            let lease = all.values().find(|l| l.name_any() == "cutover-operator");
            let holder = lease.and_then(|l| l.spec.as_ref()?.holder_identity.as_deref()).unwrap_or_default();
            let (pod, _) = holder.rsplit_once('_').unwrap_or_default();
            Ok((lease.is_some() && pod == name).then_some(()))
        })
        .await
    }

    /// What an operator of this name has logged.
    pub fn log_of(&self, name: &str) -> Result<String> {
        let path = self.dir.join(format!("{name}.log"));
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Writes that an operator of this name sent and that concern more than the Lease or an Event.
    pub fn writes_of(&self, name: &str) -> Result<Vec<Line>> {
        let mut lines = self.audit()?;
        let end = format!("({name})");
        lines
            .retain(|l| l.is_write() && l.agent.ends_with(&end) && !matches!(l.resource.as_str(), "leases" | "events"));
        Ok(lines)
    }
}
