//! The operator cannot read everything live: it says what and why, claims no switch, and gives up in its time (P10).

use anyhow::ensure;
use cutover::api::condition::reasons;
use cutover::api::{CutoverRun, Phase};

use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e, wait};

/// A list of pods that is no part of a watch.
fn lists_pods(method: &http::Method, path: &str) -> Option<Fault> {
    let list = path.contains("/pods?") || path.ends_with("/pods");
    let watch = path.contains("watch=") || path.contains("limit=");
    (*method == http::Method::GET && list && !watch).then_some(Fault::Refuse(403))
}

#[test]
fn a_switch_for_which_nothing_can_be_read_says_so_and_is_given_up() {
    e2e("unread_at_the_switch", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let spec = "phases: {verify: {steps: [{name: hold, wait: {for: 5s}}]}}\nswitch: {timeout: 20s}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        proxy.fail(lists_pods);
        wait::until(t.api::<CutoverRun>(), "a wait that is explained", secs(60), |all| {
            let waiting = |run: &CutoverRun| run.status.as_ref()?.waiting.clone();
            Ok(all.values().find_map(waiting).filter(|why| why.contains("cannot be read") && why.contains("pods")))
        })
        .await?;
        let run = t.phase("shop", Phase::Failed, 60).await?;
        let ending = run.status.and_then(|status| status.ending);
        ensure!(ending.as_ref().is_some_and(|e| e.reason == reasons::CLUSTER_UNREADABLE), "{ending:?}");
        proxy.heal();
        t.ends("shop", Phase::Failed, 30).await?;
        ensure!(t.selector_writes("web")?.is_empty(), "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}
