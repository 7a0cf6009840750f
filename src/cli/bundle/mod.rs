//! `bundle`: everything that somebody who was not there needs to understand a run, in one archive. Secrets are never read,
//! values of the environment are hashed, and what could not be read is listed.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::find::find;
use super::global::Global;
use super::output;
use super::session::Session;
use super::status::{model, page, read};
use super::text::{Glyph, Line, Look, Page, Tone};

mod collect;
mod redact;

pub(crate) use collect::RIGHTS;

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Bundle {
    /// A Cutover or a run; without one, the only Cutover of the namespace.
    name: Option<String>,
    /// Where the archive is written; otherwise cutover-bundle-NAME-TIME.tar.gz.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The namespace of the operator.
    #[arg(long, value_name = "NAME", default_value = "cutover-system")]
    operator_namespace: String,
    /// The last lines of each log.
    #[arg(long, value_name = "LINES", default_value_t = 2000)]
    tail: i64,
}

/// What the archive holds.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Contents {
    /// The version of the command line.
    pub version: String,
    pub made: Option<Timestamp>,
    /// Who made it.
    pub by: String,
    pub files: Vec<String>,
    /// What could not be read, and why.
    pub missing: Vec<String>,
}

/// What is printed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Made<'a> {
    file: &'a str,
    #[serde(flatten)]
    contents: &'a Contents,
}

/// A file of the archive.
pub(super) struct File {
    pub name: String,
    pub text: String,
}

impl Bundle {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let found = find(&session.cluster, self.name.as_deref()).await?;
        let reading = read::around(&session.cluster, found).await?;
        let now = Timestamp::now();
        let status = model::Status::of(&reading, &session.flags(), now);
        let look = Look { colour: false, unicode: true, width: None };
        let mut collected = collect::all(&session.cluster, &reading, &self.operator_namespace, self.tail).await;
        let text = redact::text(&page::page(&status, look, now).show(look));
        collected.files.insert(0, File { name: "status.txt".into(), text });
        let mut contents = Contents {
            version: env!("CARGO_PKG_VERSION").into(),
            made: Some(now),
            by: session.cluster.whoami().await.unwrap_or_default(),
            files: collected.files.iter().map(|f| f.name.clone()).collect(),
            missing: collected.missing,
        };
        contents.files.sort();
        let index = output::yaml(&contents)?;
        collected.files.insert(0, File { name: "contents.yaml".into(), text: index });
        let stem = format!("cutover-bundle-{}-{}", status.cutover, now.strftime("%Y%m%dT%H%M%SZ"));
        let path = self.file.unwrap_or_else(|| PathBuf::from(format!("{stem}.tar.gz")));
        let unwritable = |e: std::io::Error| Failure::new(format!("{} cannot be written: {e}", path.display()));
        std::fs::write(&path, archive(&stem, &collected.files, now).map_err(unwritable)?).map_err(unwritable)?;
        let file = path.display().to_string();
        let made = Made { file: &file, contents: &contents };
        output::print(global.output, session.look, &made, std::slice::from_ref(&file), || told(&made))?;
        Ok(Exit::Done)
    }
}

/// The files as one compressed archive.
fn archive(stem: &str, files: &[File], now: Timestamp) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(vec![], Compression::default()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
        tar.append_data(&mut header, format!("{stem}/{}", file.name), file.text.as_bytes())?;
    }
    let mut zipped = tar.into_inner()?;
    zipped.flush()?;
    zipped.finish()
}

fn told(made: &Made) -> Page {
    let mut page = Page::new();
    page.push(
        Line::new()
            .sign(Tone::Good, Glyph::Good)
            .tone(Tone::Strong, made.file)
            .text(format!(": {} files", made.contents.files.len())),
    );
    for missing in &made.contents.missing {
        page.push(Line::new().text("  ").sign(Tone::Warn, Glyph::Unknown).text("left out: ").text(missing));
    }
    page.push(
        Line::new()
            .tone(Tone::Dim, "look through it before you hand it on: what an application logs is its own business"),
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{self, HOSTILE, shown};

    #[test]
    fn the_list_of_contents_says_what_was_left_out() {
        let contents = Contents {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made: Some(fixtures::time(10)),
            by: "jane@example.com".to_owned(),
            files: vec!["contents.yaml".to_owned(), "cutover.yaml".to_owned(), "status.txt".to_owned()],
            missing: vec!["pods.yaml: you may not list pods in namespace prod".to_owned(), HOSTILE.to_owned()],
        };
        let made = Made { file: "bundle.tar.gz", contents: &contents };
        shown("bundle", &made, &told(&made));
        fixtures::snapshot("bundle-contents.yaml", &output::yaml(&contents).expect("YAML"));
    }
}
