//! How long a decision stays: one that was answered goes with the run that it names, one that no run has goes by itself, and
//! a Rollback or an Abort that still waits stays.

use anyhow::{Context, ensure};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::{Cutover, CutoverRun, Phase, Verb};
use kube::ResourceExt;
use kube::api::DeleteParams;

use crate::harness::app::PEOPLE;
use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e, wait};

const HELD: &str =
    "phases: {prepare: {steps: [{name: hold, wait: {for: 5m}}]}}\nswitch: {timeout: 20s}\nhistoryLimit: 1\n";

/// Waits until a decision belongs to the run of this name and to nothing else.
async fn belongs(t: &Case, decision: &str, run: &str) -> anyhow::Result<()> {
    let uid = t.api::<CutoverRun>().get(run).await?.uid();
    wait::until(t.api::<CutoverDecision>(), &format!("{decision} belongs to {run}"), secs(20), |all| {
        let owners = all.get(decision).map(|d| d.owner_references()).unwrap_or_default();
        let [owner] = owners else { return Ok(None) };
        ensure!(owner.kind == "CutoverRun" && owner.name == run && Some(&owner.uid) == uid.as_ref(), "{owner:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until these are gone, and no others with them.
async fn gone(t: &Case, which: &[&str], others: &[&str]) -> anyhow::Result<()> {
    wait::until(t.api::<CutoverDecision>(), &format!("{which:?} are gone"), secs(60), |all| {
        ensure!(others.iter().all(|name| all.contains_key(*name)), "of {others:?} there are {:?}", all.keys());
        Ok(which.iter().all(|name| !all.contains_key(*name)).then_some(()))
    })
    .await
}

async fn say(t: &Case, verb: Verb) -> anyhow::Result<String> {
    t.decide_as(PEOPLE[0], PEOPLE[0], "shop", verb, None).await
}

#[test]
fn a_decision_goes_with_the_run_that_it_names() {
    e2e("kept_with_its_run", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", HELD).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        // Whether it counts or is refused, and by whomever it is answered: the run's driver, or a look at the Cutover.
        let refused = say(t, Verb::Rollback).await?;
        let counts = say(t, Verb::Abort).await?;
        for name in [&refused, &counts] {
            belongs(t, name, "shop-1").await?;
        }
        t.ends("shop", Phase::Aborted, 30).await?;
        let late = say(t, Verb::Suspend).await?;
        let retry = say(t, Verb::Retry).await?;
        for name in [&late, &retry] {
            belongs(t, name, "shop-1").await?;
        }
        ensure!(t.answer(&retry).await?.run.as_deref() == Some("shop-2"));
        t.run_until("shop", "the second run", secs(30), |run| {
            let found = run.name_any() == "shop-2";
            Ok((found && run.status.as_ref().is_some_and(|s| s.phase == Phase::Preparing)).then_some(()))
        })
        .await?;
        let second = say(t, Verb::Abort).await?;
        belongs(t, &second, "shop-2").await?;
        // The history holds one run: the first goes once the second is over, and what was said about it goes, too.
        gone(t, &[&refused, &counts, &late, &retry], &[&second]).await?;
        ensure!(!t.api::<CutoverRun>().list(&Default::default()).await?.iter().any(|run| run.name_any() == "shop-1"));
        t.ends("shop", Phase::Aborted, 30).await?;
        // With the Cutover goes its run, and with that the rest.
        t.api::<Cutover>().delete("shop", &DeleteParams::default()).await?;
        gone(t, &[&second], &[]).await
    });
}

#[test]
fn a_decision_that_no_run_has_goes_by_itself_and_one_that_leads_back_waits() {
    e2e("kept_for_a_while", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        // Not a day, but long enough to see that nothing goes before.
        t.arguments(&["--keep-decisions", "12s"]);
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", HELD).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        let elsewhere = CutoverDecisionSpec::about("shop", "no-such-run", Verb::Rollback, PEOPLE[0]);
        let nowhere = CutoverDecisionSpec::about("gone", "no-such-run", Verb::Abort, PEOPLE[0]);
        let (elsewhere, nowhere) = (t.say(PEOPLE[0], elsewhere).await?, t.say(PEOPLE[0], nowhere).await?);
        for name in [&elsewhere, &nowhere] {
            ensure!(t.answer(name).await?.result.unwrap_or_default().starts_with("refused"), "{name}");
        }
        // One that is as if it had been answered before there were owners.
        proxy.fail(|method, path| {
            let owner = *method == http::Method::PATCH && path.contains("/cutoverdecisions/");
            owner.then_some(Fault::Refuse(503))
        });
        let old = say(t, Verb::Suspend).await?;
        ensure!(t.answer(&old).await?.result.as_deref() == Some("accepted"));
        wait::poll("its owner is not written", secs(20), async || Ok((proxy.refused() > 0).then_some(()))).await?;
        // From now on no answer reaches a decision: what is said counts, and stands open.
        proxy.fail(|method, path| {
            let answer = *method == http::Method::PUT && path.contains("/cutoverdecisions/");
            answer.then_some(Fault::Refuse(503))
        });
        let silent = say(t, Verb::Resume).await?;
        let back = say(t, Verb::Abort).await?;
        t.phase("shop", Phase::Aborted, 60).await?;
        gone(t, &[&elsewhere, &nowhere, &silent], &[&back, &old]).await?;
        belongs(t, &old, "shop-1").await?;
        let all = t.api::<CutoverDecision>().list(&Default::default()).await?;
        let open = all.iter().find(|d| d.name_any() == back).context("the Abort")?;
        ensure!(open.is_open() && open.owner_references().is_empty(), "{open:?}");
        // Nothing went before its time, and nobody else did it.
        let deleted =
            t.audit()?.into_iter().filter(|l| l.resource == "cutoverdecisions" && l.verb == "delete" && l.done());
        let deleted: Vec<_> = deleted.map(|l| (l.name.clone(), l.sender.clone(), l.at)).collect();
        ensure!(deleted.len() == 3, "{deleted:?}");
        // Once it can be answered it is its run's; without the run it goes.
        proxy.heal();
        belongs(t, &back, "shop-1").await?;
        t.closed("shop", 60).await?;
        // Looking so often it is never at rest.
        t.stop().await
    });
}
