//! `status`: what happens, why, and what to do.

use clap::Args;
use jiff::Timestamp;
use kube::api::ListParams;

use super::exit::{Exit, Failure};
use super::global::Global;
use super::output;
use super::session::Session;
use super::text::time;
use crate::api::cutover::Cutover;

mod answer;
pub(crate) mod model;
pub(crate) mod page;
pub(crate) mod read;
pub(crate) mod sides;
pub(crate) mod table;

pub(crate) use read::RIGHTS;

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Status {
    /// A Cutover or a run; without one, the only Cutover of the namespace, or the table of all.
    name: Option<String>,
    /// The Cutovers of all namespaces, one a line.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// Only those that wait for a person.
    #[arg(long, conflicts_with = "name")]
    waiting: bool,
    /// Only those that have been in their phase for longer, such as 2h.
    #[arg(long, value_name = "TIME", conflicts_with = "name", value_parser = time::duration)]
    older_than: Option<std::time::Duration>,
}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let table = self.all_namespaces || self.waiting || self.older_than.is_some();
        let now = Timestamp::now();
        if self.name.is_none() {
            let namespace = (!self.all_namespaces).then(|| session.namespace().to_owned());
            let cutovers: Vec<Cutover> = session.cluster.list(namespace.as_deref(), &ListParams::default()).await?;
            if table || cutovers.len() > 1 {
                return self.table(&session, &cutovers, now);
            }
        }
        let reading = read::read(&session.cluster, self.name.as_deref()).await?;
        let model = model::Status::of(&reading, &session.flags());
        output::print(global.output, session.look, &model, &model.names(), || page::page(&model, session.look, now))?;
        Ok(Exit::Done)
    }

    fn table(&self, session: &Session, cutovers: &[Cutover], now: Timestamp) -> Result<Exit, Failure> {
        let mut rows: Vec<table::Row> = cutovers.iter().map(table::Row::of).collect();
        rows.retain(|r| !self.waiting || r.waits_for_person);
        rows.retain(|r| self.older_than.is_none_or(|age| r.is_older_than(age, now)));
        rows.sort_by(|a, b| (&a.namespace, &a.cutover).cmp(&(&b.namespace, &b.cutover)));
        if rows.is_empty() && session.global.output.is_none() {
            let place = if self.all_namespaces {
                "the cluster".to_owned()
            } else {
                format!("namespace {}", session.namespace())
            };
            eprintln!("{place} has no such Cutover");
        }
        let names: Vec<String> = rows.iter().map(|r| format!("cutover.cutover.dev/{}", r.cutover)).collect();
        output::print(session.global.output, session.look, &rows, &names, || {
            table::page(&rows, self.all_namespaces, session.look, now)
        })?;
        Ok(Exit::Done)
    }
}
