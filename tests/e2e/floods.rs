//! Connections that say nothing: to the operator's own server, and from it to servers of tenants that never answer. A restore
//! goes on beside them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use cutover::api::{Phase, Verb};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// More than the operator keeps open.
const FLOOD: usize = 300;

/// Connections that are made again whenever they are closed, until this is dropped.
struct Flood {
    tasks: tokio::task::JoinSet<()>,
    made: Arc<AtomicUsize>,
}

impl Flood {
    fn of(at: SocketAddr) -> Self {
        let (mut tasks, made) = (tokio::task::JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for n in 0..FLOOD {
            let made = made.clone();
            tasks.spawn(async move {
                while let Ok(mut tcp) = TcpStream::connect(at).await {
                    made.fetch_add(1, Ordering::Relaxed);
                    if n % 2 == 0 && tcp.write_all(b"GET /metrics HTTP/1.1\r\nx-slow: ").await.is_err() {
                        continue;
                    }
                    // Until the other side has had enough.
                    tcp.readable().await.ok();
                    let mut byte = [0];
                    while matches!(tcp.try_read(&mut byte), Ok(n) if n > 0) {}
                    tokio::task::yield_now().await;
                }
            });
        }
        Self { tasks, made }
    }
}

fn listens(t: &Case) -> Result<SocketAddr> {
    let log = t.log_of("operator")?;
    let address = log.split_once("listen=Ok(").and_then(|(_, rest)| rest.split(')').next()).context("the address")?;
    Ok(address.parse()?)
}

#[test]
fn a_flood_of_silent_connections_holds_up_neither_a_restore_nor_the_health() {
    e2e("flood_of_connections", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 10m, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 60).await?;
        let mut flood = Flood::of(listens(t)?);
        let made = flood.made.clone();
        wait::poll("the flood", secs(20), async || Ok((made.load(Ordering::Relaxed) > FLOOD).then_some(()))).await?;
        for _ in 0..3 {
            let (code, said) = t.health("operator", "livez").await?.context("no health")?;
            ensure!(code == 200, "{code} {said}");
        }
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let (code, said) = t.health("operator", "readyz").await?.context("no health")?;
        ensure!(code == 200, "{code} {said}");
        let (code, text) = t.health("operator", "metrics").await?.context("no metrics")?;
        ensure!(code == 200 && text.contains("cutover_runs_active"), "{code}");
        flood.tasks.shutdown().await;
        t.alive()
    });
}
