//! Lines for pipelines: one for each change, and an exit code.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior};

use super::args::Shown;
use super::choose::Pick;
use super::follow::Follow;
use super::lines::Change;
use super::store::Store;
use super::teller::{PARTS, Teller};
use super::until::Until;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::text::Look;

/// Prints until the wait is over.
pub(super) async fn run(
    session: &Session,
    cutover: &str,
    pick: Pick,
    until: Until,
    timeout: Option<Duration>,
    shown: Shown,
) -> Result<Exit, Failure> {
    let mut follow = Follow::begin(&session.cluster, cutover, &PARTS)?;
    let mut teller = Teller::new(cutover, session.namespace(), pick, until, session.flags());
    let mut store = Store::default();
    let over = timeout.map(|t| (t, Instant::now() + t));
    let end = async {
        match over {
            Some((after, at)) => {
                tokio::time::sleep_until(at).await;
                after
            }
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    // Nothing is asked: a second is how finely silence is noticed.
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = follow.next() => match heard {
                Some(heard) => store.hear(heard, Timestamp::now()),
                None => return Err(Failure::new("the watches have ended")),
            },
            _ = second.tick() => {}
            after = &mut end => return Err(teller.too_late(&store, after, Timestamp::now())),
        }
        let said = teller.look(&store, Timestamp::now());
        for change in &said.changes {
            if !print(change, shown)? {
                return Err(Failure::new("nobody reads the output any more"));
            }
        }
        if let Some(end) = said.end {
            return end;
        }
    }
}

/// Prints a change; false once nobody reads any more.
fn print(change: &Change, shown: Shown) -> Result<bool, Failure> {
    // A line for a log has no width and no colours.
    let look = Look { colour: false, unicode: true, width: None };
    let text = match shown {
        Shown::Json => serde_json::to_string(change).map_err(|e| Failure::new(format!("defect: {e}")))?,
        Shown::Lines | Shown::Screen => change.line().show(look),
    };
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new(format!("the output cannot be written: {e}"))),
    }
}
