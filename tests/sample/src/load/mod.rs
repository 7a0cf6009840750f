//! Open-loop load: requests leave at scheduled times, whatever the answers do.

mod client;
mod config;
mod report;
mod runner;
mod serve;
mod tally;

pub use client::await_answer;
pub use config::{LoadConfig, duration};
pub use report::{ColourSeen, Latency, Loss, MarkReport, PoolReport, Report, Span};
pub use runner::{Load, LoadHandle};
pub use serve::serve;
