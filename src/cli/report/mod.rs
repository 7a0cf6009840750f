//! `report`: the record of a run that is handed in: made from the run alone, as one model (`model`), from which every sheet
//! is a selection (`templates`, `sections`), written as Markdown or HTML, or stated for a signature (`attest`).

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::exit::{Exit, Failure};
use super::global::Global;
use super::output;
use super::text::{Line, Look, Page};
#[cfg(any(test, feature = "fuzz"))]
use crate::api::run::CutoverRun;

pub(crate) mod attest;
mod find;
mod html;
mod markdown;
pub(crate) mod model;
mod parts;
mod plot;
mod sections;
mod sheet;
mod templates;
#[cfg(test)]
mod tests;

use model::Report;
use templates::Template;

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Print {
    /// A run, or a Cutover: its newest run. Without one, the only Cutover of the namespace.
    name: Option<String>,
    /// Read the run from a file with a CutoverRun as JSON or YAML (`-`: standard input); no cluster is asked.
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    file: Option<PathBuf>,
    /// What the sheet is written in.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Which sheet.
    #[arg(long, value_enum, default_value_t)]
    template: Template,
    /// Print an in-toto statement about the target's images, for a key of your own to sign.
    #[arg(long, conflicts_with_all = ["format", "template"])]
    attest: bool,
    /// Write into this file instead of printing.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What a sheet is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Markdown, as GitHub shows it.
    #[default]
    Markdown,
    /// One HTML file, which prints on A4.
    Html,
}

impl Print {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let run = find::run(global, self.name.as_deref(), self.file.as_ref()).await?;
        let report = Report::of(&run);
        let names = [format!("cutoverrun.cutover.dev/{}", report.run)];
        let text = match (self.attest, global.output) {
            (true, format) => output::text(format, &attest::statement(&report)?, &names)?,
            (false, Some(format)) => output::text(Some(format), &report, &names)?,
            (false, None) => write(&report, self.template, self.format),
        };
        let Some(path) = &self.to else {
            output::write(&text)?;
            return Ok(Exit::Done);
        };
        std::fs::write(path, text).map_err(|e| Failure::new(format!("{} cannot be written: {e}", path.display())))?;
        let mut page = Page::new();
        page.push(Line::new().text(format!("{}: the record of run {}", path.display(), report.run)));
        output::write(&page.show(Look::of_stdout(global.color)))?;
        Ok(Exit::Done)
    }
}

/// A sheet of a record.
fn write(report: &Report, template: Template, form: Form) -> String {
    let sheet = template.sheet(report);
    match form {
        Form::Markdown => markdown::write(&sheet),
        Form::Html => html::write(&sheet),
    }
}

/// The whole sheet of a run as Markdown and as HTML, with its model: what fuzzing holds to be harmless.
#[cfg(feature = "fuzz")]
pub(super) fn all(run: &CutoverRun) -> (Vec<String>, serde_json::Value) {
    let report = Report::of(run);
    let texts = [Form::Markdown, Form::Html].map(|form| write(&report, Template::Full, form));
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    (lines, serde_json::to_value(&report).unwrap_or_default())
}
