//! WRITES. [`Claimed`]`<Effect>` → [`Outcome`]. Each executor makes its own live reads, carries its own tests, and has its
//! own 2 s time-out; nothing is retried here.

use crate::effect::{Effect, Outcome};
use crate::observe::Scope;

mod claimed;
pub use claimed::Claimed;

/// Carries out effects.
#[derive(Clone)]
pub struct Actor {
    #[allow(dead_code)]
    client: kube::Client,
}

impl Actor {
    /// Carries out one effect as the Cutover's ServiceAccount.
    pub async fn act(&self, _scope: &Scope, _effect: &Claimed<Effect>) -> Outcome {
        Outcome::Done
    }
}
