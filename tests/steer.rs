//! The Cutover controller against a simulated API server: the very types of `cutover::pilot::cutover`, request by request.
//!
//! - scenarios with the log of all requests (`tests/steer/*.log`; `UPDATE_EXPECT=1` writes them anew);
//! - each of them again with a stop, a lost answer, a 503 and a 409 at every request: the end is the same;
//! - an exhaustive search of what people, drivers and misfortune can do to one Cutover, in any order (`steer/search.rs`).

#[path = "sim/cutover.rs"]
mod api_server;
#[path = "sim/search.rs"]
mod breadth;
#[path = "sim/cutover_process.rs"]
mod process;
#[path = "steer/scenarios.rs"]
mod scenarios;
#[path = "steer/search.rs"]
mod search;
#[path = "sim/cutover_words.rs"]
mod words;

use std::time::Duration;

use api_server::Server;
use process::{Fate, Process};
use scenarios::{Scenario, all};

/// A scenario settles within so many requests, or it never does.
const MOST: usize = 400;

/// Where something goes wrong, and how.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The process stops before the request is sent.
    StopBefore,
    /// The process stops once the request has been carried out, before its answer is used.
    StopAfter,
    /// It is carried out, and the answer is lost.
    Lost,
    /// 503.
    Down,
    /// 409.
    Conflict,
}

/// A scenario as it is played.
struct Play {
    server: Server,
    process: Process,
    log: Vec<String>,
    /// Requests so far, in words; which are writes.
    requests: Vec<(String, bool)>,
    trouble: Option<(usize, Trouble)>,
}

impl Play {
    fn of(scenario: &Scenario, trouble: Option<(usize, Trouble)>) -> Self {
        let mut server = Server::new();
        (scenario.before)(&mut server);
        let process = Process::start(&server);
        let mut play = Self { server, process, log: vec![], requests: vec![], trouble };
        play.settle();
        for (say, act) in scenario.acts {
            play.log.push(format!("== {say}"));
            act(&mut play.server);
            play.process.watch(&play.server);
            play.settle();
        }
        let broken = &play.server.broken;
        assert!(broken.is_empty(), "{}, {trouble:?}: {broken:#?}\n{}", scenario.name, play.text());
        play
    }

    fn text(&self) -> String {
        self.log.join("\n")
    }

    /// Until nothing is left to do but to look again after a while; what waits for somebody else is looked at once more.
    fn settle(&mut self) {
        let mut waited = false;
        for _ in 0..MOST {
            if let Some(key) = self.process.due.first().cloned() {
                self.log.push(format!("{}: looks", key.name));
                self.process.begin(&self.server, &key);
            }
            let ready = self.process.ready();
            // In turn: looks at different Cutovers are under way at the same time.
            for key in &ready {
                self.step(key);
                self.process.watch(&self.server);
            }
            if !ready.is_empty() || !self.process.due.is_empty() {
                continue;
            }
            let Some((key, pause)) = self.process.later.iter().min_by_key(|(_, pause)| **pause) else { return };
            let (key, pause) = (key.clone(), *pause);
            if pause >= Duration::from_secs(15) {
                if std::mem::replace(&mut waited, true) {
                    return;
                }
                self.log.push(format!("-- {} s later", pause.as_secs()));
            }
            self.server.now += pause;
            self.process.later.remove(&key);
            self.process.due.insert(key);
        }
        panic!("this never ends:\n{}", self.text());
    }

    fn step(&mut self, key: &cutover::pilot::cutover::Key) {
        let Some(running) = self.process.looks.get(key) else { return };
        let write = running.request.is_write();
        self.requests.push((words::request(&running.request), write));
        let trouble = self.trouble.filter(|(at, _)| *at == self.requests.len()).map(|(_, trouble)| trouble);
        let fate = match trouble {
            Some(Trouble::Lost) => Fate::Lost,
            Some(Trouble::Down) => Fate::Down,
            Some(Trouble::Conflict) if write => Fate::Conflict,
            Some(Trouble::StopBefore) => {
                self.log.push(format!("!! stopped before: {}", words::request(&running.request)));
                self.process = Process::start(&self.server);
                return;
            }
            Some(Trouble::StopAfter | Trouble::Conflict) | None => Fate::Served,
        };
        let told = self.process.told.len();
        let line = self.process.step(&mut self.server, key, fate);
        self.log.push(format!("{}:   {line}", key.name));
        if let Some(Trouble::StopAfter) = trouble {
            self.log.push("!! stopped".into());
            self.process = Process::start(&self.server);
            return;
        }
        let told: Vec<String> = self.process.told.drain(told..).collect();
        self.log.extend(told.into_iter().map(|note| format!("{}:   tells {note}", key.name)));
    }
}

fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    all().iter()
}

#[test]
fn every_scenario_makes_these_requests_and_no_others() {
    let mut wrong = vec![];
    for scenario in scenarios() {
        let play = Play::of(scenario, None);
        let text = format!("{}\n\n{}\n", play.text(), words::end(&play.server));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/steer/{}.log", scenario.name));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).expect("the log can be written");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", scenario.name));
        }
    }
    assert!(wrong.is_empty(), "other requests than in tests/steer/*.log:\n{}", wrong.join("\n"));
}

/// Plays each scenario with this trouble at each of its requests: the end is that of the one that nobody disturbed.
fn troubled_everywhere(trouble: Trouble) {
    let mut count = 0;
    let mut wrong = vec![];
    for scenario in scenarios() {
        let reference = Play::of(scenario, None);
        let wanted = words::end(&reference.server);
        for at in 1..=reference.requests.len() {
            let (request, is_write) = &reference.requests[at - 1];
            if matches!(trouble, Trouble::Lost | Trouble::Conflict) && !is_write {
                continue;
            }
            // There a 409 means that the name is another run's, which stays.
            if matches!(trouble, Trouble::Conflict) && request.starts_with("DELETE") {
                continue;
            }
            let play = Play::of(scenario, Some((at, trouble)));
            let end = words::end(&play.server);
            if end != wanted {
                wrong.push(format!(
                    "{} with {trouble:?} at request {at}:\n{}\nends\n{end}\nnot\n{wanted}",
                    scenario.name,
                    play.text()
                ));
            }
            assert_eq!(play.server.created.len(), reference.server.created.len(), "{}", play.text());
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{} ends differ:\n{}", wrong.len(), wrong.join("\n\n"));
    println!("{trouble:?} at each of {count} requests");
    assert!(count > 60, "{count} requests only");
}

#[test]
fn a_stop_before_any_request_changes_nothing() {
    troubled_everywhere(Trouble::StopBefore);
}

#[test]
fn a_stop_after_any_request_changes_nothing() {
    troubled_everywhere(Trouble::StopAfter);
}

#[test]
fn a_lost_answer_changes_nothing() {
    troubled_everywhere(Trouble::Lost);
}

#[test]
fn an_api_server_that_is_down_for_a_request_changes_nothing() {
    troubled_everywhere(Trouble::Down);
}

#[test]
fn a_conflict_changes_nothing() {
    troubled_everywhere(Trouble::Conflict);
}
