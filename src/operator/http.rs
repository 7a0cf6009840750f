//! /metrics, /readyz and /livez.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use crate::meter::Meter;

#[derive(Clone)]
struct Shared {
    health: Arc<Health>,
    meter: Meter,
}

fn answer(trouble: Option<String>) -> (StatusCode, String) {
    match trouble {
        None => (StatusCode::OK, "ok\n".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

fn router(health: Arc<Health>, meter: Meter) -> Router {
    Router::new()
        .route("/readyz", get(async |State(s): State<Shared>| answer(s.health.not_ready())))
        .route("/livez", get(async |State(s): State<Shared>| answer(s.health.dead())))
        .route(
            "/metrics",
            get(async |State(s): State<Shared>| match s.meter.text() {
                Ok(text) => (StatusCode::OK, text),
                Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
            }),
        )
        .with_state(Shared { health, meter })
}

/// Serves until `stop`.
pub async fn serve(listener: tokio::net::TcpListener, health: Arc<Health>, meter: Meter, stop: CancellationToken) {
    let served = axum::serve(listener, router(health, meter)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(e) = served.await {
        tracing::error!(error = %e, "the health server ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::watches::Watches;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = axum::http::Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn readiness_follows_the_watches() {
        let watches = Watches::default();
        let health = Arc::new(Health::new(watches.clone()));
        let router = router(health.clone(), Meter::new().expect("metrics"));
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&router, "/livez").await.0, StatusCode::OK);
        let wanted = ["runs", "cutovers", "decisions"].map(|kind| watches.want("/api/v1/x", None, None, kind, false));
        wanted.iter().for_each(crate::net::watches::Wanted::listed);
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
        wanted[0].failed("503", false);
        let (code, why) = ask(&router, "/readyz").await;
        assert_eq!((code, why.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "the watch of runs fails: 503\n"));
        assert_eq!(ask(&router, "/livez").await.0, StatusCode::OK);
        assert!(ask(&router, "/metrics").await.1.contains("cutover_runs_active 0"));
    }
}
