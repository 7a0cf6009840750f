//! A simulated cluster for the pilots of `cutover::pilot`: API server, kubelet, people, Prometheus and HTTP, in virtual time.
//!
//! Shared by the targets `simulate` (scripted scenarios), `explore` (exhaustive search) and `crash` (a stop at every
//! write). Nothing here looks at a clock, a socket or a file, and the same seed gives the same run.
//!
//! - [`shell`] carries out what `cutover::pilot` orders;
//! - [`cluster`] holds what a cluster holds, [`setting`] what stands in it at first; [`actor`] carries out effects on it, as
//!   `cutover::writes` says; [`apiserver`] carries out their requests, on [`objects`] as it shows them; [`answers`] answers
//!   reads as `cutover::observe` does, and [`unread`] as it does where a read fails;
//! - [`timeline`] moves both through virtual time, with delays, faults and a script;
//! - [`search`] goes through all orders of what may happen in a small world;
//! - [`promises`] are the promises of the design, checked at every write and after every tick.
#![allow(dead_code)] // each of the three targets uses its part

pub mod actor;
pub mod answers;
pub mod apiserver;
pub mod changes;
pub mod cluster;
pub mod faults;
pub mod files;
pub mod jobs;
pub mod knife;
pub mod log;
pub mod news;
pub mod nodes;
pub mod objects;
pub mod promises;
pub mod rng;
pub mod script;
pub mod search;
pub mod services;
pub mod setting;
pub mod shared;
pub mod shell;
pub mod small;
pub mod stage;
pub mod timeline;
pub mod unread;
pub mod words;
