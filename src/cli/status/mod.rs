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
pub(crate) mod question;
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
        let model = model::Status::of(&reading, &session.flags(), now);
        output::print(global.output, session.look, &model, &model.names(), || page::page(&model, session.look, now))?;
        Ok(Exit::Done)
    }

    fn table(&self, session: &Session, cutovers: &[Cutover], now: Timestamp) -> Result<Exit, Failure> {
        let context = session.cluster.context_flag();
        let mut rows: Vec<table::Row> = cutovers.iter().map(|c| table::Row::of(c, &context)).collect();
        rows.retain(|r| !self.waiting || r.waits_for_person);
        rows.retain(|r| self.older_than.is_none_or(|age| r.is_older_than(age, now)));
        rows.sort_by(|a, b| (&a.namespace, &a.cutover).cmp(&(&b.namespace, &b.cutover)));
        if rows.is_empty() && session.global.output.is_none() {
            let place = if self.all_namespaces {
                "the cluster".to_owned()
            } else {
                format!("namespace {}", session.namespace())
            };
            eprintln!("{}", self.none(&place));
        }
        let names: Vec<String> = rows.iter().map(|r| format!("cutover.cutover.dev/{}", r.cutover)).collect();
        output::print(session.global.output, session.look, &rows, &names, || {
            table::page(&rows, self.all_namespaces, session.look, now)
        })?;
        Ok(Exit::Done)
    }
}

impl Status {
    /// What is said where the table would be empty.
    fn none(&self, place: &str) -> String {
        let waits = if self.waiting { " that waits for a person" } else { "" };
        let age = self.older_than.and_then(|age| jiff::SignedDuration::try_from(age).ok()).map(time::long);
        let age = age.map(|age| format!(" that has been in its phase for longer than {age}")).unwrap_or_default();
        format!("{place} has no Cutover{waits}{age}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixtures::{self, HOSTILE, at_gate, cutover, observing, over, run, shown, time};
    use crate::cli::text::Look;

    #[test]
    fn a_run_is_shown_at_its_gate_while_it_observes_and_when_it_is_over() {
        for (name, live, status) in [
            ("status-gate", "blue@2.3.0", at_gate("t")),
            ("status-observing", "green@2.4.0", observing()),
            ("status-rolled-back", "blue@2.3.0", over("RolledBack")),
        ] {
            let runs = vec![run(1, "2.3.0", Some(over("Completed"))), run(2, "2.4.0", Some(status))];
            let reading = fixtures::reading(cutover("2.4.0", json!({"live": live})), runs);
            let status = model::Status::of(&reading, " -n prod", time(10));
            shown(name, &status, &page::page(&status, Look::plain(), time(10)));
        }
    }

    #[test]
    fn what_a_run_says_in_others_words_steers_no_terminal() {
        let mut status = observing();
        status["decisions"][0]["comment"] = json!(HOSTILE);
        status["decisions"][0]["by"] = json!(HOSTILE);
        status["steps"][0]["message"] = json!(HOSTILE);
        status["steps"][0]["evidence"] = json!({"saw": HOSTILE});
        status["triggers"][0]["saw"] = json!(HOSTILE);
        status["oldRelease"] = json!(HOSTILE);
        let mut cutover = cutover(HOSTILE, json!({"live": format!("green@{HOSTILE}"), "message": HOSTILE}));
        cutover.metadata.name = Some(HOSTILE.to_owned());
        let reading = fixtures::reading(cutover, vec![run(2, HOSTILE, Some(status))]);
        let status = model::Status::of(&reading, " -n prod", time(10));
        shown("status-hostile", &status, &page::page(&status, Look::plain(), time(10)));
    }

    #[test]
    fn the_table_has_each_cutover_on_a_line() {
        let row = |name: &str, status: serde_json::Value| {
            let mut cutover = cutover("2.4.0", status);
            cutover.metadata.name = Some(name.to_owned());
            table::Row::of(&cutover, "")
        };
        let gate = json!({"name": "go", "token": "t", "until": fixtures::at(59), "roles": []});
        let rows = vec![
            row("idle", json!({})),
            row("waits", json!({"phase": "Verifying", "since": fixtures::at(5), "progress": "2/3", "gate": gate})),
            row(
                "back",
                json!({"phase": "RolledBack", "since": fixtures::at(1), "run": {"name": "back-2"}, "message":
                    "trigger errors fired; next: kubectl describe cutoverrun back-2 -n prod"}),
            ),
            row(
                "held",
                json!({"phase": "Observing", "since": fixtures::at(1), "conditions": [{"type": "Suspended",
                "status": "True", "reason": "Suspended", "message": "m", "lastTransitionTime": fixtures::at(9)}]}),
            ),
            row(HOSTILE, json!({"phase": "RolledBack", "since": fixtures::at(1), "message": HOSTILE})),
        ];
        shown("status-all", &rows, &table::page(&rows, true, Look::plain(), time(10)));
    }
}
