//! A websocket: each message is answered with who answers it. It is closed with a close frame, never by a cut.

use super::{
    App, AppBody,
    connection::{Stage, told},
    routes,
};
use futures_util::{SinkExt, StreamExt};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::json;
use std::sync::atomic::Ordering;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// The answer to a request for a websocket; 426 to another one.
pub fn accept(headers: &HeaderMap) -> Response<AppBody> {
    let asked = headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accepted = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| asked)
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    let Some(accepted) = accepted else {
        return routes::json(StatusCode::UPGRADE_REQUIRED, &json!({"error": "a websocket is served here"}));
    };
    let mut response = Response::new(AppBody::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    response
}

/// Answers every message until the client goes, or the process ends.
pub async fn talk<S>(app: &App, stream: S, stages: &mut watch::Receiver<Stage>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            () = told(stages, Stage::Draining) => break,
        };
        match message {
            Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                app.served.fetch_add(1, Ordering::Relaxed);
                let config = &app.config;
                let answer = json!({"colour": config.colour, "version": config.version, "pod": config.pod});
                if socket.send(Message::text(answer.to_string())).await.is_err() {
                    return;
                }
            }
            // The library answers pings and the client's own close frame.
            Some(Ok(_)) => {}
            None | Some(Err(_)) => return,
        }
    }
    let frame = CloseFrame { code: CloseCode::Away, reason: "the pod ends".into() };
    if socket.close(Some(frame)).await.is_ok() {
        // Until the client has said the same. What it sent before is not answered any more, which the close frame says.
        while let Some(Ok(_)) = socket.next().await {}
    }
}
