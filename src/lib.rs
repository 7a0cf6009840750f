#![doc = include_str!("ARCHITECTURE.md")]

pub mod act;
pub mod actions;
pub mod api;
pub mod controller;
pub mod decide;
pub mod driver;
pub mod effect;
pub mod endpoints;
pub mod journal;
pub mod judge;
pub mod net;
pub mod observe;
pub mod operator;
pub mod plan;
pub mod status;
pub mod world;
