//! `lint`: manifests checked without a cluster, for editors and pipelines.

mod files;
pub(crate) mod page;

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};

use super::exit::{Exit, Failure};
use super::global::{Format, Global};
use super::output;
use super::text::Look;
use crate::lint::{self, Code, Options, report};
use crate::plan::Offered;

/// What is checked, and how it is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Lint {
    /// A file, a folder with all that is in it (*.yaml, *.yml, *.json), or - for standard input; may be given more than once.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE|FOLDER|-")]
    filename: Vec<std::path::PathBuf>,
    /// In which form findings are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Whatever a Cutover refers to must be in the input.
    #[arg(long)]
    require_references: bool,
    /// A warning fails the command, too.
    #[arg(long)]
    warnings_as_errors: bool,
    /// Findings with this code are not told; may be given more than once.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = code)]
    ignore: Vec<Code>,
    /// A source of metrics that the operator's configuration offers; the first is its default. Without any, all names are
    /// taken.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    offered: Vec<String>,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Text,
    /// Annotations of a GitHub workflow.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JSON, as docs/lint.md describes it.
    Json,
}

impl Lint {
    pub(crate) fn run(self, global: &Global) -> Result<Exit, Failure> {
        if global.output.is_some() && self.format != Form::Text {
            return Err(Failure::new("--format and --output both say what is printed; give one").exit(Exit::Usage));
        }
        let offered = self.offered.first().map(|first| Offered {
            names: self.offered.iter().cloned().collect(),
            default: Some(first.clone()),
            ..Offered::default()
        });
        let options = Options {
            require_references: self.require_references,
            ignore: self.ignore.iter().copied().collect::<BTreeSet<_>>(),
            offered,
        };
        let outcome = lint::check(files::read(&self.filename)?, &options);
        let text = match (global.output, self.format) {
            (Some(Format::Name | Format::Patch), _) => {
                let why = "findings do not have that form; --output json or --format github lists them";
                return Err(Failure::new(why).exit(Exit::Usage));
            }
            (Some(Format::Yaml), _) => output::yaml(&report::json(&outcome))?,
            (Some(Format::Json), _) | (None, Form::Json) => format!("{:#}\n", report::json(&outcome)),
            (None, Form::Sarif) => format!("{:#}\n", report::sarif(&outcome)),
            (None, Form::Github) => report::github(&outcome),
            // A finding is read to its end, whatever the width.
            (None, Form::Text) => page::page(&outcome).show(Look { width: None, ..Look::of_stdout(global.color) }),
        };
        output::write(&text)?;
        let fails = outcome.errors > 0 || (self.warnings_as_errors && outcome.warnings > 0);
        Ok(if fails { Exit::Failed } else { Exit::Done })
    }
}

fn code(text: &str) -> Result<Code, String> {
    Code::of(text).ok_or_else(|| "there is no such code; docs/lint.md lists them, such as CUT101".to_owned())
}
