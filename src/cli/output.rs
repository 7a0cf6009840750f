//! Prints what a command found: for people as a page, for a program as JSON or YAML.

use std::io::Write;

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::global::Format;
use super::text::{Look, Page};

/// Prints a model in the wanted form. `names`: what `--output name` prints.
///
/// # Errors
/// The output cannot be written, other than that nobody reads it any more.
pub(crate) fn print<T: Serialize>(
    format: Option<Format>,
    look: Look,
    model: &T,
    names: &[String],
    page: impl FnOnce() -> Page,
) -> Result<(), Failure> {
    let text = match format {
        None => page().show(look),
        Some(_) => text(format, model, names)?,
    };
    write(&text)
}

/// A model for a program; JSON where nothing else is asked for.
///
/// # Errors
/// The command has no such form.
pub(crate) fn text<T: Serialize>(format: Option<Format>, model: &T, names: &[String]) -> Result<String, Failure> {
    Ok(match format {
        None | Some(Format::Json) => serde_json::to_string_pretty(model).map_err(unprintable)? + "\n",
        Some(Format::Yaml) => yaml(model)?,
        Some(Format::Patch) => {
            return Err(Failure::new("this command has no output `patch`")
                .next("choose json, yaml or name")
                .exit(Exit::Usage));
        }
        Some(Format::Name) => names.iter().map(|n| format!("{n}\n")).collect(),
    })
}

/// A model as YAML.
///
/// # Errors
/// It has no form in YAML.
pub(crate) fn yaml<T: Serialize>(model: &T) -> Result<String, Failure> {
    // Through JSON, so that both say the same.
    let value = serde_json::to_value(model).map_err(unprintable)?;
    serde_saphyr::to_string(&value).map_err(unprintable)
}

/// Writes to standard output.
///
/// # Errors
/// It cannot be written. That the reader has gone (`| head`) is none.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("the output cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("defect: the result cannot be printed: {error}"))
}
