//! The proof that an intent was written before it is carried out.

/// An effect whose claim is written. Only the pilot of a run makes one, once its record is written or, for a
/// restore, from the switch's; outside this crate none can be made:
///
/// ```compile_fail
/// let forged = cutover::effect::Claimed(cutover::effect::Effect::StartJob { name: "x".into(), uid: "y".into() });
/// ```
#[derive(Clone, Debug)]
pub struct Claimed<T>(T);

impl<T> Claimed<T> {
    /// For `pilot::run` alone (a test of the layout sees to it).
    pub(crate) fn written(effect: T) -> Self {
        Self(effect)
    }

    /// What was claimed.
    pub fn get(&self) -> &T {
        &self.0
    }
}
