//! Report and marks over HTTP, for load that runs in a pod.

use super::LoadHandle;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};
use tokio::{net::TcpListener, time::sleep};

/// Serves `GET /report`, `POST /mark/NAME`, `POST /connect`, `POST /stop` and `GET /health`; never
/// ends by itself.
pub async fn serve(listener: TcpListener, handle: LoadHandle) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let handle = handle.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let handle = handle.clone();
                async move { Ok::<_, Infallible>(answer(&handle, &request).await) }
            });
            // Who asks and goes away gets no answer; the run does not care.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(handle: &LoadHandle, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let (status, value) = match (request.method(), path) {
        (&Method::GET, "/report") => (StatusCode::OK, json!(handle.snapshot())),
        (&Method::GET, "/health") => (StatusCode::OK, json!({"status": "ok"})),
        (&Method::POST, "/connect") if handle.connect() => (StatusCode::OK, json!({"connect": true})),
        (&Method::POST, "/connect") => {
            (StatusCode::CONFLICT, json!({"error": "no client keeps its connection, or the run is over"}))
        }
        (&Method::POST, "/stop") => (StatusCode::OK, json!(handle.stop().await)),
        (&Method::POST, _) => match path.strip_prefix("/mark/").filter(|name| !name.is_empty()) {
            Some(name) if handle.mark(name) => (StatusCode::OK, json!({"mark": name})),
            Some(_) => (StatusCode::CONFLICT, json!({"error": "the run is over"})),
            None => not_found(),
        },
        _ => not_found(),
    };
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn not_found() -> (StatusCode, Value) {
    let error = "use GET /report, POST /mark/NAME, POST /connect or POST /stop";
    (StatusCode::NOT_FOUND, json!({"error": error}))
}
