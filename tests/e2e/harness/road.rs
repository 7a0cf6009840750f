//! The stretch of the road that knows nothing of requests: connections, which can die without a word or with a reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Connections with a number below these have ended.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    silently: u64,
    reset: u64,
}

/// Passes connections on; it ends with the test's runtime.
#[derive(Clone)]
pub struct Road {
    ended: watch::Sender<Ended>,
    next: Arc<AtomicU64>,
}

impl Road {
    /// Starts on a free port of loopback, which is returned, and leads to another one.
    pub async fn start(to: std::net::SocketAddr) -> Result<(Self, std::net::SocketAddr)> {
        let road = Self { ended: watch::Sender::default(), next: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (next, ended) = (road.next.clone(), road.ended.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = next.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, to, number, ended.subscribe()));
            }
        });
        Ok((road, address))
    }

    /// All connections that there are now carry nothing any more, and nobody is told: no FIN, no reset. New ones are well.
    pub fn forget(&self) {
        let now = self.next.load(Ordering::SeqCst);
        self.ended.send_modify(|ended| ended.silently = now);
    }

    /// All connections that there are now are reset.
    pub fn reset(&self) {
        let now = self.next.load(Ordering::SeqCst);
        self.ended.send_modify(|ended| ended.reset = now);
    }
}

async fn carry(mut client: TcpStream, to: std::net::SocketAddr, number: u64, mut ended: watch::Receiver<Ended>) {
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut reset = ended.clone();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        Ok(_) = reset.wait_for(|ended| number < ended.reset) => {
            let _ = client.set_zero_linger();
            return;
        }
        Ok(_) = ended.wait_for(|ended| number < ended.silently) => {}
    }
    // Whatever stood behind it is let go; towards the client nothing happens until it gives up or is reset.
    drop(server);
    let _ = reset.wait_for(|ended| number < ended.reset).await;
}
