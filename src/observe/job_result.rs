//! Answers [`Read::JobResult`](crate::effect::Read::JobResult): exit code, termination message and the end of the log.

use std::collections::VecDeque;
use std::time::Duration;

use futures::io::AsyncReadExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};

use crate::net::call::answered;
use crate::net::keys::brief;
use crate::world::JobResult;

/// For reading a log.
const LOG_LIMIT: Duration = Duration::from_secs(10);
/// Kept of a log: its end.
const LOG_KEPT: usize = 64 * 1024;
/// Lines asked for.
const LOG_LINES: i64 = 10_000;
/// Read of a log at most, to find its end.
const LOG_READ: i64 = 16 * 1024 * 1024;

pub(super) async fn read(client: &Client, namespace: &str, job: &str, uid: &str, log: bool) -> JobResult {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let problem = |text: String| JobResult { problem: Some(text), ..JobResult::default() };
    let list = match answered(pods.list(&params)).await {
        Ok(list) => list.items,
        Err(error) => return problem(format!("pods of Job {job}: {}", brief(&error.to_string()))),
    };
    let Some(pod) = newest(list, uid) else { return problem(format!("Job {job} has left no pod")) };
    let end = end(&pod);
    let mut result = JobResult { exit_code: end.code, message: end.message, ..JobResult::default() };
    if log {
        match tokio::time::timeout(LOG_LIMIT, tail(&pods, &pod.name_any(), &end.container)).await {
            Ok(Ok(text)) => result.log = Some(text),
            Ok(Err(error)) => result.problem = Some(format!("log of pod {}: {}", pod.name_any(), brief(&error))),
            Err(_) => result.problem = Some(format!("log of pod {}: not read within 10s", pod.name_any())),
        }
    }
    result
}

/// The pod of the Job's last try; with `backoffLimit: 0` there is one.
fn newest(list: Vec<Pod>, uid: &str) -> Option<Pod> {
    let ours = |pod: &Pod| pod.metadata.owner_references.iter().flatten().any(|o| o.uid == uid);
    list.into_iter().filter(ours).max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0))
}

#[derive(Debug, PartialEq)]
struct End {
    code: Option<i32>,
    message: Option<String>,
    container: String,
}

/// How a pod's containers ended: the first that did not end with 0, init containers before the others; if all did, the
/// first of the containers proper.
fn end(pod: &Pod) -> End {
    let status = pod.status.as_ref();
    let init = status.into_iter().flat_map(|s| s.init_container_statuses.iter().flatten());
    let proper = status.into_iter().flat_map(|s| s.container_statuses.iter().flatten());
    let first = pod.spec.as_ref().and_then(|s| s.containers.first()).map(|c| c.name.clone()).unwrap_or_default();
    let ended = |s: &k8s_openapi::api::core::v1::ContainerStatus| -> Option<(String, ContainerStateTerminated)> {
        Some((s.name.clone(), s.state.as_ref()?.terminated.clone()?))
    };
    let all: Vec<(String, ContainerStateTerminated)> = init.filter_map(ended).chain(proper.filter_map(ended)).collect();
    let deciding = all.iter().find(|(_, t)| t.exit_code != 0).or_else(|| all.iter().find(|(name, _)| *name == first));
    match deciding {
        Some((container, t)) => End {
            code: Some(t.exit_code),
            message: t.message.clone().filter(|m| !m.is_empty()),
            container: container.clone(),
        },
        None => End { code: None, message: status.and_then(|s| s.message.clone()), container: first },
    }
}

/// The last 64 KiB, from the beginning of a line.
async fn tail(pods: &Api<Pod>, pod: &str, container: &str) -> Result<String, String> {
    let params = LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(LOG_READ),
        ..LogParams::default()
    };
    let stream = pods.log_stream(pod, &params).await.map_err(|e| e.to_string())?;
    let mut stream = std::pin::pin!(stream);
    let mut kept = Tail::default();
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return Ok(kept.text()),
            Ok(n) => kept.push(buffer.get(..n).unwrap_or_default()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, more: &[u8]) {
        self.bytes.extend(more);
        if self.bytes.len() > LOG_KEPT {
            self.bytes.drain(..self.bytes.len() - LOG_KEPT);
            self.cut = true;
        }
    }

    fn text(mut self) -> String {
        let bytes = self.bytes.make_contiguous();
        // Half a line could match, or fail to match, what the whole one would not.
        let from = if self.cut { bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1) } else { 0 };
        String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn status(name: &str, code: i32, message: &str) -> serde_json::Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "message": message}}})
    }

    #[test]
    fn the_first_container_that_failed_decides() {
        let spec = json!({"containers": [{"name": "main"}, {"name": "side"}]});
        let good = pod(json!({"spec": spec, "status": {
            "containerStatuses": [status("side", 0, "s"), status("main", 0, "{\"rows\":3}")]}}));
        let expected = End { code: Some(0), message: Some("{\"rows\":3}".into()), container: "main".into() };
        assert_eq!(end(&good), expected);

        let bad = pod(json!({"spec": spec, "status": {
            "initContainerStatuses": [status("init", 0, "")],
            "containerStatuses": [status("main", 0, ""), status("side", 137, "")]}}));
        assert_eq!(end(&bad), End { code: Some(137), message: None, container: "side".into() });

        let evicted = pod(json!({"spec": spec, "status": {"phase": "Failed", "message": "node was low on memory"}}));
        assert_eq!(end(&evicted).code, None);
        assert_eq!(end(&evicted).message.as_deref(), Some("node was low on memory"));
    }

    #[test]
    fn pods_of_another_job_of_that_name_do_not_count() {
        let of = |uid: &str, at: &str| {
            pod(json!({"metadata": {"name": at, "creationTimestamp": at, "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": uid}]}}))
        };
        let list =
            vec![of("a", "2026-11-20T00:00:01Z"), of("a", "2026-11-20T00:00:02Z"), of("b", "2026-11-20T00:00:03Z")];
        assert_eq!(newest(list, "a").map(|p| p.name_any()).as_deref(), Some("2026-11-20T00:00:02Z"));
    }

    #[test]
    fn a_long_log_is_cut_at_a_line() {
        let mut tail = Tail::default();
        for n in 0..20_000 {
            tail.push(format!("line {n:05}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.len() <= LOG_KEPT && text.len() > LOG_KEPT - 20, "{}", text.len());
        assert!(text.starts_with("line ") && text.ends_with("line 19999\n"), "{:?}", &text[..20]);
    }
}
