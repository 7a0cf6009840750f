//! What is counted and timed. Labels have closed sets of values ([`labels`]): no names of objects, and every series is
//! there from the start, so that a rate begins at zero. The triggers of active runs alone are shown by name ([`watched`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::api::condition::{reasons, types};
use crate::api::phase::Phase;
use crate::api::run::RunStatus;
use crate::effect::{Effect, Outcome};
use crate::net::watches::Watches;
use crate::plan::{Action, Plan};

pub mod labels;
mod measure;
mod process;
mod watched;

pub use watched::Whose;

use measure::Measure;
use process::Process;

/// Bounds of times that a user waits for: 10 ms to a minute, finely; in seconds.
const FAST: [f64; 18] =
    [0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0];
/// Bounds of phases and steps: a tenth of a second to a day.
const SLOW: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];
/// Bounds of API requests.
const CALLS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

/// One metric, for the reference and for the tests that keep it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name; a histogram's without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub help: &'static str,
    /// Its label and the values that it may have. At most one label of a metric is long.
    pub labels: Vec<(&'static str, Vec<&'static str>)>,
}

/// The metrics of the operator. Cheap to clone.
#[derive(Clone)]
pub struct Meter {
    registry: Registry,
    families: Arc<Vec<Family>>,
    ended: IntCounterVec,
    active: IntGauge,
    leader: IntGauge,
    troubled: IntGaugeVec,
    phases: HistogramVec,
    steps: HistogramVec,
    switches: HistogramVec,
    restores: HistogramVec,
    effects: IntCounterVec,
    claims: IntCounterVec,
    requests: IntCounterVec,
    request_times: HistogramVec,
    watch_age: GaugeVec,
    events_lost: IntCounterVec,
    traces: IntCounterVec,
    panics: IntCounter,
    process: Process,
    watches: Watches,
    triggers: watched::Gauges,
    /// How each run stands that is driven here, by uid.
    standing: Arc<Mutex<HashMap<String, Standing>>>,
}

/// How a run stands.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// What is in its way.
    troubles: Vec<&'static str>,
    triggers: Vec<watched::Watched>,
}

type Labels<'a> = &'a [(&'static str, &'a [&'static str])];

/// Makes metrics, registers them, and keeps what the reference says of them.
struct Shelf {
    registry: Registry,
    families: Vec<Family>,
}

impl Shelf {
    fn note(&mut self, kind: &'static str, name: &'static str, help: &'static str, labels: Labels) {
        let labels = labels.iter().map(|(label, values)| (*label, values.to_vec())).collect();
        self.families.push(Family { name, kind, help, labels });
    }

    fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        l: Labels,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let vec = IntCounterVec::new(Opts::new(name, help), &names(l))?;
        for values in combinations(l) {
            vec.with_label_values(&values);
        }
        self.registry.register(Box::new(vec.clone()))?;
        self.note("counter", name, help, l);
        Ok(vec)
    }

    fn gauges(&mut self, name: &'static str, help: &'static str, l: Labels) -> Result<IntGaugeVec, prometheus::Error> {
        let vec = IntGaugeVec::new(Opts::new(name, help), &names(l))?;
        for values in combinations(l) {
            vec.with_label_values(&values);
        }
        self.registry.register(Box::new(vec.clone()))?;
        self.note("gauge", name, help, l);
        Ok(vec)
    }

    fn times(
        &mut self,
        name: &'static str,
        help: &'static str,
        bounds: &[f64],
        l: Labels,
    ) -> Result<HistogramVec, prometheus::Error> {
        let vec = HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds.to_vec()), &names(l))?;
        for values in combinations(l) {
            vec.with_label_values(&values);
        }
        self.registry.register(Box::new(vec.clone()))?;
        self.note("histogram", name, help, l);
        Ok(vec)
    }

    fn counter(&mut self, name: &'static str, help: &'static str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        self.registry.register(Box::new(counter.clone()))?;
        self.note("counter", name, help, &[]);
        Ok(counter)
    }

    fn gauge(&mut self, name: &'static str, help: &'static str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        self.registry.register(Box::new(gauge.clone()))?;
        self.note("gauge", name, help, &[]);
        Ok(gauge)
    }
}

fn names(labels: Labels) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

/// Every combination of the values of labels.
fn combinations(labels: Labels) -> Vec<Vec<&'static str>> {
    labels.iter().fold(vec![vec![]], |all, (_, values)| {
        let longer = |head: &Vec<&'static str>| -> Vec<Vec<&'static str>> {
            values.iter().map(|value| head.iter().chain([value]).copied().collect()).collect()
        };
        all.iter().flat_map(longer).collect()
    })
}

impl Meter {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name, which is a defect.
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut s = Shelf { registry: Registry::new(), families: vec![] };
        let build = Opts::new("cutover_build_info", BUILD_INFO).const_label("version", env!("CARGO_PKG_VERSION"));
        let build = Gauge::with_opts(build)?;
        build.set(1.0);
        s.registry.register(Box::new(build))?;
        s.note("gauge", "cutover_build_info", BUILD_INFO, &[("version", &[env!("CARGO_PKG_VERSION")])]);
        let watch_age = GaugeVec::new(Opts::new("cutover_watch_age_seconds", WATCH_AGE), &["resource"])?;
        s.registry.register(Box::new(watch_age.clone()))?;
        s.note("gauge", "cutover_watch_age_seconds", WATCH_AGE, &[("resource", &labels::WATCHED)]);
        let process = Process::new(&s.registry)?;
        for ((name, help), kind) in process::NAMES.into_iter().zip(["gauge", "counter", "gauge"]) {
            s.note(kind, name, help, &[]);
        }
        let triggers = watched::Gauges::new(&s.registry, &mut s.families)?;
        Ok(Self {
            triggers,
            ended: s.counters(
                "cutover_runs_ended_total",
                "Runs that closed, by the phase they ended in",
                &[("phase", &labels::ENDS)],
            )?,
            active: s.gauge("cutover_runs_active", "Runs that are not closed and are driven by this replica")?,
            leader: s.gauge("cutover_leader", "1 where this replica leads and may write, 0 where it follows")?,
            troubled: s.gauges(
                "cutover_runs_troubled",
                "Active runs with a condition that wants attention; CannotRollBack stands for CanRollBack=False",
                &[("condition", &labels::TROUBLES)],
            )?,
            phases: s.times(
                "cutover_phase_duration_seconds",
                "Time in each phase, from the journal's timeline; counted when the phase is left",
                &SLOW,
                &[("phase", &labels::PHASES)],
            )?,
            steps: s.times(
                "cutover_step_duration_seconds",
                "Time of steps and undos with all their attempts, from the journal; counted when they end",
                &SLOW,
                &[("action", Action::KINDS), ("result", &labels::STEP_RESULTS)],
            )?,
            switches: s.times(
                "cutover_switch_duration_seconds",
                "From the claim of a switch until all selectors were written (patched) and until the endpoints had \
                 followed (converged), from the journal",
                &FAST,
                &[("until", &labels::SWITCH_UNTIL)],
            )?,
            restores: s.times(
                "cutover_restore_duration_seconds",
                "From the decision to roll back until the last selector was back, from the journal; trigger: a \
                 trigger decided",
                &FAST,
                &[("cause", &labels::CAUSES)],
            )?,
            effects: s.counters(
                "cutover_effects_total",
                "Effects acted on, by kind and outcome",
                &[("effect", &labels::EFFECTS), ("outcome", &labels::OUTCOMES)],
            )?,
            claims: s.counters(
                "cutover_claims_total",
                "Writes of journals; conflict: somebody else wrote in between, and everything was decided anew",
                &[("result", &labels::CLAIMS)],
            )?,
            requests: s.counters(
                "cutover_api_requests_total",
                "Requests to the API server, by method and result; unreachable: no answer; abandoned: given up after \
                 the time limit, or no longer wanted",
                &[("method", &labels::METHODS), ("result", &labels::RESULTS)],
            )?,
            request_times: s.times(
                "cutover_api_request_duration_seconds",
                "Time until the API server began to answer; of a watch, until it was open",
                &CALLS,
                &[("method", &labels::METHODS)],
            )?,
            events_lost: s.counters(
                "cutover_events_dropped_total",
                "Events not written: no room in the queue, or refused by the API server",
                &[("reason", &labels::EVENTS_LOST)],
            )?,
            traces: s.counters(
                "cutover_traces_total",
                "Traces of closed runs: exported, failed (the collector did not take it), dropped (no room)",
                &[("result", &labels::TRACES)],
            )?,
            panics: s.counter("cutover_panics_total", "Defects caught: a panic in a decision or a task")?,
            registry: s.registry,
            families: Arc::new(s.families),
            watch_age,
            process,
            watches: Watches::default(),
            standing: Arc::default(),
        })
    }

    /// Every metric there is, in the order of the reference.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// All of it, in the text format.
    ///
    /// # Errors
    /// When a metric cannot be written down, which is a defect.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        self.process.read();
        self.watch_age.reset();
        for (resource, age) in self.watches.ages() {
            let gauge = self.watch_age.with_label_values(&[labels::within(&labels::WATCHED, &resource)]);
            // Resources without a label of their own share one.
            gauge.set(age.as_secs_f64().max(gauge.get()));
        }
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for trouble in labels::TROUBLES {
            let runs = standing.values().filter(|run| run.troubles.contains(&trouble)).count();
            self.troubled.with_label_values(&[trouble]).set(i64::try_from(runs).unwrap_or(i64::MAX));
        }
        self.triggers.show(standing.values().flat_map(|run| &run.triggers));
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The watches of this process.
    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// A journal was written: what it differs by from the one before is measured, and how the run stands is shown.
    pub fn journal(&self, uid: &str, whose: Whose, plan: &Plan, before: &RunStatus, after: &RunStatus) {
        for measure in measure::between(plan, before, after) {
            self.measured(measure);
        }
        let standing = Standing { troubles: troubles(&after.conditions), triggers: watched::of(whose, plan, after) };
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), standing);
    }

    fn measured(&self, measure: Measure) {
        match measure {
            Measure::Phase(phase, seconds) => {
                if labels::PHASES.contains(&phase.as_str()) {
                    self.phases.with_label_values(&[phase.as_str()]).observe(seconds);
                }
            }
            Measure::Step { action, result, seconds } => {
                self.steps.with_label_values(&[action, result]).observe(seconds);
            }
            Measure::Switch(until, seconds) => self.switches.with_label_values(&[until]).observe(seconds),
            Measure::Restore(cause, seconds) => self.restores.with_label_values(&[cause]).observe(seconds),
            Measure::Ended(phase) => self.run_ended(phase),
        }
    }

    fn run_ended(&self, phase: Phase) {
        if labels::ENDS.contains(&phase.as_str()) {
            self.ended.with_label_values(&[phase.as_str()]).inc();
        }
    }

    /// A run is not driven here any more.
    pub fn left(&self, uid: &str) {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// How many runs are active.
    pub fn active(&self, runs: usize) {
        self.active.set(i64::try_from(runs).unwrap_or(i64::MAX));
    }

    /// Whether this replica leads.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// An effect ended.
    pub fn effect(&self, effect: &Effect, outcome: &Outcome) {
        self.effects.with_label_values(&[labels::effect(effect), labels::outcome(outcome)]).inc();
    }

    /// The journal was written, or not; one of `labels::CLAIMS`.
    pub fn claim(&self, result: &'static str) {
        self.claims.with_label_values(&[result]).inc();
    }

    /// A request to the API server ended. `took` is until it began to answer, where it did.
    pub fn request(&self, method: &str, result: &'static str, took: Option<std::time::Duration>) {
        let method = labels::within(&labels::METHODS, method);
        self.requests.with_label_values(&[method, result]).inc();
        if let Some(took) = took {
            self.request_times.with_label_values(&[method]).observe(took.as_secs_f64());
        }
    }

    /// An Event was not written; one of `labels::EVENTS_LOST`.
    pub(crate) fn event_lost(&self, reason: &'static str) {
        self.events_lost.with_label_values(&[reason]).inc();
    }

    /// What became of a trace; one of `labels::TRACES`.
    pub fn trace(&self, result: &'static str) {
        self.traces.with_label_values(&[result]).inc();
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }
}

const BUILD_INFO: &str = "1, with the version of the operator";
const WATCH_AGE: &str = "Time since the API server last said something in the watch of this resource that has been \
                         silent longest; it speaks at least once a minute. Absent while nothing of it is watched";

fn troubles(conditions: &[Condition]) -> Vec<&'static str> {
    let stands = |trouble: &&'static str| {
        let (type_, status) =
            if *trouble == labels::CANNOT_ROLL_BACK { (types::CAN_ROLL_BACK, "False") } else { (*trouble, "True") };
        // A side that was retired is gone on purpose, and nobody needs to be woken for it.
        let meant = |c: &Condition| c.type_ == types::CAN_ROLL_BACK && c.reason == reasons::RETIRED;
        conditions.iter().any(|c| c.type_ == type_ && c.status == status && !meant(c))
    };
    labels::TROUBLES.into_iter().filter(stands).collect()
}

#[cfg(test)]
mod tests;
