//! PURE. State machines that say what to read and write next; shells carry that out and report what came of it.
//!
//! - [`cutover`]: one look at one Cutover. Its shell is `controller`.

pub mod cutover;
