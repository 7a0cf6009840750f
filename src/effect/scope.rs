//! As whom reads and effects are carried out.

use crate::api::prometheus::Prometheus;

/// Whose eyes: namespace, account and where metrics come from.
#[derive(Clone, Debug)]
pub struct RunScope {
    pub namespace: String,
    /// The ServiceAccount that Secret reads and dry runs are made as.
    pub service_account: String,
    /// Where metrics come from, as the plan has it.
    pub prometheus: Option<Prometheus>,
    /// The run's name.
    pub run: String,
    /// The run's uid.
    pub run_uid: String,
}
