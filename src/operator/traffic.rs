//! Every request to the API server passes here, whoever makes it: it is counted, its first word is not awaited forever, and
//! what becomes of watches and of reads that nobody answers is noted.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Method, Request, Response};
use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use super::connections::{Doubt, Unanswered};
use crate::meter::{Meter, labels};

/// The API server takes a watch at once.
const WATCH_TAKEN: Duration = Duration::from_secs(10);
/// A page of a list takes longer on a busy one. Whoever has less time gives up earlier.
const ANSWERED: Duration = Duration::from_secs(30);

/// Counts what passes through a client.
#[derive(Clone)]
pub struct Counted {
    pub meter: Meter,
    pub doubt: Doubt,
}

impl<S> Layer<S> for Counted {
    type Service = Traffic<S>;

    fn layer(&self, inner: S) -> Traffic<S> {
        Traffic { inner, by: self.clone() }
    }
}

/// See [`Counted`].
#[derive(Clone)]
pub struct Traffic<S> {
    inner: S,
    by: Counted,
}

/// A request under way: one whose future is dropped counts as abandoned.
struct Pending {
    meter: Meter,
    method: &'static str,
    began: Instant,
    ended: bool,
    /// Absent for a watch.
    asked: Option<Unanswered>,
}

impl Pending {
    fn end(mut self, result: &'static str) {
        self.ended = true;
        if let Some(asked) = self.asked.take() {
            asked.answered();
        }
        self.meter.request(self.method, result, Some(self.began.elapsed()));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended {
            self.meter.request(self.method, "abandoned", None);
        }
    }
}

impl<S, In, Out> Service<Request<In>> for Traffic<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    Out: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, Out::Error>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let Counted { meter, doubt } = self.by.clone();
        let watch = meter.watches().asked(request.uri());
        let method = if watch.is_some() { "WATCH" } else { label(request.method()) };
        let limit = if watch.is_some() { WATCH_TAKEN } else { ANSWERED };
        let asked = watch.is_none().then(|| doubt.asked(*request.method() == Method::GET));
        let pending = Pending { meter, method, began: Instant::now(), ended: false, asked };
        let answer = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(response)) => {
                    pending.end(labels::result_of(response.status().as_u16()));
                    let watch = watch.filter(|_| response.status().is_success());
                    if let Some(watch) = &watch {
                        watch.taken();
                    }
                    Ok(response.map(|body| {
                        body.map_frame(move |frame| {
                            if let Some(watch) = &watch {
                                watch.heard();
                            }
                            frame
                        })
                        .boxed_unsync()
                    }))
                }
                Ok(Err(e)) => {
                    pending.end("unreachable");
                    Err(e.into())
                }
                Err(_) => {
                    doubt.raise();
                    Err(format!("no answer within {} s", limit.as_secs()).into())
                }
            }
        })
    }
}

fn label(method: &Method) -> &'static str {
    labels::within(&labels::METHODS, method.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    fn counted() -> Counted {
        Counted { meter: Meter::new().expect("metrics"), doubt: Doubt::default() }
    }

    fn count(meter: &Meter, method: &str, result: &str) -> String {
        let text = meter.text().expect("text");
        let series = format!("cutover_api_requests_total{{method=\"{method}\",result=\"{result}\"}} ");
        text.lines().find_map(|l| l.strip_prefix(&series)).unwrap_or("absent").to_owned()
    }

    async fn ask(by: &Counted, uri: &str, status: u16) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let server = service_fn(move |_: Request<()>| async move {
            let mut response = Response::new(Full::new(Bytes::from("x")));
            *response.status_mut() = ::http::StatusCode::from_u16(status).expect("a status");
            Ok::<_, Infallible>(response)
        });
        let request = Request::get(uri).body(()).expect("a request");
        by.layer(server).oneshot(request).await.expect("an answer")
    }

    /// An API server that never answers.
    fn silent(
        by: &Counted,
    ) -> impl Service<Request<()>, Response = Response<UnsyncBoxBody<Bytes, Infallible>>, Error = BoxError> + use<>
    {
        by.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()))
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_and_watches_heard() {
        let by = counted();
        let meter = &by.meter;
        let _wanted = meter.watches().want("/api/v1/namespaces/a/pods", None, None, "pods", false);
        ask(&by, "/api/v1/namespaces/a/pods", 200).await;
        ask(&by, "/api/v1/namespaces/a/pods/x", 404).await;
        assert_eq!((count(meter, "GET", "ok"), count(meter, "GET", "not_found")), ("1".into(), "1".into()));
        tokio::time::advance(Duration::from_secs(20)).await;
        let age = |meter: &Meter| meter.watches().ages().first().map(|(r, age)| (r.clone(), age.as_secs()));
        ask(&by, "/api/v1/namespaces/a/pods?watch=true", 503).await;
        assert_eq!(age(meter), Some(("pods".into(), 20)), "it was refused");
        let open = ask(&by, "/api/v1/namespaces/a/pods?watch=true", 200).await;
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(age(meter), Some(("pods".into(), 40)));
        // A frame is a word of the API server.
        let mut body = open.into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(age(meter), Some(("pods".into(), 0)));
        assert_eq!(count(meter, "WATCH", "ok"), "1");
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_is_counted_as_such() {
        let by = counted();
        let request = || Request::delete("/api/v1/namespaces/a/pods/x").body(()).expect("a request");
        drop(silent(&by).oneshot(request()));
        assert_eq!(count(&by.meter, "DELETE", "abandoned"), "0", "it was never sent");
        drop(silent(&by).call(request()));
        assert_eq!(count(&by.meter, "DELETE", "abandoned"), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_nobody_takes_fails_within_seconds() {
        let by = counted();
        for (uri, limit) in [("/api/v1/pods?watch=true", WATCH_TAKEN), ("/api/v1/pods?limit=500", ANSWERED)] {
            let began = Instant::now();
            let answer = silent(&by).oneshot(Request::get(uri).body(()).expect("a request")).await;
            assert!(answer.is_err_and(|e| e.to_string().contains("no answer within")), "{uri}");
            assert_eq!(began.elapsed(), limit, "{uri}");
            assert!(by.doubt.take(), "{uri}: the next request uses another connection");
        }
        assert_eq!(
            (count(&by.meter, "WATCH", "abandoned"), count(&by.meter, "GET", "abandoned")),
            ("1".into(), "1".into())
        );
    }
}
