//! The parts of the demonstration, which the examples are played with too.

pub mod cluster;
pub mod follow;
pub mod load;
pub mod outcome;
pub mod scene;
pub mod screen;
pub mod trouble;
