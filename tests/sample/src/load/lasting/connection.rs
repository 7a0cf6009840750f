//! One connection of a client, in its protocol.

use super::{
    super::{LoadConfig, client::why},
    Protocol,
};
use crate::{LOAD_AGENT, LOAD_HEADER, grpc};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    header::{self, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::{error::Error, future::pending};
use tokio::{net::TcpStream, task::AbortHandle};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// What a client is answered.
pub struct Answer {
    /// Status of HTTP; 200 for a message, 500 for a gRPC call that failed.
    pub status: u16,
    /// Side of the pod that answers.
    pub colour: String,
    /// Its name.
    pub pod: String,
    /// The pod closes the connection after it.
    pub last: bool,
}

/// Why there is no answer to the question.
pub enum Failure {
    /// The connection itself was answered with an error.
    Declined(Answer),
    /// The peer closed the connection and has not taken up the request: it may be sent again on another one.
    Closed,
    /// Kind and words.
    Lost(&'static str, String),
}

type Body = Full<Bytes>;

/// A connection of one client.
pub struct Connection {
    way: Way,
    /// Kept for its end alone.
    _driver: Option<Driver>,
}

enum Way {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
    Grpc(http2::SendRequest<Body>),
    Websocket(Box<WebSocketStream<TcpStream>>),
}

/// The task that moves the bytes of a connection; it ends with it.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Driver {
    fn of<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) -> Self {
        // The request on the connection sees the error, too.
        Self(tokio::spawn(async move { drop(connection.await) }).abort_handle())
    }
}

impl Connection {
    /// Opens one.
    pub async fn open(protocol: Protocol, config: &LoadConfig) -> Result<Self, Failure> {
        let stream = TcpStream::connect(config.addr).await.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let (way, driver) = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
                (Way::Http1(sender), Some(Driver::of(connection)))
            }
            Protocol::Http2 | Protocol::Grpc => {
                let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
                let (sender, connection) = handshake.await.map_err(lost)?;
                let way = if protocol == Protocol::Grpc { Way::Grpc(sender) } else { Way::Http2(sender) };
                (way, Some(Driver::of(connection)))
            }
            Protocol::Websocket => {
                let request = format!("ws://{}/websocket", config.host).into_client_request();
                let mut request = request.map_err(lost)?;
                identify(request.headers_mut());
                let (socket, _) = client_async(request, stream).await.map_err(|error| match error {
                    tungstenite::Error::Http(response) => Failure::Declined(answer(&response)),
                    error => lost(error),
                })?;
                (Way::Websocket(Box::new(socket)), None)
            }
        };
        Ok(Self { way, _driver: driver })
    }

    /// Waits until the peer has closed it. HTTP tells when the next request is to be sent.
    pub async fn closed(&mut self) {
        match &mut self.way {
            Way::Http1(_) | Way::Http2(_) | Way::Grpc(_) => pending().await,
            // Reading on after a close frame answers it.
            Way::Websocket(socket) => while let Some(Ok(_)) = socket.next().await {},
        }
    }

    /// Asks who answers.
    pub async fn ask(&mut self, config: &LoadConfig) -> Result<Answer, Failure> {
        match &mut self.way {
            Way::Http1(sender) => {
                if sender.ready().await.is_err() {
                    return Err(Failure::Closed);
                }
                let request = Request::get(config.path.as_str()).header(header::HOST, config.host.as_str());
                http(sender.try_send_request(with(request, Body::default())?).await).await
            }
            Way::Http2(sender) => {
                let request = Request::get(format!("http://{}{}", config.host, config.path));
                http(send(sender, with(request, Body::default())?).await?).await
            }
            Way::Grpc(sender) => {
                let request = Request::post(format!("http://{}{}", config.host, grpc::PATH))
                    .header(header::CONTENT_TYPE, grpc::CONTENT_TYPE)
                    .header(header::TE, "trailers");
                call(send(sender, with(request, Body::new(grpc::frame(&[])))?).await?).await
            }
            Way::Websocket(socket) => message(socket).await,
        }
    }
}

type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

async fn send(sender: &mut http2::SendRequest<Body>, request: Request<Body>) -> Result<Sent, Failure> {
    if sender.ready().await.is_err() {
        return Err(Failure::Closed);
    }
    Ok(sender.try_send_request(request).await)
}

fn with(request: hyper::http::request::Builder, body: Body) -> Result<Request<Body>, Failure> {
    let mut request = request.body(body).map_err(lost)?;
    identify(request.headers_mut());
    Ok(request)
}

fn identify(headers: &mut HeaderMap) {
    headers.insert(header::USER_AGENT, HeaderValue::from_static(LOAD_AGENT));
    headers.insert(LOAD_HEADER, HeaderValue::from_static("1"));
}

/// The answer's head; a request that was handed back was never written.
fn head(sent: Sent) -> Result<Response<Incoming>, Failure> {
    sent.map_err(|mut error| match (error.take_message(), error.into_error()) {
        (Some(_), _) => Failure::Closed,
        (None, error) if left_out(&error) => Failure::Closed,
        (None, error) => lost(error),
    })
}

/// Whether a GOAWAY says that the peer ends the connection and has not taken up this request: it fails no other one so.
fn left_out(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|e| e.is_go_away() && e.is_remote() && e.reason() == Some(h2::Reason::NO_ERROR))
}

/// What the head of an answer says.
fn answer<B>(response: &Response<B>) -> Answer {
    let text = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
    };
    let last = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
    Answer { status: response.status().as_u16(), colour: text("x-colour"), pod: text("x-pod"), last }
}

async fn http(sent: Sent) -> Result<Answer, Failure> {
    let response = head(sent)?;
    let answer = answer(&response);
    // Half a body is no answer.
    response.into_body().collect().await.map_err(lost)?;
    Ok(answer)
}

async fn call(sent: Sent) -> Result<Answer, Failure> {
    let response = head(sent)?;
    let mut answer = answer(&response);
    let body = response.into_body().collect().await.map_err(lost)?;
    if answer.status >= 400 {
        return Ok(answer);
    }
    let code = body.trailers().and_then(|trailers| trailers.get(grpc::STATUS)).cloned();
    if code.is_none_or(|code| code != "0") {
        answer.status = 500;
        return Ok(answer);
    }
    let said = grpc::read(&body.to_bytes());
    (answer.colour, answer.pod) = said.ok_or(Failure::Lost("other", "not the message that was asked for".into()))?;
    Ok(answer)
}

async fn message(socket: &mut WebSocketStream<TcpStream>) -> Result<Answer, Failure> {
    socket.send(Message::text("who")).await.map_err(failed)?;
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let said: Value = serde_json::from_str(&text).map_err(lost)?;
                let field = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
                return Ok(Answer { status: 200, colour: field("colour"), pod: field("pod"), last: false });
            }
            Some(Ok(Message::Close(_))) => {
                // Reading on answers it. Of what came after the peer's close frame nothing was taken up.
                while let Some(Ok(_)) = socket.next().await {}
                return Err(Failure::Closed);
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(Failure::Closed),
        }
    }
}

fn failed(error: tungstenite::Error) -> Failure {
    use tungstenite::{Error, error::ProtocolError};
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing) => {
            Failure::Closed
        }
        error => lost(error),
    }
}

fn lost(error: impl Error + 'static) -> Failure {
    let (kind, error) = why(&error).unwrap_or(("not-sent", error.to_string()));
    Failure::Lost(kind, error)
}
