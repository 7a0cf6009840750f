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
         rules: [{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update]}}]\n\
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
        Operator::candidate(&self.ns, &kubeconfig, &self.dir.join(format!("{name}.log")), name)
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
