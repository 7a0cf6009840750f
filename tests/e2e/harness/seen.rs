//! Whoever looks at the operator from outside: a collector of traces, a Prometheus of the machine, a reader of its log.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::case::secs;
use super::wait;

/// A collector that takes every trace.
pub struct Collector {
    /// Its address.
    pub url: String,
    taken: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts one on a port of its own; it ends with the test.
    pub async fn start() -> Result<Self> {
        let taken: Arc<Mutex<Vec<Span>>> = Arc::default();
        let spans = taken.clone();
        let take = async move |body: axum::body::Bytes| match ExportTraceServiceRequest::decode(body) {
            Ok(request) => {
                let found = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
                spans.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                axum::http::StatusCode::OK
            }
            Err(_) => axum::http::StatusCode::BAD_REQUEST,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, taken })
    }

    /// Waits until something has been taken; all of it.
    pub async fn spans(&self) -> Result<Vec<Span>> {
        wait::poll("a trace", secs(20), async || {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Ok((!taken.is_empty()).then_some(taken))
        })
        .await
    }
}

/// A Prometheus as a process beside the tests.
pub struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts one that scrapes `target` each second and evaluates the rules of `rules`.
    pub async fn start(folder: &Path, target: &str, rules: &Path) -> Result<Self> {
        let program = program("prometheus", "prometheus").context(
            "there is no prometheus: bring the test cluster up once, install it, or name its folder by PROMETHEUS_HOME",
        )?;
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{:?}]\nscrape_configs: [{{job_name: cutover, static_configs: [{{targets: [{target:?}]}}]}}]\n",
            rules.display().to_string()
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config)?;
        let listen = free_address().await?;
        let log = std::fs::File::create(folder.join("prometheus.log"))?;
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let prometheus = Self { child, url: format!("http://{listen}"), http };
        wait::poll("Prometheus", secs(30), async || {
            let ready = prometheus.http.get(format!("{}/-/ready", prometheus.url)).send().await;
            Ok(ready.is_ok_and(|r| r.status().is_success()).then_some(()))
        })
        .await?;
        Ok(prometheus)
    }

    /// Asks; what Prometheus refuses is an error with its words.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut url = url::Url::parse(&format!("{}{path}", self.url))?;
        url.query_pairs_mut().extend_pairs(query);
        let answer: Value = serde_json::from_slice(&self.http.get(url).send().await?.bytes().await?)?;
        ensure!(answer["status"] == "success", "{query:?}: {answer}");
        Ok(answer["data"].clone())
    }

    /// How many series a query has.
    pub async fn series(&self, query: &str) -> Result<usize> {
        let answer = self.ask("/api/v1/query", &[("query", query)]).await?;
        Ok(answer["result"].as_array().map_or(0, Vec::len))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself, which the queries have shown.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine that nobody listens on at the moment.
pub async fn free_address() -> Result<String> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string())
}

/// A program of a Debian package: for Prometheus where PROMETHEUS_HOME says, on the path, or where the test cluster unpacks it.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("CUTOVER_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|c| c.join("cutover")))
        .or_else(|| var("HOME").map(|h| h.join(".cache/cutover")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = var("PROMETHEUS_HOME").filter(|_| package == "prometheus");
    let folders = home.into_iter().chain(std::env::split_paths(&path));
    folders
        .chain(
            ["usr/bin", "usr/sbin"]
                .into_iter()
                .filter_map(|f| Some(cache.as_ref()?.join("debian").join(package).join(f))),
        )
        .map(|f| f.join(name))
        .find(|f| f.is_file())
}

/// A line of a log: its fields in their order, so that one that stands twice is seen.
pub struct Line(pub Vec<(String, Value)>);

impl Line {
    /// A field's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_str())
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Line;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Line, M::Error> {
                let mut all = vec![];
                while let Some(pair) = map.next_entry()? {
                    all.push(pair);
                }
                Ok(Line(all))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The lines of a log in JSON.
pub fn lines(log: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(log)?;
    let line = |line: &str| serde_json::from_str::<Line>(line).with_context(|| format!("not an object: {line}"));
    text.lines().map(line).collect()
}
