//! The phases of a run (DESIGN: lifecycle).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a Cutover or a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing to do: the live side is the wanted one.
    Idle,
    /// Services claimed; the window or an earlier run is awaited.
    #[default]
    Pending,
    /// Read-only gates.
    Preflight,
    /// Ordered steps that change things.
    Preparing,
    /// The target is checked before any user sees it.
    Verifying,
    /// Selectors are patched and the endpoints converge.
    Switching,
    /// Smoke through the live Service.
    Confirming,
    /// The window in which triggers are watched.
    Observing,
    /// Steps after a good observation.
    Finishing,
    /// The release is live; follow-ups and retirement may still come.
    Completed,
    /// Selectors first, then undos in reverse order, then the rollback's own steps.
    RollingBack,
    /// Over: the old side is live again.
    RolledBack,
    /// Over: failed before the switch; nothing was switched.
    Failed,
    /// Over: called off before the switch.
    Aborted,
    /// Over: a newer release took its place before the switch.
    Superseded,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 15] = [
        Self::Idle,
        Self::Pending,
        Self::Preflight,
        Self::Preparing,
        Self::Verifying,
        Self::Switching,
        Self::Confirming,
        Self::Observing,
        Self::Finishing,
        Self::Completed,
        Self::RollingBack,
        Self::RolledBack,
        Self::Failed,
        Self::Aborted,
        Self::Superseded,
    ];

    /// Whether no step, switch or rollback of the run can follow.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::RolledBack | Self::Failed | Self::Aborted | Self::Superseded)
    }
    /// Whether users may be on the target: from the first selector write until the end.
    pub const fn after_switch(self) -> bool {
        matches!(self, Self::Switching | Self::Confirming | Self::Observing | Self::Finishing | Self::Completed)
    }
    /// Whether the run is on its way to a switch.
    pub const fn before_switch(self) -> bool {
        matches!(self, Self::Pending | Self::Preflight | Self::Preparing | Self::Verifying)
    }
    /// The name as printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Pending => "Pending",
            Self::Preflight => "Preflight",
            Self::Preparing => "Preparing",
            Self::Verifying => "Verifying",
            Self::Switching => "Switching",
            Self::Confirming => "Confirming",
            Self::Observing => "Observing",
            Self::Finishing => "Finishing",
            Self::Completed => "Completed",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
            Self::Superseded => "Superseded",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
