//! PURE. Why a pod does not start or is not ready, in the same words wherever it is told, and whether waiting can help.
//! The texts of the API server, the kubelet and containerd are told apart here and nowhere else.

use crate::api::step::WorkloadRef;
use crate::world::{ContainerView, EventView, PodView, World};

/// Longest text of a cause: a record has room for it and for what it belongs to.
const LONGEST: usize = 320;

/// How long it makes sense to wait, from the shortest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Patience {
    /// Waiting cannot help: somebody has to change something.
    None,
    /// It seldom helps, as for a Secret that is not there; it may be created this very moment.
    Short,
    /// It may help: until the deadline.
    Deadline,
    /// Nothing is wrong yet: it is on its way.
    Starting,
}

/// Why a pod does not start or is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In words.
    pub text: String,
    /// Whether waiting can help.
    pub(crate) patience: Patience,
}

impl Cause {
    fn new(patience: Patience, text: String) -> Self {
        let mut short: String = text.chars().take(LONGEST).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        Self { text: short, patience }
    }
}

/// Whether two texts tell of the same cause: retries change ports, counts and times in them.
pub fn alike(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    plain(a) == plain(b)
}

/// Why a pod has not started: what its first container that waits waits for.
pub(crate) fn not_started(pod: &PodView) -> Option<Cause> {
    if let Some(why) = &pod.unschedulable {
        return Some(Cause::new(Patience::Deadline, format!("pod {}: no node takes it: {why}", pod.name)));
    }
    let causes = pod.containers.iter().filter_map(|c| Some((c, waits(c)?)));
    let (container, (patience, why)) = causes.min_by_key(|(_, (patience, _))| *patience)?;
    Some(Cause::new(patience, format!("pod {}: container {}: {why}", pod.name, container.name)))
}

/// Whether a container of a pod has run: what comes after that is the container's own doing.
pub(crate) fn has_begun(pod: &PodView) -> bool {
    pod.containers.iter().any(|c| c.running || c.terminated.is_some())
}

/// What ended a pod where that was not its own program: an eviction, a node that went, or the kernel for want of memory.
pub fn cut_short(pod: &PodView) -> Option<String> {
    if let Some(why) = &pod.taken {
        return Some(format!("pod {} was taken away: {why}", pod.name));
    }
    let killed = |c: &ContainerView| {
        let reason = c.terminated.as_ref()?.reason.as_str();
        // What a program's own end is called.
        (!matches!(reason, "" | "Error" | "Completed")).then(|| format!("container {}: {reason}", c.name))
    };
    pod.containers.iter().find_map(killed)
}

/// Why a pod is not ready; none where it is, or where it is not meant to be any more.
pub fn not_ready(pod: &PodView) -> Option<Cause> {
    if pod.ready || pod.terminating {
        return None;
    }
    let wrong = not_started(pod).filter(|cause| cause.patience < Patience::Starting);
    let unready = || {
        let container = pod.containers.iter().find(|c| !c.ready && (c.running || c.terminated.is_some()))?;
        let how = match &container.terminated {
            Some(end) => format!("is not ready; it ended before: {}", end.reason),
            None => "is not ready yet".to_owned(),
        };
        let text = format!("pod {}: container {} of {} {how}", pod.name, container.name, container.image);
        Some(Cause::new(Patience::Starting, text))
    };
    let gate = || {
        let gate = pod.gates.first()?;
        let text = format!("pod {}: nobody has set its readiness gate {gate}", pod.name);
        Some(Cause::new(Patience::Deadline, text))
    };
    wrong.or_else(gate).or_else(unready).or_else(|| not_started(pod))
}

/// Why a workload is not ready: its pods are not admitted, or the pod that is worst off.
pub fn workload(world: &World, workload: &WorkloadRef) -> Option<String> {
    let refused = world.workloads.get(workload)?.value.as_ref()?.refused.as_deref();
    if let Some(message) = refused {
        return Some(not_admitted(message).text);
    }
    let pods = world.pods.iter().flat_map(|seen| &seen.value);
    let own = pods.filter(|pod| pod.workload.as_ref() == Some(workload));
    own.filter_map(not_ready).min_by_key(|cause| cause.patience).map(|cause| cause.text)
}

/// The first of some workloads that is not ready, and why: `Deployment web: pod web-1: …`.
pub fn first<'a>(world: &World, workloads: impl IntoIterator<Item = &'a WorkloadRef>) -> Option<String> {
    workloads.into_iter().find_map(|w| Some(format!("{:?} {}: {}", w.kind, w.name, workload(world, w)?)))
}

/// Why a pod was not created, from what the controller says of its own try.
pub(crate) fn not_admitted(message: &str) -> Cause {
    let mut why = message.strip_prefix("Error creating: ").unwrap_or(message);
    // Each try has another name, which nobody needs.
    if let Some((_, rest)) = why.split_once("\" is forbidden: ").filter(|_| why.starts_with("pods \"")) {
        why = rest;
    }
    Cause::new(patience_with(message), format!("its pod is not admitted: {why}"))
}

/// Whether an API server that refuses a pod will go on refusing it.
fn patience_with(message: &str) -> Patience {
    // What may pass: a webhook that is down, a quota that is used up, an account or a plugin that is not there yet.
    const PASSES: [&str; 7] = [
        "failed calling webhook",
        "Internal error occurred",
        "exceeded quota",
        "error looking up service account",
        "not yet ready to handle request",
        "status unknown for quota",
        "unable to find",
    ];
    const DENIES: [&str; 5] =
        ["violates PodSecurity", "denied the request", "denied request", "is forbidden: ", "\" is invalid: "];
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if !says(&PASSES) && says(&DENIES) { Patience::None } else { Patience::Deadline }
}

/// What the newest Event of a Job or of its pod says of why there is no pod, or why it does not start. What was said
/// before the pod came about, or before it began, is over.
pub fn events(events: &[EventView]) -> Option<Cause> {
    let past = |event: &&EventView| matches!(event.reason.as_str(), "SuccessfulCreate" | "Started");
    let present = events.iter().rev().take_while(|event| !past(event));
    let cause = |event: &EventView| match event.reason.as_str() {
        "FailedCreate" => Some(not_admitted(&event.message)),
        "FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox" | "FailedScheduling" => {
            let (kind, name) = &event.of;
            let text = format!("{} {name}: {}: {}", kind.to_lowercase(), event.reason, event.message);
            Some(Cause::new(Patience::Deadline, text))
        }
        _ => None,
    };
    present.into_iter().find_map(cause)
}

/// Why a container waits.
fn waits(container: &ContainerView) -> Option<(Patience, String)> {
    let reason = container.waiting.as_deref()?;
    let message = container.waiting_message.as_deref().unwrap_or_default();
    let image = &container.image;
    let with = |what: String, more: &str| if more.is_empty() { what } else { format!("{what}: {more}") };
    Some(match reason {
        // The kubelet changes between the two names; the cause is the same.
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            let (patience, why) = pull(message);
            (patience, with(format!("ErrImagePull of {image}"), why))
        }
        "InvalidImageName" => (Patience::None, with(format!("InvalidImageName {image}"), message)),
        "ErrImageNeverPull" => (Patience::Short, with(format!("ErrImageNeverPull of {image}"), message)),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            (Patience::Short, with(reason.to_owned(), message))
        }
        "CrashLoopBackOff" => {
            let how = container.terminated.as_ref().map(|end| format!("it ended: {}", end.reason)).unwrap_or_default();
            (Patience::Deadline, with(reason.to_owned(), &how))
        }
        "ContainerCreating" | "PodInitializing" => {
            (Patience::Starting, with(format!("it is being created from {image}"), message))
        }
        other => (Patience::Deadline, with(other.to_owned(), message)),
    })
}

/// Whether it makes sense to wait for an image, and what was said of it without what every such message begins with.
fn pull(message: &str) -> (Patience, &str) {
    const HEADS: [&str; 9] = [
        "Back-off pulling image \"",
        "ErrImagePull: ",
        "rpc error: code = ",
        "failed to pull and unpack image \"",
        "failed to pull image \"",
        "failed to copy: ",
        "failed to resolve image: ",
        "failed to resolve reference \"",
        "failed to do request: ",
    ];
    let mut why = message;
    while let Some(head) = HEADS.iter().find(|head| why.starts_with(**head)) {
        let end = match head.chars().last() {
            Some('"') => "\": ",
            Some('=') | None => break,
            _ if head.starts_with("rpc") => "desc = ",
            _ => "",
        };
        let rest = why.strip_prefix(head).unwrap_or_default();
        let Some((_, rest)) = rest.split_once(end) else { break };
        why = rest;
    }
    // Said by the registry itself; anything else is said on the way to it, and may pass.
    const ANSWERS: [&str; 15] = [
        ": 401 unauthorized",
        ": 403 forbidden",
        ": 404 not found",
        "manifest unknown",
        "name unknown",
        "repository name not known",
        "repository does not exist",
        "pull access denied",
        "insufficient_scope",
        "unauthorized: ",
        "authentication required",
        "authorization failed",
        "no basic auth credentials",
        "access to the resource is denied",
        "no match for platform",
    ];
    let said = message.to_lowercase();
    let answered = said.ends_with(": not found") || ANSWERS.iter().any(|answer| said.contains(answer));
    (if answered { Patience::None } else { Patience::Deadline }, why)
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
