//! One connection, in the protocol that its client speaks: HTTP/1.1, a websocket that begins as such, or HTTP/2 with prior
//! knowledge, which gRPC rides on. Each is closed as its protocol has it, so that no client loses an answer.

use super::{App, AppBody, control, routes, websocket};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest wait for the first bytes, by which the protocol is known.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// What a connection leads to.
#[derive(Clone, Copy, PartialEq)]
pub enum Port {
    App,
    Control,
}

/// How far the process is with its end.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Stage {
    Serving,
    /// SIGTERM has come: new connections are still taken, and what would stay open for ever is closed.
    Draining,
    /// Nothing new is taken.
    Closing,
}

/// Waits until the process is that far with its end.
pub async fn told(stages: &mut watch::Receiver<Stage>, stage: Stage) {
    // An error means that `run` has ended, which is as good a reason to close.
    let _ = stages.wait_for(|now| *now >= stage).await;
}

/// Serves a connection without TLS to its end.
pub async fn serve_plain(app: Arc<App>, stream: TcpStream, port: Port, mut stages: watch::Receiver<Stage>) {
    let http2 = port == Port::App
        && tokio::select! {
            known = timeout(FIRST_BYTES, speaks_http2(&stream)) => known.unwrap_or_default(),
            () = told(&mut stages, Stage::Closing) => false,
        };
    if http2 {
        serve_http2(app, stream, stages).await;
    } else {
        serve_http1(app, stream, port, stages).await;
    }
}

/// Whether the client speaks HTTP/2 from the start. Looks at its first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> bool {
    let mut seen = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut seen).await {
            Ok(n) if n == 0 || seen[..n] != PREFACE[..n] => return false,
            Ok(n) if n == PREFACE.len() => return true,
            // The rest is under way, and a peek would show the same again at once.
            Ok(_) => sleep(Duration::from_millis(1)).await,
            Err(_) => return false,
        }
    }
}

async fn serve_http2(app: Arc<App>, stream: TcpStream, mut stages: watch::Receiver<Stage>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(routes::handle(&app, request).await) }
    });
    let server = http2::Builder::new(TokioExecutor::new());
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = told(&mut stages, Stage::Draining) => {
            // GOAWAY; streams that are open, or on their way, are still answered.
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Serves a connection that begins with HTTP/1.1.
pub async fn serve_http1<S>(app: Arc<App>, stream: S, port: Port, mut stages: watch::Receiver<Stage>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded: Mutex<Option<OnUpgrade>> = Mutex::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (app, upgraded) = (app.clone(), &upgraded);
        async move {
            let upgrade = upgrade::on(&mut request);
            let response: Response<AppBody> = match port {
                Port::App => routes::handle(&app, request).await,
                Port::Control => control::handle(&app, request).await,
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let server = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(server.with_upgrades());
    // Errors of a connection are the client's business: it counts its losses.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = told(&mut stages, Stage::Closing) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.as_mut().await;
        }
    }
    let upgraded = upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(upgrade) = upgraded
        && let Ok(stream) = upgrade.await
    {
        websocket::talk(&app, TokioIo::new(stream), &mut stages).await;
    }
}
