//! What the manager of drivers tells the controller of runs: the latest of each. Neither waits for the other, and no more is
//! kept than there are runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use tokio::sync::Notify;

use super::manager::RunSeen;

#[derive(Default)]
struct State {
    /// By uid.
    runs: BTreeMap<String, RunSeen>,
    listed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that tells.
pub struct Tell(Arc<Shared>);

/// The end that hears.
pub struct Told(Arc<Shared>);

/// Both ends.
pub(crate) fn told() -> (Tell, Told) {
    let shared = Arc::<Shared>::default();
    (Tell(shared.clone()), Told(shared))
}

impl Tell {
    /// Tells what was seen of a run, instead of what was told of it and not heard yet.
    pub fn tell(&self, seen: RunSeen) {
        let mut state = self.0.state();
        match &seen {
            RunSeen::Active(run) | RunSeen::Left(run) => {
                state.runs.insert(run.uid().unwrap_or_default(), seen);
            }
            RunSeen::Listed => state.listed = true,
        }
        drop(state);
        self.0.bell.notify_one();
    }
}

impl Told {
    /// Waits for news, and gives all of it. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Vec<RunSeen> {
        loop {
            let State { runs, listed } = std::mem::take(&mut *self.0.state());
            if !runs.is_empty() || listed {
                return runs.into_values().chain(listed.then_some(RunSeen::Listed)).collect();
            }
            self.0.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::run::CutoverRun;

    fn run(uid: &str, version: u32) -> Arc<CutoverRun> {
        let json = serde_json::json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun",
            "metadata": {"name": "shop-1", "uid": uid, "resourceVersion": version.to_string()},
            "spec": {"cutover": "shop", "cutoverUID": "c", "planVersion": 2, "plan": {}}});
        Arc::new(serde_json::from_value(json).expect("a run"))
    }

    fn said(all: &[RunSeen]) -> Vec<String> {
        let one = |seen: &RunSeen| match seen {
            RunSeen::Active(run) => format!("active {}", run.resource_version().unwrap_or_default()),
            RunSeen::Left(run) => format!("left {}", run.resource_version().unwrap_or_default()),
            RunSeen::Listed => "listed".into(),
        };
        all.iter().map(one).collect()
    }

    #[tokio::test]
    async fn nobody_waits_for_one_that_does_not_listen_and_it_hears_the_latest_of_each_run() {
        let (tell, mut told) = told();
        for version in 0..10_000 {
            tell.tell(RunSeen::Active(run("a", version)));
        }
        tell.tell(RunSeen::Listed);
        tell.tell(RunSeen::Active(run("b", 5)));
        tell.tell(RunSeen::Left(run("b", 6)));
        assert_eq!(said(&told.next().await), ["active 9999", "left 6", "listed"]);
        tell.tell(RunSeen::Left(run("a", 10_000)));
        assert_eq!(said(&told.next().await), ["left 10000"]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_until_there_is_news() {
        let (tell, mut told) = told();
        tell.tell(RunSeen::Listed);
        told.next().await;
        let quiet = tokio::time::timeout(std::time::Duration::from_secs(60), told.next()).await;
        assert!(quiet.is_err(), "no news");
        let news = async { tokio::join!(told.next(), async { tell.tell(RunSeen::Listed) }).0 };
        let heard = tokio::time::timeout(std::time::Duration::from_secs(60), news).await;
        assert_eq!(said(&heard.expect("news end the wait")), ["listed"]);
    }
}
