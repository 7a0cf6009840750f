//! The stand-in application that the tests cut over.

mod body;
mod config;
mod connection;
mod control;
mod desk;
mod fault;
mod metrics;
pub mod pack;
mod routes;
mod server;
mod tls;
mod websocket;

pub use body::AppBody;
pub use config::AppConfig;
pub use fault::{Decision, FaultChange, FaultView, Faults};
pub use metrics::Metrics;
pub use server::{Listeners, run};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::{sync::watch, time::Instant};

/// State of one process, shared by its connections.
pub struct App {
    /// What the environment says.
    pub config: AppConfig,
    /// Faults it has or will have.
    pub faults: Faults,
    /// Counters for Prometheus.
    pub metrics: Metrics,
    /// Requests answered on the application's own paths, probes left out.
    pub served: AtomicU64,
    started: Instant,
    draining: AtomicBool,
    flags_disabled: AtomicBool,
    // Set when an earlier process of this pod died of live traffic.
    died_before: bool,
    exit: watch::Sender<Option<i32>>,
    desk: desk::Desk,
}

impl App {
    /// The state at the start of a process.
    pub fn new(config: AppConfig) -> Self {
        Self {
            faults: Faults::new(&config),
            metrics: Metrics::new(&config.app, &config.colour, &config.version),
            served: AtomicU64::new(0),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            flags_disabled: AtomicBool::new(false),
            died_before: config.die_after_live.is_some() && config.death_marker().exists(),
            exit: watch::Sender::new(None),
            desk: desk::Desk::default(),
            config,
        }
    }

    /// Whether `/ready` answers 200.
    pub fn ready(&self) -> bool {
        !self.draining()
            && !self.died_before
            && self.started.elapsed() >= self.config.ready_delay
            && self.faults.allows_ready()
    }

    /// What is wrong with a path at present: the rule of `FAULT_ROUTES` whose text it contains.
    pub fn route_fault(&self, path: &str) -> Option<&str> {
        let rule = self.config.route_faults.iter().find(|(text, _)| path.contains(text.as_str()))?;
        self.faults.apply().then_some(rule.1.as_str())
    }

    /// Whether SIGTERM has arrived.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
