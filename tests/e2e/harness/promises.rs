//! What the API server's audit log says of the promises (DESIGN §8), over everything that ever was in a namespace: P1
//! (Jobs), P3 and P4 (selectors), P7 (what is closed writes nothing), P8 (journal and audit log agree).
//!
//! The bodies of status writes are in the log, so that runs which are long gone are judged like those which are there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use cutover::api::Phase;
use cutover::api::run::{JobRecord, RunState, RunStatus, Selector, SwitchState};
use serde_json::Value;

use super::audit::Line;

/// Who sends every request of the operator, whomever it acts as.
pub const OPERATOR: &str = "system:serviceaccount:cutover-system:cutover-operator";

/// A journal, as it was written again and again.
pub struct Run {
    /// Its name.
    pub name: String,
    /// Where in the log each journal stands, and what it says.
    pub journals: Vec<(usize, RunStatus)>,
}

impl Run {
    /// The newest journal.
    pub fn last(&self) -> &RunStatus {
        // `of` makes no run without a journal.
        &self.journals[self.journals.len() - 1].1
    }
}

/// All runs of a log, by uid.
///
/// # Errors
/// A journal that cannot be read.
pub fn runs(lines: &[Line]) -> Result<BTreeMap<String, Run>> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        if line.resource != "cutoverruns/status" || !line.is_write() || !(line.done() || was_stored(lines, at)) {
            continue;
        }
        let uid = line.body["metadata"]["uid"].as_str().with_context(|| format!("{} has no uid", line.name))?;
        let status = &line.body["status"];
        let status = serde_json::from_value(status.clone()).with_context(|| format!("the journal of {}", line.name))?;
        let run = Run { name: line.name.clone(), journals: vec![] };
        runs.entry(uid.to_owned()).or_insert(run).journals.push((at, status));
    }
    Ok(runs)
}

/// Whether a journal was stored although its sender was killed before it was answered: a later one is based on another
/// resourceVersion than it was, and stands in the log as done.
fn was_stored(lines: &[Line], at: usize) -> bool {
    fn base(line: &Line) -> (&Value, &Value) {
        (&line.body["metadata"]["uid"], &line.body["metadata"]["resourceVersion"])
    }
    let cut_off = &lines[at];
    let (uid, version) = base(cut_off);
    cut_off.perhaps()
        && version.is_string()
        && lines[at + 1..]
            .iter()
            .find(|l| l.resource == cut_off.resource && l.is_write() && l.done() && base(l).0 == uid)
            .is_some_and(|next| base(next).1 != version)
}

/// Checks everything.
///
/// # Errors
/// The promise that is broken, and by what.
pub fn check(lines: &[Line]) -> Result<()> {
    let runs = runs(lines)?;
    own_kinds_only(lines)?;
    closed_is_closed(lines, &runs)?;
    selectors(lines, &runs)?;
    jobs(lines, &runs)
}

fn ours(line: &Line) -> bool {
    line.sender == OPERATOR && line.is_write()
}

/// What the operator may write in its own name, and what costs a user nothing.
fn is_own(line: &Line) -> bool {
    ["cutover", "events", "leases"].iter().any(|kind| line.resource.starts_with(kind))
}

/// §7: a user's object is written as the Cutover's ServiceAccount, never as the operator.
fn own_kinds_only(lines: &[Line]) -> Result<()> {
    for line in lines.iter().filter(|l| ours(l) && l.user == OPERATOR && l.done()) {
        ensure!(is_own(line), "the operator itself wrote {} {}", line.resource, line.name);
    }
    Ok(())
}

/// P7: a closed run writes its journal no more, unless it is opened again, and while no run is open nothing of a user's is
/// written.
fn closed_is_closed(lines: &[Line], runs: &BTreeMap<String, Run>) -> Result<()> {
    for run in runs.values() {
        for pair in run.journals.windows(2) {
            let [(_, before), (at, after)] = pair else { continue };
            let again = before.state == RunState::Closed && after.state == RunState::Closed;
            ensure!(!again, "P7: {} was closed and wrote its journal at {}", run.name, lines[*at].at);
        }
    }
    let journals: BTreeMap<usize, (&str, RunState)> =
        runs.iter().flat_map(|(uid, run)| run.journals.iter().map(|(at, s)| (*at, (uid.as_str(), s.state)))).collect();
    let mut open = BTreeSet::new();
    let mut closed: Option<&Line> = None;
    for (at, line) in lines.iter().enumerate() {
        if let Some((uid, state)) = journals.get(&at) {
            match state {
                RunState::Active => open.insert(*uid),
                RunState::Closed => open.remove(uid),
            };
            closed = open.is_empty().then_some(line);
        } else if let Some(closed) = closed.filter(|closed| line.received > closed.at)
            && ours(line)
            && line.done()
            && !is_own(line)
        {
            bail!("P7: {} {} {} although {} was closed before", line.verb, line.resource, line.name, closed.name);
        }
    }
    Ok(())
}

/// What a run claimed of a Service.
struct Claim<'r> {
    at: usize,
    run: &'r str,
    service: &'r str,
    uid: &'r str,
    version: &'r str,
    from: &'r Selector,
    to: &'r Selector,
}

fn claims(runs: &BTreeMap<String, Run>) -> Vec<Claim<'_>> {
    let mut all: Vec<Claim<'_>> = vec![];
    for (run, journals) in runs {
        for (at, status) in &journals.journals {
            for s in status.switch.iter().flat_map(|s| &s.services) {
                let (service, uid, version) = (s.name.as_str(), s.uid.as_str(), s.resource_version.as_str());
                let known = |c: &Claim<'_>| (c.run, c.service, c.uid, c.version) == (run, service, uid, version);
                if !all.iter().any(known) {
                    all.push(Claim { at: *at, run, service, uid, version, from: &s.from, to: &s.to });
                }
            }
        }
    }
    all.sort_by_key(|claim| claim.at);
    all
}

/// One selector write of ours: whose claim it carries out, and whether that is the way back.
struct SelectorWrite<'l> {
    run: &'l str,
    back: bool,
    line: &'l Line,
}

/// P3, P4, P8: each selector write carries out a journaled claim, at most one of each kind takes effect, and the journal
/// says of every Service what became of it.
fn selectors(lines: &[Line], runs: &BTreeMap<String, Run>) -> Result<()> {
    let claims = claims(runs);
    let mut writes: Vec<SelectorWrite<'_>> = vec![];
    for (at, line) in lines.iter().enumerate() {
        if line.resource != "services" || !ours(line) || !line.perhaps() {
            continue;
        }
        let Some(set) = line.selector() else { continue };
        let set: Selector = serde_json::from_value(set.clone()).context("a selector that is none")?;
        let (run, back) = carried_out(line, at, &set, &claims)?;
        let version = line.tested("/metadata/resourceVersion");
        // One whose sender died under way counts, unless the same version was patched again: then it had no effect.
        let same =
            |w: &SelectorWrite<'_>| w.line.name == line.name && w.line.tested("/metadata/resourceVersion") == version;
        writes.retain(|w| !same(w) || w.line.done());
        if !writes.iter().any(same) {
            writes.push(SelectorWrite { run, back, line });
        }
    }
    for (uid, run) in runs {
        for service in run.last().switch.iter().flat_map(|s| &s.services) {
            let of = |back: bool| {
                let of = |w: &&SelectorWrite<'_>| w.run == uid && w.line.name == service.name && w.back == back;
                writes.iter().filter(of).map(|w| w.line).collect::<Vec<_>>()
            };
            let claimed = claims.iter().find(|c| c.run == uid && c.service == service.name).map_or(0, |c| c.at);
            let others = by_others(&lines[claimed..], &service.name);
            agrees(run, service, &of(false), &of(true), others)?;
        }
    }
    Ok(())
}

/// The claim that a selector write carries out: the switch that it tests by version, or the way back of an earlier one.
fn carried_out<'r>(line: &Line, at: usize, set: &Selector, claims: &[Claim<'r>]) -> Result<(&'r str, bool)> {
    let what = || format!("{} of Service {} to {set:?} at {}", line.verb, line.name, line.at);
    let uid = line.tested("/metadata/uid").with_context(|| format!("P4: {} tests no uid", what()))?;
    let version =
        line.tested("/metadata/resourceVersion").with_context(|| format!("P4: {} tests no version", what()))?;
    let before = line.test("/spec/selector").with_context(|| format!("P4: {} tests no selector", what()))?;
    let before: Selector = serde_json::from_value(before.clone()).context("a selector that is none")?;
    // Written before it is carried out: answered before this request came.
    let earlier = || claims.iter().filter(|c| c.service == line.name && c.at < at).rev();
    ensure!(earlier().next().is_some(), "P8: {}: no journal claims it", what());
    let forward = |c: &&Claim<'_>| (c.uid, c.version, c.from, c.to) == (uid, version, &before, set);
    if let Some(claim) = earlier().find(forward) {
        return Ok((claim.run, false));
    }
    let back = earlier().find(|c| c.from == set);
    back.map(|c| (c.run, true)).with_context(|| format!("P3: {}: no journal claims that selector", what()))
}

/// Whether somebody else pointed the Service somewhere, made it or deleted it.
fn by_others(lines: &[Line], service: &str) -> bool {
    let touches =
        |l: &Line| matches!(l.verb.as_str(), "create" | "delete" | "update") || l.body.to_string().contains("selector");
    lines.iter().any(|l| {
        let theirs = l.sender != OPERATOR && l.is_write() && l.done();
        let deleted_all = l.verb == "deletecollection";
        theirs && l.resource == "services" && (deleted_all || (l.name == service && touches(l)))
    })
}

/// P4 and P8 of one Service of a run. `others`: somebody else had a hand in it, so that less can be said.
fn agrees(
    run: &Run,
    service: &cutover::api::run::ServiceSwitch,
    switches: &[&Line],
    restores: &[&Line],
    others: bool,
) -> Result<()> {
    let what = format!("Service {} of {}", service.name, run.name);
    for (kind, writes) in [("switch", switches), ("restore", restores)] {
        let mut by_uid: BTreeMap<&str, usize> = BTreeMap::new();
        for line in writes {
            *by_uid.entry(line.tested("/metadata/uid").unwrap_or_default()).or_default() += 1;
        }
        ensure!(by_uid.values().all(|n| *n <= 1), "P4: {what}: {kind} took effect {by_uid:?} times");
    }
    let ended = run.last();
    if ended.state != RunState::Closed {
        // What was written last may not be recorded yet.
        return Ok(());
    }
    let certain = |lines: &[&Line]| lines.iter().any(|l| l.done());
    let says = format!("the journal of {what} says {:?}, {:?}", service.state, service.switched_at);
    // A restore that is decided while the patch is under way does not wait for its answer.
    let unseen = service.state == SwitchState::Restored;
    ensure!(service.switched_at.is_some() || unseen || !certain(switches), "P8: {says}, but it was switched");
    ensure!(service.switched_at.is_none() || !switches.is_empty() || others, "P8: {says}, but no switch was written");
    if let (Some(at), Some(line)) = (service.switched_at, switches.first()) {
        let received: jiff::Timestamp = line.received.parse().context("the time of a request")?;
        ensure!(at >= received, "P8: {says}, before the switch was written at {received}");
    }
    let restored = service.state == SwitchState::Restored;
    ensure!(restored || service.state == SwitchState::Gone || !certain(restores), "P8: {says}, but it was restored");
    if restored && !others {
        ensure!(
            restores.len() == switches.len() || (!certain(switches) && restores.len() <= switches.len()),
            "P8: {says}, but {} restores follow {} switches",
            restores.len(),
            switches.len()
        );
    }
    let open = matches!(service.state, SwitchState::Claimed | SwitchState::Switched);
    ensure!(!(ended.phase.is_over() && open), "P11: {} is {} and {says}", run.name, ended.phase);
    if ended.phase == Phase::Completed && service.state == SwitchState::Switched {
        ensure!(restores.is_empty(), "P8: {says}, but it was restored");
    }
    Ok(())
}

fn all_jobs(status: &RunStatus) -> impl Iterator<Item = &JobRecord> {
    cutover::journal::jobs(status)
}

/// P1 and P8 of Jobs: nothing is created, started or deleted that a journal did not name before, each is created and
/// started once, former attempts among them, and what a journal says was created or started was.
fn jobs(lines: &[Line], runs: &BTreeMap<String, Run>) -> Result<()> {
    // Where in the log each Job was first named, and first named with a uid.
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let mut known: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut journals: Vec<&(usize, RunStatus)> = runs.values().flat_map(|r| &r.journals).collect();
    journals.sort_by_key(|(at, _)| *at);
    for (at, status) in journals {
        for job in all_jobs(status) {
            named.entry(&job.name).or_insert(*at);
            if let Some(uid) = &job.uid {
                known.entry((&job.name, uid)).or_insert(*at);
            }
        }
    }
    let answered =
        |at: Option<&usize>, line: &Line| at.and_then(|at| lines.get(*at)).is_some_and(|w| w.at <= line.received);
    let (mut created, mut started) = (BTreeMap::new(), BTreeMap::new());
    for line in lines.iter().filter(|l| l.resource == "jobs" && ours(l) && l.perhaps()) {
        let name = line.name.as_str();
        let uid = line.tested("/metadata/uid").or_else(|| line.body["preconditions"]["uid"].as_str());
        let is_start = line.verb == "patch" && line.sets("/spec/suspend").is_some();
        match line.verb.as_str() {
            "create" => {
                ensure!(answered(named.get(name), line), "P1: Job {name} was created before a journal named it");
                *created.entry(name).or_insert(0) += usize::from(line.done());
            }
            "patch" | "delete" => {
                let uid = uid.with_context(|| format!("P1: {} of Job {name} tests no uid", line.verb))?;
                let claimed = answered(known.get(&(name, uid)), line);
                ensure!(claimed, "P1: {} of Job {name} before a journal knew its uid", line.verb);
                if is_start {
                    *started.entry(name).or_insert(0) += usize::from(line.done());
                }
            }
            other => bail!("P1: {other} of Job {name}"),
        }
    }
    for (what, counts) in [("created", &created), ("started", &started)] {
        let twice = counts.iter().find(|(_, times)| **times > 1);
        ensure!(twice.is_none(), "P1: of Jobs and how often each was {what}: {twice:?}");
    }
    for run in runs.values() {
        for job in all_jobs(run.last()) {
            let (name, uid, began) = (job.name.as_str(), &job.uid, &job.started);
            ensure!(uid.is_none() || created.contains_key(name), "P8: {}: Job {name} was never created", run.name);
            ensure!(began.is_none() || started.contains_key(name), "P8: {}: Job {name} was never started", run.name);
        }
    }
    Ok(())
}

/// P9: which of these texts a value of a Secret is in.
pub fn leak(texts: &[(String, String)], secrets: &BTreeSet<String>) -> Option<String> {
    // As it is, and as a string of JSON writes it.
    let forms =
        secrets.iter().flat_map(|s| [s.clone(), Value::from(s.as_str()).to_string().trim_matches('"').to_owned()]);
    let forms: BTreeSet<String> = forms.collect();
    texts.iter().find(|(_, text)| forms.iter().any(|s| text.contains(s))).map(|(place, _)| place.clone())
}
