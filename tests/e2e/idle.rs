//! P7: an idle Cutover costs no request, also when it is touched and when the operator starts anew.

use anyhow::{Result, ensure};
use cutover::api::{Cutover, Phase};
use serde_json::json;

use super::harness::case::secs;
use super::harness::{Case, audit, cluster, e2e, wait};

const CROWD: usize = 30;

/// Waits until a Cutover is idle.
async fn idle(case: &Case, name: &str) -> Result<()> {
    wait::until(case.api::<Cutover>(), &format!("{name} idle"), secs(30), |all| {
        case.alive()?;
        let phase = all.get(name).and_then(|c| c.status.as_ref()).and_then(|s| s.phase);
        Ok((phase == Some(Phase::Idle)).then_some(()))
    })
    .await
}

/// Nothing was asked about the crowd since `from`, but for lists and watches of all.
fn nothing_asked(case: &Case, from: u64, when: &str) -> Result<()> {
    let lines = audit::read(&case.ns, from)?;
    let ours = lines.iter().filter(|l| l.sender == cluster::operator_user());
    let about: Vec<_> = ours.filter(|l| l.name.starts_with("idle-")).map(|l| (&l.verb, &l.resource, &l.name)).collect();
    ensure!(about.is_empty(), "P7, {when}: {about:?}");
    Ok(())
}

#[test]
fn idle_cutovers_cost_no_request() {
    e2e("idle", async |case| {
        case.web().await?;
        case.start().await?;
        for n in 0..CROWD {
            case.cutover(&format!("idle-{n}"), "{activate: blue}").await?;
        }
        for n in 0..CROWD {
            idle(case, &format!("idle-{n}")).await?;
        }
        // The account of what it did is complete once something later has been answered.
        case.cutover("marker-0", "{activate: blue}").await?;
        idle(case, "marker-0").await?;

        let from = audit::end();
        for n in 0..CROWD {
            case.merge::<Cutover>(&format!("idle-{n}"), json!({"metadata": {"labels": {"touched": "yes"}}})).await?;
        }
        case.cutover("marker-1", "{activate: blue}").await?;
        idle(case, "marker-1").await?;
        nothing_asked(case, from, "touched")?;

        let from = audit::end();
        case.crash()?;
        case.cutover("marker-2", "{activate: blue}").await?;
        idle(case, "marker-2").await?;
        nothing_asked(case, from, "after a restart")?;

        // And the account is not empty for want of lines: a look at a marker is in it.
        let lines = audit::read(&case.ns, from)?;
        ensure!(lines.iter().any(|l| l.verb == "get" && l.name == "marker-2" && l.sender == cluster::operator_user()));
        Ok(())
    });
}
