//! Traces of closed runs to an OpenTelemetry collector, by OTLP over HTTP. A collector that is slow or away costs traces,
//! never a run: each export has a time limit, and what cannot be sent is counted.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::meter::Meter;
use crate::spans::{Attributes, Span, Trace};
use crate::traces::Traces;

/// Where the standard variables say that traces go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// One export with all its tries.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts exporting to `endpoint`, or to what the standard variables name; with neither, traces are not made.
///
/// # Errors
/// When the address is none. That the collector is away is no error.
pub fn start(endpoint: Option<&str>, meter: Meter) -> anyhow::Result<(Traces, Option<JoinHandle<()>>)> {
    let by_variable = ENDPOINTS.iter().any(|name| std::env::var(name).is_ok_and(|v| !v.is_empty()));
    let mut exporter = SpanExporter::builder().with_http();
    match endpoint {
        Some(url) => exporter = exporter.with_endpoint(traces_url(url)?),
        None if by_variable => {}
        None => return Ok((Traces::none(meter), None)),
    }
    let mut exporter = exporter.build().context("--otlp-endpoint, or the OTEL_EXPORTER_OTLP_ variables")?;
    // The builder reads OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; the name stands where they say nothing.
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("cutover");
    }
    exporter
        .set_resource(&resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build());
    let (traces, waiting) = Traces::queue(meter.clone());
    Ok((traces, Some(tokio::spawn(export(exporter, waiting, meter)))))
}

/// The address of traces below that of a collector.
fn traces_url(url: &str) -> anyhow::Result<String> {
    let parsed = url::Url::parse(url).with_context(|| format!("--otlp-endpoint {url}: not a URL"))?;
    anyhow::ensure!(
        matches!(parsed.scheme(), "http" | "https") && parsed.has_host(),
        "--otlp-endpoint {url}: write http://HOST:4318 or https://HOST"
    );
    Ok(format!("{}/v1/traces", url.trim_end_matches('/')))
}

async fn export(exporter: SpanExporter, mut waiting: mpsc::Receiver<Trace>, meter: Meter) {
    let mut working = true;
    while let Some(trace) = waiting.recv().await {
        let spans = trace.spans.into_iter().map(|span| data(trace.id, span)).collect();
        let why = match tokio::time::timeout(LIMIT, exporter.export(spans)).await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some(format!("no answer within {} s", LIMIT.as_secs())),
        };
        meter.trace(if why.is_none() { "exported" } else { "failed" });
        // Told once until it works again.
        match &why {
            Some(why) if working => tracing::warn!(error = why, "the collector does not take traces"),
            None if !working => tracing::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
        working = why.is_none();
    }
}

fn data(trace: [u8; 16], span: Span) -> SpanData {
    let context = |id| SpanContext::new(TraceId::from_bytes(trace), id, TraceFlags::SAMPLED, false, TraceState::NONE);
    let events = span.events.into_iter().map(|(at, name, list)| Event::new(name, at.into(), attributes(list), 0));
    let mut all = SpanEvents::default();
    all.events = events.collect();
    SpanData {
        span_context: context(SpanId::from_bytes(span.id)),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: span.name.into(),
        start_time: SystemTime::from(span.start),
        end_time: SystemTime::from(span.end),
        attributes: attributes(span.attributes),
        dropped_attributes_count: 0,
        events: all,
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("cutover").with_version(env!("CARGO_PKG_VERSION")).build(),
    }
}

fn attributes(list: Attributes) -> Vec<KeyValue> {
    let value = |value: serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(Value::from(text)),
        serde_json::Value::Bool(b) => Some(Value::from(b)),
        serde_json::Value::Number(n) => n.as_i64().map(Value::from).or_else(|| n.as_f64().map(Value::from)),
        other => Some(Value::from(other.to_string())),
    };
    list.into_iter().filter_map(|(key, given)| Some(KeyValue::new(key, value(given)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;

    #[test]
    fn an_endpoint_that_is_no_address_is_refused_by_flag() {
        for bad in ["collector:4318", "ftp://x", "/v1/traces", "http://"] {
            let error = format!("{:#}", traces_url(bad).expect_err(bad));
            assert!(error.contains("--otlp-endpoint"), "{error}");
        }
        assert_eq!(traces_url("http://c:4318/").expect("an address"), "http://c:4318/v1/traces");
    }

    /// A collector that answers with these, then takes everything; what it took.
    async fn collector(answers: Vec<u16>) -> (String, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
        let (took, taken) = mpsc::unbounded_channel();
        let answers = std::sync::Arc::new(std::sync::Mutex::new(answers));
        let take = move |body: axum::body::Bytes| {
            let (took, answers) = (took.clone(), answers.clone());
            async move {
                let answer = answers.lock().expect("no panic").pop().unwrap_or(200);
                if answer == 200 {
                    took.send(ExportTraceServiceRequest::decode(body).expect("OTLP")).expect("the test listens");
                }
                axum::http::StatusCode::from_u16(answer).expect("a status")
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, taken)
    }

    fn trace() -> Trace {
        let at = |s: i64| jiff::Timestamp::from_second(s).expect("a time");
        let span = |id: u8, parent: Option<u8>, name: &str| Span {
            id: [id; 8],
            parent: parent.map(|p| [p; 8]),
            name: name.into(),
            start: at(100),
            end: at(160),
            attributes: vec![("cutover.name", "shop".into()), ("cutover.attempts", 2.into())],
            error: (id == 2).then(|| "it failed".into()),
            events: if id == 1 { vec![(at(120), "trigger fired", vec![])] } else { vec![] },
        };
        Trace { id: [7; 16], spans: vec![span(1, None, "run"), span(2, Some(1), "Observing")] }
    }

    async fn counted(meter: &Meter, result: &str) {
        let line = format!("cutover_traces_total{{result=\"{result}\"}} 1");
        let counted = async {
            while !meter.text().expect("text").contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap_or_else(|_| panic!("{line}"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_trace_arrives_with_its_tree_its_times_and_its_names_even_after_a_refusal() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (url, mut taken) = collector(vec![503]).await;
        let meter = Meter::new().expect("metrics");
        let (traces, exporting) = start(Some(&url), meter.clone()).expect("an address");
        traces.send(trace);
        let request = taken.recv().await.expect("an export");
        counted(&meter, "exported").await;
        let resource = &request.resource_spans[0];
        let names: Vec<&str> = resource.resource.iter().flat_map(|r| &r.attributes).map(|a| a.key.as_str()).collect();
        assert!(names.contains(&"service.name") && names.contains(&"service.version"), "{names:?}");
        let spans = &resource.scope_spans[0].spans;
        let (root, phase) = (&spans[0], &spans[1]);
        assert_eq!((root.name.as_str(), phase.name.as_str()), ("run", "Observing"));
        assert_eq!((&root.trace_id, &phase.trace_id), (&vec![7; 16], &vec![7; 16]));
        assert!(root.parent_span_id.is_empty(), "{:?}", root.parent_span_id);
        assert_eq!((&phase.parent_span_id, &phase.span_id), (&vec![1; 8], &vec![2; 8]));
        assert_eq!((root.start_time_unix_nano, root.end_time_unix_nano), (100_000_000_000, 160_000_000_000));
        assert_eq!(root.events[0].name, "trigger fired");
        assert_eq!(phase.status.as_ref().map(|s| s.message.as_str()), Some("it failed"));
        assert_eq!(root.attributes.len(), 2);
        // The queue ends with its last sender, and the task with the queue.
        drop(traces);
        exporting.expect("a task").await.expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_that_is_away_costs_the_trace_and_nothing_else() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let meter = Meter::new().expect("metrics");
        // Nobody listens on a port that was free a moment ago.
        let free =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let (traces, exporting) = start(Some(&format!("http://{free}")), meter.clone()).expect("an address");
        traces.send(trace);
        counted(&meter, "failed").await;
        drop(traces);
        exporting.expect("a task").await.expect("no panic");
    }

    #[test]
    fn attributes_without_a_value_are_left_out() {
        let list = attributes(vec![("a", serde_json::Value::Null), ("b", 3.into()), ("c", "x".into())]);
        assert_eq!(list, [KeyValue::new("b", 3), KeyValue::new("c", "x")]);
    }
}
