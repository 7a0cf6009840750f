//! Open-loop load: requests leave at scheduled times, whatever the answers do. Beside it, clients that keep one connection
//! each, for as long as its peer does.

mod client;
mod config;
mod lasting;
mod report;
mod runner;
mod serve;
mod tally;

pub use client::await_answer;
pub use config::{LoadConfig, duration};
pub use report::{ColourSeen, LastingClient, LastingReport, Latency, Loss, MarkReport, Move, PoolReport, Report, Span};
pub use runner::{Load, LoadHandle};
pub use serve::serve;
