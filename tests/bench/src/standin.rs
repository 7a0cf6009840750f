//! A stand-in for Prometheus whose one value is changed at a known instant. It answers `/api/v1/query` as Prometheus does
//! and remembers when it answered what: scrape intervals would otherwise hide what the operator adds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Router, serve};
use jiff::Timestamp;

#[derive(Default)]
struct Inner {
    value: f64,
    /// The first answer that carried the present value.
    first: Option<Timestamp>,
}

/// The stand-in.
#[derive(Clone, Default)]
pub struct StandIn(Arc<Mutex<Inner>>);

impl StandIn {
    /// Serves on a port of this address.
    pub async fn start(address: &str) -> Result<(Self, u16)> {
        let standin = Self::default();
        let listener = tokio::net::TcpListener::bind((address, 0)).await.context("the stand-in for Prometheus")?;
        let port = listener.local_addr()?.port();
        let router = Router::new().route("/api/v1/query", post(answer).get(answer)).with_state(standin.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(listener, router).await {
                eprintln!("bench: the stand-in for Prometheus ended: {error}");
            }
        });
        Ok((standin, port))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is the value. Says since when.
    pub fn set(&self, value: f64) -> Timestamp {
        let mut inner = self.lock();
        let now = Timestamp::now();
        (inner.value, inner.first) = (value, None);
        now
    }

    /// When the present value was answered first.
    pub fn first_answer(&self) -> Option<Timestamp> {
        self.lock().first
    }
}

async fn answer(State(standin): State<StandIn>) -> impl IntoResponse {
    let mut inner = standin.lock();
    let now = Timestamp::now();
    inner.first.get_or_insert(now);
    let time = now.as_millisecond() as f64 / 1000.0;
    let body =
        format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[{time},"{}"]}}}}"#, inner.value);
    ([(CONTENT_TYPE, "application/json")], body)
}
