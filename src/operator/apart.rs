//! Parts of the operator on a thread and a runtime of their own: what has to be in time whatever the drivers do, such as the
//! renewal of the Lease. A connection belongs to the runtime that made it, so such a part has its own.
//!
//! Such a part would live on when the runtime of the drivers stands still, and would keep the Lease for a process that does
//! nothing with it. So that runtime has a pulse, and the process ends when it is gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

/// How often the runtime of the drivers says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Beats that may be missed: many more than the busiest machine makes a runtime miss.
const MISSED: u32 = 15;

/// Begins a part; what it returns, or nothing if it panicked, ends the wait for it.
///
/// # Errors
/// The system gives no thread or no runtime.
pub(super) fn begin<T, F>(name: &str, part: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<oneshot::Receiver<T>>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.with_context(|| format!("a runtime for {name}"))?;
    let (tell, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let work = move || {
        // Nobody waits for a part while the process ends.
        drop(tell.send(runtime.block_on(part())));
    };
    thread.spawn(work).with_context(|| format!("a thread for {name}"))?;
    Ok(ended)
}

/// Whether the runtime of the drivers lives.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Beats forever, on the runtime that this is about.
    pub(super) async fn beat(self) {
        loop {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Ends once the pulse is gone; on another runtime. What counts is this side's own time: a process that was stopped as a
    /// whole has missed nothing.
    pub(super) async fn gone(self) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut missed) = (0, 0);
        while missed <= MISSED {
            ticks.tick().await;
            let beats = self.0.load(Ordering::Relaxed);
            missed = if beats == heard { missed + 1 } else { 0 };
            heard = beats;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_goes_on_while_the_runtime_that_began_it_stands_still() {
        let (tell, told) = std::sync::mpsc::channel();
        let ended = begin("test", move || async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(()).ok();
            7
        });
        let ended = ended.expect("a thread");
        // The only thread of this runtime waits here.
        told.recv().expect("the part went on");
        assert_eq!(ended.await, Ok(7));
        let broken = begin("broken", || async { panic!("no") }).expect("a thread");
        assert!(Result::<(), _>::is_err(&broken.await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_is_gone_when_it_has_missed_many_beats() {
        let pulse = Pulse::default();
        let beats = tokio::spawn(pulse.clone().beat());
        let mut gone = std::pin::pin!(pulse.gone());
        assert!(tokio::time::timeout(BEAT * MISSED * 4, gone.as_mut()).await.is_err(), "it lives");
        beats.abort();
        assert!(tokio::time::timeout(BEAT * (MISSED + 4), gone).await.is_ok());
    }
}
