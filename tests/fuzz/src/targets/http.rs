//! An answer of an application, byte for byte: head, body, JSON, and what a step makes of it. What comes in pieces means the
//! same as what comes at once, nothing grows beyond its bound, and a failure never tells of the body.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cutover::api::step::Http;
use cutover::entrances::{self, Judged};
use cutover::world::{HttpAnswer, HttpError, HttpResponse};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::setting;
use crate::oracle;

/// Longest body, as of steps.
const LIMIT: usize = 64 * 1024;
/// What no text that is shown may hold; the corpus has it in heads and bodies.
const SECRET: &str = "SECRET";

thread_local! {
    // The clock stands still: a connection that says no more is late at once.
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"));
}

/// See [`crate::TARGETS`].
///
/// # Panics
/// An answer is taken for what it is not.
pub fn run(input: &[u8]) {
    let whole = read(input, 0);
    let pieces = read(input, input.len() / 2);
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => {
            let of = |r: &HttpResponse| (r.status, r.headers.clone(), r.body.clone());
            assert_eq!(of(whole), of(pieces), "how an answer comes is no part of it");
        }
        (Err(_), Err(_)) => {}
        _ => panic!("at once {whole:?}, in pieces {pieces:?}"),
    }
    match &whole {
        Ok(response) => {
            assert!((100..1000).contains(&response.status), "status {}", response.status);
            // A byte that is no UTF-8 is shown as three.
            assert!(response.body.len() <= 3 * LIMIT, "a body of {} bytes", response.body.len());
        }
        Err(HttpError::Lost(why) | HttpError::NotSent(why) | HttpError::Unread(why)) => {
            oracle::bounded("an error", why, 1000);
            assert!(!why.contains(SECRET), "{why}");
        }
    }
    step(&whole);
}

/// What is read of an answer that comes in two pieces.
///
/// # Errors
/// It is none.
pub fn read(input: &[u8], at: usize) -> Result<HttpResponse, HttpError> {
    let (first, rest) = input.split_at(at);
    let pieces = [first, rest].into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
    let peer = Peer { asked: false, pieces, reader: None };
    RUNTIME.with_borrow(|runtime| runtime.block_on(entrances::answer(peer, LIMIT, Duration::from_secs(5))))
}

/// Says nothing before it is asked, then all that it has, piece by piece, and closes.
struct Peer {
    asked: bool,
    pieces: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.asked {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What steps of every sort make of it.
fn step(answer: &Result<HttpResponse, HttpError>) {
    let plan = setting::plan();
    let answers = [HttpAnswer { from: "web-green-1".into(), result: answer.clone() }];
    let ok = answer.as_ref().ok().is_some_and(|r| (200..300).contains(&r.status));
    let json = answer.as_ref().ok().and_then(|r| serde_json::from_str::<Value>(&r.body).ok());
    let captures = json!([{"name": "id", "path": "$.items[0].id", "record": true}]);
    let cases = [
        (json!({"path": "/"}), ok),
        (json!({"path": "/", "expect": ["json.ok == true"]}), json.as_ref().is_some_and(|j| j["ok"] == true)),
        (
            json!({"path": "/", "expect": ["headers['x-build'] == '7' && status == 200"]}),
            answer.as_ref().is_ok_and(|r| r.status == 200 && r.headers.get("x-build").is_some_and(|b| b == "7")),
        ),
        (
            json!({"path": "/", "expect": ["body.contains('ready')"]}),
            answer.as_ref().is_ok_and(|r| r.body.contains("ready")),
        ),
        (
            json!({"path": "/", "capture": captures}),
            ok && json
                .as_ref()
                .is_some_and(|j| j.pointer("/items/0/id").is_some_and(|id| id.to_string().len() <= 2048)),
        ),
    ];
    for (manifest, good) in cases {
        let http: Http = serde_json::from_value(manifest.clone()).expect("a request");
        match entrances::judged(&plan, &http, &answers, setting::NOW) {
            Judged::Passed { evidence, captures } => {
                assert!(good, "{manifest} is met by {answer:?}");
                for size in [evidence.map_or(0, |e| e.to_string().len()), json!(captures).to_string().len()] {
                    assert!(size <= 3 * 4096, "{size} bytes are kept");
                }
            }
            Judged::Failed { message, evidence } => {
                assert!(!good, "{manifest} is not met by {answer:?}: {message}");
                oracle::bounded("a failure", &message, 2000);
                let shown = format!("{message}{}", evidence.unwrap_or_default());
                assert!(!shown.contains(SECRET), "{shown}");
            }
        }
    }
}
