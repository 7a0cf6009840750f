//! Answers [`Read::Logs`](crate::effect::Read::Logs): counts lines as they come, and keeps none. They are matched on the threads
//! of the namespace.
//!
//! A node keeps a bounded part of what a container wrote, and the API serves less: the file being written, and that of
//! the instance before. So a count is whole only where the file begins before the time that is asked about; anything else
//! is told as a problem.

use std::sync::Arc;
use std::time::Duration;

use futures::io::AsyncReadExt;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{ListParams, LogParams};
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};

use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::effect::{LogsOf, PodsOf};
use crate::endpoints::check::MOST_PODS;
use crate::net::Net;
use crate::net::call::answered;
use crate::net::keys::brief;
use crate::plan::pattern::{Pattern, Search};
use crate::threads::Threads;
use crate::world::LogsAnswer;

/// For everything together; as long again for every 500 pods.
const LIMIT: Duration = Duration::from_secs(10);
/// Read of one container's log.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Matched of one line: its beginning.
const MAX_LINE: usize = 16 * 1024;
/// Enough for the time at the beginning of a line.
const HEAD: i64 = 64;
/// Read and matched at a time.
const PART: usize = 64 * 1024;
/// Logs read at a time.
const AT_ONCE: usize = 16;

pub(super) async fn read(net: &Net, threads: &Threads, client: &Client, namespace: &str, of: &LogsOf) -> LogsAnswer {
    let problem = |why: String| LogsAnswer { problem: Some(why), ..LogsAnswer::default() };
    let matches = of.matches.clone();
    let pattern = match threads.run(namespace, move || Pattern::new(&matches)).await {
        Ok(pattern) => Arc::new(pattern),
        Err(why) => return problem(format!("logs.matches: {why}")),
    };
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let list = match pods_of(client, &pods, namespace, &of.pods).await {
        Ok(list) if list.is_empty() => return problem("there is no pod whose logs could be read".into()),
        Ok(list) if list.len() > MOST_PODS => {
            return problem(format!("there are {} pods; the logs of at most {MOST_PODS} are read", list.len()));
        }
        Ok(list) => list,
        Err(why) => return problem(why),
    };
    let mut answer = LogsAnswer { pods: u32::try_from(list.len()).unwrap_or(u32::MAX), ..LogsAnswer::default() };
    let reader = Reader { net, threads, namespace, pods: &pods };
    let (reader, matches) = (&reader, &pattern);
    let counts = stream::iter(list).map(async |pod| {
        let mut found = LogsAnswer::default();
        if let Err(why) = reader.of_pod(&pod, of, matches, &mut found).await {
            found.problem = Some(format!("the log of pod {}: {why}", pod.name_any()));
        }
        found
    });
    let mut counts = std::pin::pin!(counts.buffer_unordered(AT_ONCE));
    let limit = LIMIT + LIMIT * (answer.pods / 500);
    let end = tokio::time::Instant::now() + limit;
    loop {
        match tokio::time::timeout_at(end, counts.next()).await {
            Ok(Some(found)) => {
                answer.lines += found.lines;
                answer.problem = answer.problem.or(found.problem);
            }
            Ok(None) => return answer,
            Err(_) => {
                answer.problem = Some(format!("the logs were not read within {}s", limit.as_secs()));
                return answer;
            }
        }
    }
}

/// The pods, each once.
async fn pods_of(client: &Client, pods: &Api<Pod>, namespace: &str, of: &PodsOf) -> Result<Vec<Pod>, String> {
    let selectors = match of {
        PodsOf::Selectors(all) => {
            all.iter().map(|s| s.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")).collect()
        }
        PodsOf::Workload(workload) => vec![selector_of(client, namespace, workload).await?],
    };
    let mut found: Vec<Pod> = vec![];
    for selector in selectors {
        let params = ListParams::default().labels(&selector);
        let list = match answered(pods.list(&params)).await {
            Ok(list) => list.items,
            Err(error) => return Err(format!("the pods cannot be listed: {}", brief(&error.to_string()))),
        };
        for pod in list {
            if found.iter().all(|p| p.metadata.uid != pod.metadata.uid) {
                found.push(pod);
            }
        }
    }
    Ok(found)
}

/// The label selector of a workload, as a text.
async fn selector_of(client: &Client, namespace: &str, workload: &WorkloadRef) -> Result<String, String> {
    let what = format!("{:?} {}", workload.kind, workload.name);
    let (client, name) = (client.clone(), &workload.name);
    let get = async {
        Ok::<Option<LabelSelector>, kube::Error>(match workload.kind {
            WorkloadKind::Deployment => {
                let found = Api::<Deployment>::namespaced(client, namespace).get_opt(name).await?;
                found.map(|d| d.spec.map(|s| s.selector).unwrap_or_default())
            }
            WorkloadKind::StatefulSet => {
                let found = Api::<StatefulSet>::namespaced(client, namespace).get_opt(name).await?;
                found.map(|d| d.spec.map(|s| s.selector).unwrap_or_default())
            }
        })
    };
    let selector = match answered(get).await {
        Ok(found) => found.ok_or_else(|| format!("{what} does not exist"))?,
        Err(error) => return Err(format!("{what} cannot be read: {}", brief(&error.to_string()))),
    };
    let text = Selector::try_from(selector).map_err(|e| format!("{what}: its selector is not understood: {e}"))?;
    // An empty selector would be everybody's pods.
    Some(text.to_string()).filter(|t| !t.is_empty()).ok_or_else(|| format!("{what} has no selector"))
}

/// One run of a container whose log is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instance {
    previous: bool,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// The instances of a container that may have written since then; `Err` where one of them has no log any more.
fn instances(status: &ContainerStatus, since: Timestamp) -> Result<Vec<Instance>, String> {
    let time = |t: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| t.as_ref().map(|t| t.0);
    let state = status.state.as_ref();
    let now = match (state.and_then(|s| s.running.as_ref()), state.and_then(|s| s.terminated.as_ref())) {
        (Some(r), _) => Some(Instance { previous: false, started: time(&r.started_at), ended: None }),
        (None, Some(t)) => {
            Some(Instance { previous: false, started: time(&t.started_at), ended: time(&t.finished_at) })
        }
        (None, None) => None,
    };
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| Instance {
        // While a container waits for its next start, its log is that of the last one.
        previous: now.is_some(),
        started: time(&t.started_at),
        ended: time(&t.finished_at),
    });
    let known: Vec<Instance> = now.into_iter().chain(last).collect();
    let before = i64::from(status.restart_count) + i64::from(now.is_some()) - known.len() as i64;
    let oldest = known.last().and_then(|i| i.started);
    if before > 0 && oldest.is_none_or(|at| at > since) {
        return Err(format!("{before} earlier starts of the container have left no log"));
    }
    Ok(known.into_iter().filter(|i| i.ended.is_none_or(|at| at >= since)).collect())
}

/// Reads logs of pods.
struct Reader<'a> {
    net: &'a Net,
    threads: &'a Threads,
    namespace: &'a str,
    pods: &'a Api<Pod>,
}

impl Reader<'_> {
    async fn of_pod(
        &self,
        pod: &Pod,
        of: &LogsOf,
        pattern: &Arc<Pattern>,
        found: &mut LogsAnswer,
    ) -> Result<(), String> {
        let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
        let container = match &of.container {
            Some(name) if spec.containers.iter().all(|c| &c.name != name) => {
                return Err(format!("it has no container {name}"));
            }
            Some(name) => name.clone(),
            None => spec.containers.first().map(|c| c.name.clone()).unwrap_or_default(),
        };
        let status = pod.status.as_ref();
        let statuses = status.and_then(|s| s.container_statuses.as_ref());
        let Some(status) = statuses.and_then(|all| all.iter().find(|s| s.name == container)) else {
            // A pod that has not begun has written nothing; one that is over without a word may have.
            return match status.and_then(|s| s.phase.as_deref()) {
                None | Some("Pending") => Ok(()),
                Some(phase) => Err(format!("nothing is known of its containers ({phase})")),
            };
        };
        let name = pod.name_any();
        let mut gone = None;
        let all = instances(status, of.since).unwrap_or_else(|why| {
            gone = Some(why);
            vec![Instance { previous: false, started: None, ended: None }]
        });
        for one in all {
            let params = LogParams {
                container: Some(container.clone()),
                previous: one.previous,
                timestamps: true,
                ..LogParams::default()
            };
            if one.started.is_none_or(|at| at < of.since) {
                let head = LogParams { limit_bytes: Some(HEAD), ..params.clone() };
                let (first, read) = self.lines(&name, &head, Lines::new(None, of.since)).await;
                read?;
                if let Some(at) = first.first
                    && at > of.since
                    && gone.is_none()
                {
                    gone = Some(format!("it begins at {at:.0}, later than what is asked about ({:.0})", of.since));
                }
            }
            let limit = i64::try_from(MAX_BYTES).unwrap_or(i64::MAX);
            let params = LogParams { since_time: Some(of.since), limit_bytes: Some(limit), ..params };
            let (lines, read) = self.lines(&name, &params, Lines::new(Some(pattern.clone()), of.since)).await;
            let whole = lines.bytes < MAX_BYTES;
            found.lines += lines.matched;
            read?;
            if let Some(why) = lines.refused {
                return Err(why);
            }
            if !whole {
                return Err(format!("more than {} MiB since {:.0}", MAX_BYTES >> 20, of.since));
            }
        }
        gone.map_or(Ok(()), Err)
    }

    /// The lines of a log, to its end or as far as it could be read.
    async fn lines(&self, pod: &str, params: &LogParams, mut lines: Lines) -> (Lines, Result<(), String>) {
        let _room = self.net.room_for_log(self.namespace).await;
        let stream = match self.pods.log_stream(pod, params).await {
            Ok(stream) => stream,
            Err(error) => return (lines, Err(brief(&error.to_string()))),
        };
        let mut stream = std::pin::pin!(stream);
        loop {
            let mut part = vec![0u8; PART];
            let read = stream.read(&mut part).await;
            part.truncate(*read.as_ref().unwrap_or(&0));
            let add = move || {
                match part.as_slice() {
                    [] => lines.end(),
                    part => lines.push(part),
                }
                lines
            };
            lines = self.threads.run(self.namespace, add).await;
            match read {
                Ok(0) => return (lines, Ok(())),
                Ok(bytes) => self.net.logged(self.namespace, bytes).await,
                Err(error) => return (lines, Err(brief(&error.to_string()))),
            }
        }
    }
}

/// Lines, each with its time in front, that come in pieces.
struct Lines {
    search: Option<Search<Arc<Pattern>>>,
    since: Timestamp,
    line: Vec<u8>,
    bytes: usize,
    first: Option<Timestamp>,
    matched: u64,
    /// Why the lines could not all be matched.
    refused: Option<String>,
}

impl Lines {
    fn new(pattern: Option<Arc<Pattern>>, since: Timestamp) -> Self {
        let search = pattern.map(Pattern::search_shared);
        Self { search, since, line: vec![], bytes: 0, first: None, matched: 0, refused: None }
    }

    fn push(&mut self, more: &[u8]) {
        self.bytes = self.bytes.saturating_add(more.len());
        for part in more.split_inclusive(|b| *b == b'\n') {
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                self.end();
            }
        }
    }

    /// The line is complete, or nothing comes any more.
    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        // What has no time in front is the end of a line that was cut.
        let Some((at, text)) = text.split_once(' ') else { return };
        let Ok(at) = at.parse::<Timestamp>() else { return };
        self.first.get_or_insert(at);
        // The API's own bound is of whole seconds.
        let search = self.search.as_mut().filter(|_| at >= self.since && self.refused.is_none());
        match search.map(|search| search.is_match(text.trim_end_matches(['\n', '\r']))) {
            Some(Ok(true)) => self.matched += 1,
            Some(Err(why)) => self.refused = Some(why),
            Some(Ok(false)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn lines_are_counted_from_the_time_on_however_they_are_cut() {
        let log = "2026-01-01T00:00:01.5Z ERROR early\n2026-01-01T00:00:02.5Z ERROR a\n\
                   2026-01-01T00:00:02.6Z fine\n2026-01-01T00:00:03Z ERROR\n";
        let pattern = Arc::new(Pattern::new("^ERROR").expect("a pattern"));
        for size in [1, 7, 40, 1000] {
            let mut lines = Lines::new(Some(pattern.clone()), at("2026-01-01T00:00:02Z"));
            log.as_bytes().chunks(size).for_each(|part| lines.push(part));
            lines.end();
            assert_eq!((lines.matched, lines.first), (2, Some(at("2026-01-01T00:00:01.5Z"))), "{size}");
        }
        let mut long = Lines::new(Some(pattern.clone()), Timestamp::MIN);
        long.push(b"2026-01-01T00:00:01Z ERROR ");
        long.push(&vec![b'x'; 5 * MAX_LINE]);
        assert!(long.line.len() <= MAX_LINE);
        long.push(b"\n2026-01-01T00:00:01Z ERROR\nhalf a li");
        long.end();
        assert_eq!(long.matched, 2);
        let mut head = Lines::new(None, at("2026-01-01T00:00:02Z"));
        head.push(b"2026-01-01T00:00:05.123456789Z the beginning of a li");
        head.end();
        assert_eq!(
            head.first,
            Some(at("2026-01-01T00:00:05.123456789Z")),
            "a line that was cut has its time all the same"
        );
    }

    fn status(value: serde_json::Value) -> ContainerStatus {
        let mut all = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0});
        all.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
        serde_json::from_value(all).expect("a status")
    }

    fn ended(from: &str, to: &str) -> serde_json::Value {
        json!({"terminated": {"exitCode": 1, "startedAt": from, "finishedAt": to}})
    }

    #[test]
    fn every_start_that_may_have_written_is_read_or_its_absence_told() {
        let since = at("2026-01-01T01:00:00Z");
        let running = |from: &str| json!({"running": {"startedAt": from}});
        let table = [
            (json!({"state": running("2026-01-01T00:00:00Z")}), Ok(vec![false])),
            (json!({"state": {"waiting": {"reason": "ContainerCreating"}}}), Ok(vec![])),
            (
                json!({"restartCount": 1, "state": running("2026-01-01T01:10:00Z"),
                    "lastState": ended("2026-01-01T00:00:00Z", "2026-01-01T01:09:00Z")}),
                Ok(vec![false, true]),
            ),
            (
                json!({"restartCount": 7, "state": running("2026-01-01T00:50:00Z"),
                    "lastState": ended("2026-01-01T00:30:00Z", "2026-01-01T00:49:00Z")}),
                Ok(vec![false]),
            ),
            // Waiting for its next start, a container's log is that of the last one.
            (
                json!({"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": ended("2026-01-01T00:30:00Z", "2026-01-01T01:09:00Z")}),
                Ok(vec![false]),
            ),
            (
                json!({"restartCount": 3, "state": running("2026-01-01T01:10:00Z"),
                    "lastState": ended("2026-01-01T01:05:00Z", "2026-01-01T01:09:00Z")}),
                Err("2 earlier starts of the container have left no log".to_owned()),
            ),
        ];
        for (value, wanted) in table {
            let found = instances(&status(value.clone()), since);
            assert_eq!(found.map(|all| all.iter().map(|i| i.previous).collect::<Vec<_>>()), wanted, "{value}");
        }
    }
}
