//! What every end-to-end test stands on: a namespace with rights and a sample application, an operator process, bounded
//! waits, and a full account of what happened when a test fails. Talks to the cluster that `KUBECONFIG` names.

pub mod app;
pub mod audit;
pub mod candidate;
pub mod case;
pub mod cluster;
pub mod counted;
pub mod decisions;
pub mod definitions;
pub mod finish;
pub mod operator;
pub mod plugin;
pub mod promises;
#[cfg(test)]
mod promises_tests;
pub mod proxy;
pub mod receivers;
pub mod record;
pub mod remote_write;
pub mod report;
pub mod road;
pub mod seen;
pub mod tmux;
pub mod usage;
pub mod wait;
pub mod watching;
pub mod webhook;

use std::panic::AssertUnwindSafe;
use std::sync::{Condvar, Mutex, PoisonError};

use futures::FutureExt;

pub use case::Case;

/// The repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Tests that run at a time, whatever more `--test-threads` says. They wait most of the time.
#[derive(Default)]
struct Seats {
    taken: usize,
    /// Tests that wait until nobody else runs: no other one begins before them.
    alone: usize,
}

static SEATS: Mutex<Seats> = Mutex::new(Seats { taken: 0, alone: 0 });
static FREE: Condvar = Condvar::new();

/// A place among the tests that run; all of them for a test that runs alone.
struct Seat(usize);

impl Seat {
    fn take(alone: bool) -> Self {
        let most = std::env::var("CUTOVER_E2E_PARALLEL").ok().and_then(|n| n.parse().ok()).unwrap_or(4).max(1);
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        seats.alone += usize::from(alone);
        let full = |s: &mut Seats| if alone { s.taken > 0 } else { s.taken >= most || s.alone > 0 };
        seats = FREE.wait_while(seats, full).unwrap_or_else(PoisonError::into_inner);
        seats.alone -= usize::from(alone);
        let taken = if alone { most } else { 1 };
        seats.taken += taken;
        Self(taken)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        SEATS.lock().unwrap_or_else(PoisonError::into_inner).taken -= self.0;
        FREE.notify_all();
    }
}

/// Runs a test during which no other one runs, since it takes parts of the cluster away.
pub fn alone<F>(name: &str, body: F)
where
    F: AsyncFnOnce(&Case) -> anyhow::Result<()>,
{
    run(name, true, body);
}

/// Runs one test in a namespace of its own, which is deleted at the end; a failure prints what is known.
pub fn e2e<F>(name: &str, body: F)
where
    F: AsyncFnOnce(&Case) -> anyhow::Result<()>,
{
    run(name, false, body);
}

fn run<F>(name: &str, alone: bool, body: F)
where
    F: AsyncFnOnce(&Case) -> anyhow::Result<()>,
{
    if std::env::var("CUTOVER_E2E").is_ok_and(|v| v == "skip") {
        eprintln!("{name}: skipped, since CUTOVER_E2E=skip");
        return;
    }
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG is not set: run the end-to-end tests inside the test cluster \
         (tests/cluster/cluster exec cargo test --test e2e), or set CUTOVER_E2E=skip"
    );
    let _seat = Seat::take(alone);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a tokio runtime");
    runtime.block_on(async {
        let began = std::time::Instant::now();
        let case = Case::new(name).await.expect("a namespace for the test");
        let result = AssertUnwindSafe(body(&case)).catch_unwind().await;
        let failure = match result {
            // Whatever the test looked at itself.
            Ok(Ok(())) => case.finish().await.err().map(|error| format!("in the end: {error:#}")),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(panic) => Some(
                panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                    .unwrap_or_else(|| "panicked".into()),
            ),
        };
        if let Some(why) = &failure {
            eprintln!("{}", report::of(&case, why).await);
        }
        let keep = failure.is_some() && std::env::var("CUTOVER_E2E_KEEP").is_ok();
        let cleaned = if keep { Ok(()) } else { case.remove().await };
        eprintln!("{name}: {:.1} s", began.elapsed().as_secs_f64());
        if let Some(why) = failure {
            panic!("{name}: {why}");
        }
        cleaned.expect("the namespace is released at the end of the test");
    });
}
