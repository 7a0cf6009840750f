//! Listeners, drain and end of the application.

use super::{
    App,
    connection::{Port, Stage, serve_http1, serve_plain, told},
};
use serde_json::{Value, json};
use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// A process that has died of live traffic dies again this soon after a restart.
const DIE_AGAIN: Duration = Duration::from_millis(500);
/// Lets the answer to the request that asked for the end get out.
const LAST_ANSWER: Duration = Duration::from_millis(50);
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The listening sockets.
pub struct Listeners {
    app: TcpListener,
    control: TcpListener,
    tls: Option<(TcpListener, TlsAcceptor)>,
}

impl Listeners {
    /// Opens all of them; port 0 picks a free port.
    pub async fn bind(config: &super::AppConfig) -> io::Result<Self> {
        let tls = match &config.tls {
            Some((cert, key)) => {
                let acceptor = super::tls::acceptor(cert, key).map_err(io::Error::other)?;
                Some((TcpListener::bind((config.bind, config.tls_port)).await?, acceptor))
            }
            None => None,
        };
        Ok(Self {
            tls,
            app: TcpListener::bind((config.bind, config.port)).await?,
            control: TcpListener::bind((config.bind, config.control_port)).await?,
        })
    }

    /// Address of the application.
    pub fn app_addr(&self) -> io::Result<SocketAddr> {
        self.app.local_addr()
    }

    /// Address of the control port.
    pub fn control_addr(&self) -> io::Result<SocketAddr> {
        self.control.local_addr()
    }
}

/// Serves until `shutdown` resolves and the drain is over, or until a fault ends
/// the process; returns the code with which the process has to exit.
pub async fn run(app: Arc<App>, listeners: Listeners, shutdown: impl Future<Output = ()>) -> i32 {
    log(&app, "start", json!({"died_before": app.died_before}));
    let (stage, stages) = watch::channel(Stage::Serving);
    // Dropping the set aborts its tasks and so closes all sockets: that is a crash.
    let mut ports = JoinSet::new();
    ports.spawn(accept(app.clone(), listeners.app, Port::App, None, stages.clone()));
    if let Some((listener, tls)) = listeners.tls {
        ports.spawn(accept(app.clone(), listener, Port::App, Some(tls), stages.clone()));
    }
    ports.spawn(accept(app.clone(), listeners.control, Port::Control, None, stages));
    let drain = async {
        shutdown.await;
        app.draining.store(true, Ordering::Relaxed);
        stage.send_replace(Stage::Draining);
        log(&app, "drain", json!({"drain_ms": app.config.drain.as_millis() as u64}));
        sleep(app.config.drain).await;
    };
    let code = tokio::select! {
        () = burdens(&app) => 1,
        code = asked_to_exit(&app) => code,
        code = fault_timers(&app) => code,
        () = drain => {
            stage.send_replace(Stage::Closing);
            if timeout(app.config.grace, async { while ports.join_next().await.is_some() {} })
                .await
                .is_err()
            {
                log(&app, "grace-over", json!({}));
            }
            0
        }
    };
    let served = app.served.load(Ordering::Relaxed);
    log(&app, "stop", json!({"exit_code": code, "requests_served": served}));
    code
}

async fn asked_to_exit(app: &App) -> i32 {
    let mut exit = app.exit.subscribe();
    // An error would mean that the sender is gone, but `app` holds it.
    let code = exit.wait_for(Option::is_some).await.map(|code| *code);
    sleep(LAST_ANSWER).await;
    code.ok().flatten().unwrap_or(1)
}

/// Resolves when a fault ends the process.
async fn fault_timers(app: &App) -> i32 {
    let config = &app.config;
    let crash = async {
        let Some(after) = config.crash_after else {
            return pending().await;
        };
        if config.only_after_live {
            app.faults.first_live().await;
        }
        sleep(after).await;
    };
    let die = async {
        let Some(after) = config.die_after_live else {
            return pending().await;
        };
        if app.died_before {
            return sleep(DIE_AGAIN).await;
        }
        app.faults.first_live().await;
        sleep(after).await;
        if let Err(error) = std::fs::write(config.death_marker(), "") {
            log(app, "no-death-marker", json!({"error": error.to_string()}));
        }
    };
    tokio::select! {
        () = crash => log(app, "fault-crash", json!({})),
        () = die => log(app, "fault-die", json!({})),
    }
    1
}

/// What a bad release costs beside its answers: memory, a processor, lines of log. Never resolves.
async fn burdens(app: &App) {
    let config = &app.config;
    if config.leak_mb == 0 && !config.burn && config.log_line.is_none() {
        return pending().await;
    }
    app.faults.first_live().await;
    if config.burn {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let mut leaked: Vec<Vec<u8>> = Vec::new();
    loop {
        // Written to, so that it is really there.
        leaked.push(vec![1; config.leak_mb as usize * 1024 * 1024 / 10]);
        if let Some(line) = &config.log_line {
            println!("{line}");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    port: Port,
    tls: Option<TlsAcceptor>,
    mut stages: watch::Receiver<Stage>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(open(app.clone(), stream, port, tls.clone(), stages.clone()));
                }
                // Out of file descriptors, or the client is gone already: go on.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = told(&mut stages, Stage::Closing) => break,
        }
    }
    // Connections that wait in the backlog would be reset with the listener.
    while let Ok(Ok((stream, _))) = timeout(LAST_ANSWER, listener.accept()).await {
        connections.spawn(open(app.clone(), stream, port, tls.clone(), stages.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn open(app: Arc<App>, stream: TcpStream, port: Port, tls: Option<TlsAcceptor>, stages: watch::Receiver<Stage>) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_plain(app, stream, port, stages).await,
        // A handshake that fails, or never ends, is the client's business.
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                serve_http1(app, stream, port, stages).await;
            }
        }
    }
}

fn log(app: &App, event: &str, more: Value) {
    let config = &app.config;
    let mut line = json!({
        "time": crate::now_text(), "event": event, "app": config.app,
        "version": config.version, "colour": config.colour, "pod": config.pod,
    });
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    println!("{line}");
}
