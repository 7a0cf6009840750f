//! Test programs of Cutover: an application to cut over, and load to put on it.
//!
//! Both link statically and run in an image that holds nothing else. The load is without TLS; the application serves
//! HTTP/1.1, HTTP/2, gRPC and a websocket on one port.

pub mod app;
pub mod fetch;
pub mod grpc;
pub mod jobs;
pub mod load;

/// Header by which the application tells live load from smoke tests.
pub const LOAD_HEADER: &str = "x-load";
/// User agent of the load generator.
pub const LOAD_AGENT: &str = "cutover-load";

/// Installs handlers for SIGTERM and SIGINT; the future resolves with the first one.
///
/// The handlers are in place when this returns. They are needed in a container,
/// where the process is PID 1 and has no default action for SIGTERM.
pub fn terminated() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// The present time as RFC 3339 with milliseconds.
pub(crate) fn now_text() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
