//! PURE. Text for people: pages of styled lines, made harmless, in colour or without, in UTF-8 or ASCII.

pub(crate) use crate::harmless;
pub(crate) mod look;
pub(crate) mod page;
#[cfg(test)]
pub(crate) mod picture;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod wrap;

pub(crate) use look::{Glyph, Look, Tone};
pub(crate) use page::{Line, Page};
pub(crate) use table::Table;
