//! Clients that never close their connection by themselves. Each keeps one, in one protocol, asks over it at a steady rate,
//! and opens another one only when its peer has closed it, or it has failed. They show what a switch of new connections
//! alone does not move.

mod connection;
mod tally;

pub use tally::Tally;

use super::LoadConfig;
use connection::{Answer, Connection, Failure};
use jiff::Timestamp;
use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};

/// Most clients of a protocol.
pub const MOST: usize = 250;
/// Shortest interval at which a client asks.
pub const SHORTEST: Duration = Duration::from_millis(20);
/// Pause before a question whose connections the peer closed twice is asked anew: a node leads new connections to a pod that
/// ends for a moment more. The time-out of a request bounds it all.
const PAUSE: Duration = Duration::from_millis(100);

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, kept alive.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// Unary gRPC calls.
    Grpc,
    /// Messages over a websocket.
    Websocket,
}

/// All of them, by their names in the report.
pub const PROTOCOLS: [(&str, Protocol); 4] = [
    ("grpc", Protocol::Grpc),
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("websocket", Protocol::Websocket),
];

/// What the clients of all protocols met, in the order of `PROTOCOLS`.
pub type Tallies = Mutex<Vec<Tally>>;

/// The clients of a load: from the moment at which they are told to connect until the load ends.
pub struct Lasting {
    connect: watch::Sender<bool>,
    tallies: Tallies,
}

impl Lasting {
    /// So many clients of each protocol; without one nothing is ever opened.
    pub fn new(config: &LoadConfig) -> Self {
        let tallies = PROTOCOLS.map(|_| Tally::new(config.lasting.min(MOST)));
        Self { connect: watch::Sender::new(!config.lasting_later), tallies: Mutex::new(tallies.into()) }
    }

    /// Lets the clients connect.
    pub fn connect(&self) {
        self.connect.send_replace(true);
    }

    /// What they met so far, by protocol.
    pub fn tallies<T>(&self, read: impl FnMut(&Tally) -> T) -> Vec<T> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).iter().map(read).collect()
    }

    fn with<T>(&self, protocol: usize, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tallies.lock().unwrap_or_else(PoisonError::into_inner)[protocol])
    }

    /// Runs the clients until `end` or a stop, whichever is first; says whether it was `end`.
    pub async fn run(self: Arc<Self>, config: LoadConfig, mut stop: watch::Receiver<bool>, end: Instant) -> bool {
        let mut connect = self.connect.subscribe();
        let (clients, every) = (config.lasting.min(MOST), config.lasting_every.max(SHORTEST));
        // An error would mean that the sender is gone, but `self` holds it.
        let told = async { connect.wait_for(|connect| *connect).await.is_ok() };
        let mut over = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return false,
            () = sleep_until(end) => return true,
            _ = told => JoinSet::new(),
        };
        let start = Instant::now();
        for (protocol, _) in PROTOCOLS.iter().enumerate() {
            for number in 0..clients {
                // Spread over the interval, so that no two moments of it differ.
                let first = start + every.mul_f64(number as f64 / clients as f64);
                let client = Client { lasting: self.clone(), config: config.clone(), protocol, number };
                over.spawn(client.run(first, every, stop.clone(), end));
            }
        }
        while over.join_next().await.is_some() {}
        !*stop.borrow()
    }
}

/// One client.
struct Client {
    lasting: Arc<Lasting>,
    config: LoadConfig,
    protocol: usize,
    number: usize,
}

impl Client {
    async fn run(self, first: Instant, every: Duration, mut stop: watch::Receiver<bool>, end: Instant) {
        let mut tick = interval_at(first, every);
        // A client asks once at a time: what an answer took longer is not made good for.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection: Option<Connection> = None;
        loop {
            let closed = async {
                match connection.as_mut() {
                    Some(connection) => connection.closed().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep_until(end) => return,
                () = closed => {
                    connection = None;
                    continue;
                }
                _ = tick.tick() => {}
            }
            self.ask(&mut connection).await;
        }
    }

    /// Asks once, over the connection that is there, or a new one.
    async fn ask(&self, connection: &mut Option<Connection>) {
        let (began, start) = (Timestamp::now(), Instant::now());
        self.lasting.with(self.protocol, |tally| tally.sent += 1);
        let limit = self.config.timeout;
        let answer = match timeout(limit, self.answer(connection)).await {
            Ok(answer) => answer,
            Err(_) => Err(("timeout", format!("no full answer within {limit:?}"))),
        };
        let ended = Timestamp::now();
        if answer.is_err() {
            *connection = None;
        }
        self.lasting.with(self.protocol, |tally| match answer {
            Ok(answer) => tally.answered(self.number, answer, ended),
            Err((kind, error)) => tally.lost(began, start.elapsed(), kind, error),
        });
    }

    async fn answer(&self, slot: &mut Option<Connection>) -> Result<Answer, (&'static str, String)> {
        let mut closed = 0;
        loop {
            let asked = match slot.take() {
                Some(connection) => self.over(connection).await,
                None => {
                    self.lasting.with(self.protocol, |tally| tally.connections += 1);
                    match Connection::open(PROTOCOLS[self.protocol].1, &self.config).await {
                        Ok(connection) => self.over(connection).await,
                        Err(failure) => Err(failure),
                    }
                }
            };
            match asked {
                Ok((answer, connection)) => {
                    *slot = (!answer.last).then_some(connection);
                    return Ok(answer);
                }
                Err(Failure::Declined(answer)) => return Ok(answer),
                Err(Failure::Lost(kind, error)) => return Err((kind, error)),
                Err(Failure::Closed) => {
                    closed += 1;
                    self.lasting.with(self.protocol, |tally| tally.reopened += 1);
                }
            }
            if closed > 1 {
                sleep(PAUSE).await;
            }
        }
    }

    async fn over(&self, mut connection: Connection) -> Result<(Answer, Connection), Failure> {
        Ok((connection.ask(&self.config).await?, connection))
    }
}
