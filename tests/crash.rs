//! x

mod sim;
