//! Scenarios: a Cutover and a scripted world in (`tests/simulate/*.yaml`), a readable log out, compared with the golden
//! one beside it. `UPDATE_EXPECT=1` rewrites the logs; they are to be read before they are kept.
//!
//! Each scenario runs again with random delays and orders of replies, answers and watch events: then the log differs,
//! and its `expect` part and the promises must hold all the same.

mod sim;

use std::path::{Path, PathBuf};

use cutover::api::run::RunState;
use sim::cluster::{Cluster, Who, Wrote};
use sim::promises;
use sim::script::Scenario;
use sim::timeline::{EPOCH, Timeline};

/// Random orders of each scenario.
const SEEDS: u64 = 200;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulate")
}

fn load(name: &str) -> Scenario {
    let path = folder().join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}.yaml: {e}"))
}

/// Plays a scenario to its end.
fn play(scenario: &Scenario, seed: Option<u64>) -> Timeline {
    let live = scenario.cutover.sides.iter().find(|s| s.name != scenario.cutover.activate);
    let live = live.map(|s| s.name.clone()).unwrap_or_default();
    let plan = cutover::plan::resolve("web", "prod", &scenario.cutover, &live, false)
        .unwrap_or_else(|refusals| panic!("the manifest is refused: {refusals:#?}"));
    let mut cluster = Cluster::new(&plan, scenario.replicas, EPOCH);
    cluster.web = scenario.web.clone();
    let mut line = Timeline::new(scenario.clone(), cluster, seed);
    line.set_clock_cues();
    line.run();
    line.log.summary(&line.cluster);
    line
}

/// What a scenario expects, and the promises; everything that does not hold.
fn check(line: &Timeline) -> Vec<String> {
    let (cluster, expect) = (&line.cluster, &line.scenario.expect);
    let status = &cluster.status;
    let mut wrong = cluster.broken.clone();
    if !expect.phase.contains(&status.phase) {
        wrong.push(format!("the run is {}, expected {:?}", status.phase, expect.phase));
    }
    let waits = promises::waits_for(cluster);
    match (&expect.waits, status.state) {
        (None, RunState::Active) => wrong.push(format!("the run did not close; it waits for {waits:?}")),
        (Some(what), RunState::Active) if !waits.as_ref().is_some_and(|w| w.contains(what.as_str())) => {
            wrong.push(format!("the run waits for {waits:?}, expected {what}"));
        }
        (Some(what), RunState::Closed) => wrong.push(format!("the run closed instead of waiting for {what}")),
        _ => {}
    }
    let reason = status.ending.as_ref().map(|e| e.reason.clone());
    if expect.reason.is_some() && reason != expect.reason {
        wrong.push(format!("the reason is {reason:?}, expected {:?}", expect.reason));
    }
    if let Some(incomplete) = expect.incomplete
        && status.ending.as_ref().is_none_or(|e| e.incomplete != incomplete)
    {
        wrong.push(format!("incomplete is not {incomplete}"));
    }
    for (service, side) in &expect.live {
        let found = match cluster.services.contains_key(service) {
            false => "-",
            true => cluster.points_to(service).unwrap_or("?"),
        };
        if found != side {
            wrong.push(format!("Service {service} points to {found}, expected {side}"));
        }
    }
    let started = started(cluster);
    for (step, times) in &expect.starts {
        let found = started.iter().filter(|s| *s == step).count();
        if found != *times as usize {
            wrong.push(format!("{step} was started {found} times, expected {times}"));
        }
    }
    if let Some(order) = &expect.order
        && &started != order
    {
        wrong.push(format!("Jobs were started in the order {started:?}, expected {order:?}"));
    }
    let ours = |w: &Wrote| matches!(w, Wrote::Selector { .. });
    if expect.never_switched && cluster.audit.iter().any(|a| a.who == Who::Us && ours(&a.what)) {
        wrong.push("a selector was written".into());
    }
    if let Some(restored) = &expect.restored {
        let since = line.cued.get(&restored.of).copied();
        for (service, (side, at)) in &line.pointed {
            let took = since.map(|s| at.duration_since(s));
            if *side != cluster.plan.live.name || took.is_none_or(|t| t > restored.within.signed()) {
                wrong.push(format!("Service {service} points to {side} {took:?} after \"{}\"", restored.of));
            }
        }
    }
    wrong
}

/// Steps whose Jobs were started, in order.
fn started(cluster: &Cluster) -> Vec<String> {
    let starts = cluster.audit.iter().filter_map(|a| match &a.what {
        Wrote::JobStarted { job, step } => Some(step.clone().unwrap_or_else(|| job.clone())),
        _ => None,
    });
    starts.collect()
}

fn scenario(name: &str) {
    let scenario = load(name);
    let line = play(&scenario, None);
    let text = format!("# {}\n{}", scenario.about, line.log.text());
    let wrong = check(&line);
    assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{text}");
    golden(name, &text);
    for seed in 1..=SEEDS {
        let line = play(&scenario, Some(seed));
        let wrong = check(&line);
        assert!(wrong.is_empty(), "{name}, seed {seed}: {wrong:#?}\n{}", line.log.text());
    }
}

fn golden(name: &str, text: &str) {
    let path = folder().join(format!("{name}.log"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != text {
        let differs = kept.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(0) + 1;
        panic!("{name}.log differs from line {differs} on (UPDATE_EXPECT=1 rewrites it). Now it is:\n{text}");
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { scenario(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    good_release
}

#[test]
fn every_scenario_file_is_played() {
    let files = std::fs::read_dir(folder()).expect("tests/simulate");
    for file in files.flatten() {
        let path = file.path();
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        assert!(NAMES.contains(&stem), "{} belongs to no scenario of the list", path.display());
    }
}
