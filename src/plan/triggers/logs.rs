//! PURE. `logs` as a trigger: whose lines.

use crate::api::trigger::{LogsTrigger, Watched};
use crate::plan::actions::logs;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::TriggerRule;

impl TriggerRule for LogsTrigger {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        Watched::Logs(Self { logs: logs::of_trigger(&self.logs, at, cx.refusals), ..self.clone() })
    }
}
