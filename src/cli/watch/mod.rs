//! `watch`: what `status` shows, live; for pipelines lines and an exit code.
//!
//! `follow` watches the API, `store` keeps what it told, `choose` says which run is meant. From there `teller` makes lines
//! and the exit code, and `screen` the live screen, whose keys (`keys`, `ask`) end in a decision of the user.

use kube::ResourceExt;

use super::exit::{Exit, Failure};
use super::find::{Found, find};
use super::global::Global;
use super::session::Session;
use choose::Pick;
use until::Until;

mod args;
mod ask;
mod choose;
mod follow;
mod history;
mod keys;
pub(crate) mod lines;
mod live;
mod plain;
mod screen;
mod store;
mod teller;
mod terminal;
#[cfg(test)]
mod tests;
mod until;

pub(crate) use args::{Goal, Watch};
pub(crate) use follow::RIGHTS;

impl Watch {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let shown = self.shown(global)?;
        let session = Session::open_for(global, &RIGHTS, Some(follow::SILENT)).await?;
        let found = find(&session.cluster, self.name.as_deref()).await?;
        let cutover = found.cutover.name_any();
        let named = self.pick().or_else(|| named_run(&found, self.name.as_deref()));
        if shown == args::Shown::Screen {
            return live::run(&session, &cutover, named.unwrap_or(Pick::Newest)).await;
        }
        let until = Until { goal: self.until.unwrap_or_default(), when_waiting: self.exit_when_waiting };
        plain::run(&session, &cutover, named.unwrap_or(Pick::Wanted), until, self.timeout, shown).await
    }
}

/// The run, where the name is one.
fn named_run(found: &Found, name: Option<&str>) -> Option<Pick> {
    let name = name?;
    let (kind, bare) = name.split_once('/').unwrap_or(("", name));
    let is_cutover = match kind {
        "" => found.cutover.name_any() == bare,
        kind => kind == "cut" || kind.starts_with("cutover") && !kind.starts_with("cutoverrun"),
    };
    (!is_cutover).then(|| Pick::Named(bare.to_owned()))
}
