//! Every request to the API server is counted here, whoever makes it, and every watch's last word is noted.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::{Method, Request, Response, Uri};
use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::meter::{Meter, labels};

/// Counts what passes through a client.
#[derive(Clone)]
pub struct Counted(pub Meter);

impl<S> Layer<S> for Counted {
    type Service = Traffic<S>;

    fn layer(&self, inner: S) -> Traffic<S> {
        Traffic { inner, meter: self.0.clone() }
    }
}

/// See [`Counted`].
#[derive(Clone)]
pub struct Traffic<S> {
    inner: S,
    meter: Meter,
}

/// A request under way: one whose future is dropped counts as abandoned.
struct Pending {
    meter: Meter,
    method: &'static str,
    began: Instant,
    ended: bool,
}

impl Pending {
    fn end(mut self, result: &'static str) {
        self.ended = true;
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
    S::Future: Send + 'static,
    Out: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, Out::Error>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let watch = watched(request.uri()).map(|resource| self.meter.watches().begin(resource));
        let method = if watch.is_some() { "WATCH" } else { label(request.method()) };
        let pending = Pending { meter: self.meter.clone(), method, began: Instant::now(), ended: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => {
                    pending.end(labels::result_of(response.status().as_u16()));
                    let watch = watch.filter(|_| response.status().is_success());
                    if let Some(watch) = &watch {
                        watch.heard();
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
                Err(e) => {
                    pending.end("unreachable");
                    Err(e)
                }
            }
        })
    }
}

fn label(method: &Method) -> &'static str {
    labels::within(&labels::METHODS, method.as_str())
}

/// The resource that a request watches, as its path has it; `None` for all other requests.
fn watched(uri: &Uri) -> Option<&str> {
    let query = uri.query()?;
    query.split('&').find(|pair| matches!(*pair, "watch=true" | "watch=1" | "watch"))?;
    let mut parts = uri.path().split('/').filter(|p| !p.is_empty());
    // `/api/v1/…` or `/apis/GROUP/VERSION/…`, then perhaps `namespaces/NAME`.
    parts.find(|p| matches!(*p, "api" | "apis")).and_then(|root| parts.nth(if root == "api" { 0 } else { 1 }))?;
    let rest: Vec<&str> = parts.collect();
    match rest.as_slice() {
        ["namespaces", _, resource, ..] => Some(resource),
        [resource, ..] => Some(resource),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tower::{ServiceExt, service_fn};

    fn count(meter: &Meter, method: &str, result: &str) -> String {
        let text = meter.text().expect("text");
        let series = format!("cutover_api_requests_total{{method=\"{method}\",result=\"{result}\"}} ");
        text.lines().find_map(|l| l.strip_prefix(&series)).unwrap_or("absent").to_owned()
    }

    async fn ask(meter: &Meter, uri: &str, status: u16) -> Response<UnsyncBoxBody<Bytes, std::convert::Infallible>> {
        let server = service_fn(move |_: Request<()>| async move {
            let mut response = Response::new(Full::new(Bytes::from("x")));
            *response.status_mut() = ::http::StatusCode::from_u16(status).expect("a status");
            Ok::<_, std::convert::Infallible>(response)
        });
        let request = Request::get(uri).body(()).expect("a request");
        Counted(meter.clone()).layer(server).oneshot(request).await.expect("an answer")
    }

    #[test]
    fn watches_are_told_by_their_resource() {
        let of = |uri: &'static str| watched(&Uri::from_static(uri)).map(str::to_owned);
        assert_eq!(of("/api/v1/namespaces/a/services?&watch=true&timeoutSeconds=60").as_deref(), Some("services"));
        assert_eq!(of("/apis/cutover.dev/v1alpha1/cutovers?watch=true").as_deref(), Some("cutovers"));
        assert_eq!(of("/apis/apps/v1/namespaces/a/deployments?watch=1").as_deref(), Some("deployments"));
        assert_eq!(of("/api/v1/namespaces?watch=true").as_deref(), Some("namespaces"));
        assert_eq!(of("/api/v1/namespaces/a/services?limit=500"), None);
        assert_eq!(of("/version"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_and_watches_heard() {
        let meter = Meter::new().expect("metrics");
        ask(&meter, "/api/v1/namespaces/a/pods", 200).await;
        ask(&meter, "/api/v1/namespaces/a/pods/x", 404).await;
        assert_eq!((count(&meter, "GET", "ok"), count(&meter, "GET", "not_found")), ("1".into(), "1".into()));
        let open = ask(&meter, "/api/v1/namespaces/a/pods?watch=true", 200).await;
        tokio::time::advance(std::time::Duration::from_secs(40)).await;
        let age = |meter: &Meter| meter.watches().ages().first().map(|(r, age)| (*r, age.as_secs()));
        assert_eq!(age(&meter), Some(("pods", 40)));
        // A frame is a word of the API server.
        let mut body = open.into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(age(&meter), Some(("pods", 0)));
        assert_eq!(count(&meter, "WATCH", "ok"), "1");
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_is_counted_as_such() {
        let meter = Meter::new().expect("metrics");
        let silent = service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, String>>());
        let request = Request::delete("/api/v1/namespaces/a/pods/x").body(()).expect("a request");
        drop(Counted(meter.clone()).layer(silent).oneshot(request));
        assert_eq!(count(&meter, "DELETE", "abandoned"), "0", "it was never sent");
        let mut service = Counted(meter.clone())
            .layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, String>>()));
        drop(service.call(Request::delete("/x").body(()).expect("a request")));
        assert_eq!(count(&meter, "DELETE", "abandoned"), "1");
    }
}
