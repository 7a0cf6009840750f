//! What Git may do to a cutover, tried on the real cluster: every cell of `table` is a Cutover with a Service of its own.

mod git;
mod seen;
mod table;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use cutover::api::run::RunState;
use cutover::api::{CutoverRun, Phase, Verb};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;

use self::git::{Cell, Tools};
use self::seen::{All, Watching};
use self::table::{Does, How, Part, When};
use crate::harness::case::secs;
use crate::harness::{Case, ROOT, e2e};

/// What is at rest changes no more for so long.
const QUIET: Duration = secs(12);

/// One run: its phase, and why it ended.
fn told(run: &CutoverRun) -> String {
    let Some(status) = &run.status else { return "new".into() };
    let open = if status.state == RunState::Closed { "" } else { "still " };
    match &status.ending {
        Some(ending) => format!("{open}{} ({})", status.phase, ending.reason),
        None => format!("{open}{}", status.phase),
    }
}

/// Whether everything of a Cutover is at rest, how its runs ended, and where its Service went.
fn look(all: &All, name: &str) -> (bool, (String, String)) {
    let runs = all.runs_of(name);
    let mut way = all.ways.get(name).map(|w| w.join(" → ")).unwrap_or_default();
    let Some(cutover) = all.cutovers.get(name) else { return (runs.is_empty(), ("gone".into(), way)) };
    let rests = runs.iter().all(|r| r.status.as_ref().is_some_and(|s| s.state == RunState::Closed));
    let conditions = cutover.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let stands = |type_: &str| conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
    let seen = cutover.status.as_ref().and_then(|s| s.observed_generation) == cutover.metadata.generation;
    if stands("SelectorDrift") {
        way.push_str(", SelectorDrift");
    }
    let text: Vec<String> = runs.iter().map(|r| told(r)).collect();
    let quiet = rests && seen && !stands("Reconciling") && cutover.metadata.deletion_timestamp.is_none();
    (quiet, (text.join(", "), way))
}

async fn phase(t: &Case, seen: &Watching, name: &str, phase: Phase) -> Result<()> {
    let what = format!("{name} {phase}");
    seen.until(&what, secs(90), |all| {
        t.alive()?;
        let runs = all.runs_of(name);
        let Some(status) = runs.last().and_then(|r| r.status.as_ref()) else { return Ok(None) };
        let lost = status.phase.is_over() || (status.phase == Phase::Completed && phase != Phase::Completed);
        ensure!(status.phase == phase || !lost, "{what}: it is {}: {:?}", status.phase, status.ending);
        let there = status.phase == phase && (phase != Phase::Completed || status.state == RunState::Closed);
        Ok(there.then_some(()))
    })
    .await
}

/// Plays one cell: Git before, Git with the release, and at its time what Git does then.
async fn play(t: &Case, tools: &Tools, seen: &Watching, cell: &Cell) -> Result<(String, String)> {
    let name = cell.name();
    ensure!(git::apply(t, tools, cell, &cell.before()?).await?, "Git before the release was refused");
    git::first_selector(t, cell).await?;
    seen.until(&format!("{name} idle"), secs(60), |all| {
        let conditions = all.cutovers.get(&name).and_then(|c| c.status.as_ref()).map(|s| s.conditions.as_slice());
        Ok(conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
    })
    .await?;
    ensure!(git::apply(t, tools, cell, &cell.release()?).await?, "Git with the release was refused");
    match cell.when {
        When::Before => phase(t, seen, &name, Phase::Verifying).await?,
        When::Observing => phase(t, seen, &name, Phase::Observing).await?,
        When::RollingBack => {
            phase(t, seen, &name, Phase::Observing).await?;
            t.decide(&name, Verb::Rollback).await?;
            phase(t, seen, &name, Phase::RollingBack).await?;
            seen.until(&format!("{name} restored"), secs(20), |all| {
                Ok(all.ways.get(&name).filter(|way| way.len() == 3).map(|_| ()))
            })
            .await?;
        }
        When::Completed => phase(t, seen, &name, Phase::Completed).await?,
    }
    let mut refused = !git::then(t, tools, cell).await?;
    // Again and again, and some more once nothing moves.
    let (mut pace, mut more) = (tokio::time::interval(secs(if cell.how == How::Client { 5 } else { 2 })), 3);
    let end = tokio::time::Instant::now() + secs(60);
    while cell.heals && more > 0 && tokio::time::Instant::now() < end {
        pace.tick().await;
        if cell.does != Does::Prune || seen.now().cutovers.contains_key(&name) {
            refused |= !git::then(t, tools, cell).await?;
        }
        more -= usize::from(look(&seen.now(), &name).0);
    }
    let (_, (runs, mut way)) = seen.settled(QUIET, secs(60), |all| look(all, &name)).await;
    if cell.does == Does::Replicas
        && let Some(side) = way.split(" → ").last()
    {
        let deployment = t.api::<Deployment>().get(&format!("{}-{side}", cell.app())).await?;
        if deployment.status.and_then(|s| s.available_replicas).unwrap_or(0) == 0 {
            way.push_str(", without a pod");
        }
    }
    Ok((if refused { format!("{runs}; Git is refused") } else { runs }, way))
}

/// Plays cells beside each other, and compares what came of each with the table.
async fn all(t: &Case, parts: &[Part], cells: &[Cell]) -> Result<()> {
    let tools = Tools::find().await?;
    let seen = Watching::start(t);
    let plays = cells.iter().map(|cell| {
        let (tools, seen) = (&tools, &seen);
        async move { (cell, play(t, tools, seen, cell).await) }
    });
    // What a tool does must come while the run still holds, and what follows within the quiet time.
    let beside = 12;
    let came: Vec<_> = futures::stream::iter(plays).buffer_unordered(beside).collect().await;
    let mut wrong = vec![];
    for (cell, came) in came {
        let came = match came {
            Ok((runs, way)) => format!("{runs}: {way}"),
            Err(why) => format!("error: {why:#}"),
        };
        let rows = parts.iter().filter(|p| p.does == cell.does).flat_map(|p| &p.cells);
        let wanted = rows.filter(|r| r.when == cell.when).map(|r| r.of(cell.how, cell.heals)).next();
        let wanted = wanted.unwrap_or_default();
        if !wanted.split(" or ").any(|one| one == came) {
            wrong.push(format!("{}: {came} (in place of: {wanted})", cell.name()));
        }
    }
    wrong.sort();
    ensure!(
        wrong.is_empty(),
        "{} of {} cells are not as table.yaml says:\n{}",
        wrong.len(),
        cells.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// The cells of a tool; those that heal by themselves do so again and again as well.
fn cells(parts: &[Part], how: How) -> Vec<Cell> {
    let heals = if matches!(how, How::Helm3 | How::Helm4) { &[false][..] } else { &[false, true][..] };
    let each = parts.iter().flat_map(|p| p.cells.iter().map(|row| (p.does, row.when)));
    each.flat_map(|(does, when)| heals.iter().map(move |&heals| Cell { does, when, how, heals })).collect()
}

#[test]
fn what_git_does_in_the_middle_of_a_cutover_comes_out_as_the_page_says() {
    e2e("gitops_slice", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let parts = table::read(Path::new(ROOT));
        let slice = |c: &Cell| match c.how {
            How::Argo => c.heals && c.does != Does::Replicas,
            How::Client => !c.heals && c.when == When::Observing && c.does != Does::Replicas,
            How::Helm4 => c.does == Does::Selector && c.when == When::Observing,
            How::Flux | How::Helm3 => false,
        };
        let mut slice_of: Vec<Cell> = [How::Argo, How::Client, How::Helm4].map(|how| cells(&parts, how)).concat();
        slice_of.retain(slice);
        all(t, &parts, &slice_of).await
    });
}

/// `CUTOVER_MATRIX` names a part of it, such as `replicas-observing`.
#[test]
#[ignore = "night: every cell of the matrix"]
fn every_cell_of_the_matrix_comes_out_as_the_page_says() {
    e2e("gitops_matrix", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let parts = table::read(Path::new(ROOT));
        let only = std::env::var("CUTOVER_MATRIX").unwrap_or_default();
        let mut wrong = vec![];
        for how in [How::Argo, How::Flux, How::Client, How::Helm3, How::Helm4] {
            let mut of = cells(&parts, how);
            of.retain(|cell| cell.name().contains(&only));
            wrong.extend(all(t, &parts, &of).await.err().map(|why| format!("{why:#}")));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    });
}
