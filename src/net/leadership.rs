//! The right to write: it is the Lease holder's, and ends at a moment on the process's own monotonic clock. Every write of
//! claims, effects and Cutovers asks it right before it is sent, in one place: the client that carries it.
//!
//! # The rule for an operator that cannot renew its Lease
//! - Until the moment named, it writes. After it, it is *lapsed* and its client refuses every write, so no run is started,
//!   no intent claimed and no step carried out. Its drivers go on looking. It renews no more, but is a
//!   candidate like the others; if it takes the Lease again (a compare-and-swap: nobody else had it meanwhile), they write.
//! - One write is exempt: a restore that is due. It stands on the claim of the switch, not on a Lease, so a lapsed operator
//!   makes it after the usual patience with its own record, if a live reading of the run, made *after* that of the Service
//!   whose resourceVersion the patch tests, says that the switch stands and the run is not over (see `route::restore`).
//! - An operator that sees another holder stops its drivers without waiting for anything, restores too.
//!
//! One that its start checks found unfit (definitions of an older version, somebody else's cluster) is treated as a lapsed one.
//!
//! The clock runs on while a process is stopped (SIGSTOP), so one that wakes knows that it lapsed. It may stand still while
//! a virtual machine is suspended, and a request may be under way for long: what decides in the end are the tests that
//! each write carries (resourceVersion, uid, whole selector).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// There is no Lease: this process is the only operator.
    Always,
    Never,
    At(Instant),
}

#[derive(Debug)]
struct State {
    until: Until,
    unfit: Option<Arc<str>>,
}

/// Whether this process may write now. Cheap to clone; all clones say the same.
#[derive(Clone, Debug)]
pub struct Leadership {
    state: Arc<Mutex<State>>,
}

/// Why a write was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another operator may hold the Lease by now.
    #[error("not sent: this operator does not hold its Lease at the moment")]
    Lapsed,
    /// The start checks say what is amiss.
    #[error("not sent: {0}")]
    Unfit(Arc<str>),
}

impl Leadership {
    /// Without a Lease: it always holds.
    pub(crate) fn sole() -> Self {
        Self::new(Until::Always)
    }

    /// With a Lease that is not held yet.
    pub fn none() -> Self {
        Self::new(Until::Never)
    }

    fn new(until: Until) -> Self {
        Self { state: Arc::new(Mutex::new(State { until, unfit: None })) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Lease was renewed: writes may be sent until then.
    pub(crate) fn renewed(&self, until: Instant) {
        self.state().until = Until::At(until);
    }

    /// The Lease is another's, or given back.
    pub fn ended(&self) {
        self.state().until = Until::Never;
    }

    /// This version cannot serve the cluster, and why; `None`: it can.
    pub fn unfit(&self, why: Option<String>) {
        self.state().unfit = why.map(Arc::from);
    }

    /// Whether a write may be sent now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn permit(&self) -> Result<(), Refused> {
        let state = self.state();
        if let Some(why) = &state.unfit {
            return Err(Refused::Unfit(why.clone()));
        }
        match state.until {
            Until::Always => Ok(()),
            Until::At(until) if Instant::now() < until => Ok(()),
            Until::At(_) | Until::Never => Err(Refused::Lapsed),
        }
    }

    /// Whether a write may be sent now.
    pub fn holds(&self) -> bool {
        self.permit().is_ok()
    }

    /// A client over the connections of `base` that asks before each write; readings pass.
    pub fn guard(&self, base: Client) -> Client {
        let leadership = self.clone();
        let namespace = base.default_namespace().to_owned();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (leadership, base) = (leadership.clone(), base.clone());
            async move {
                let reads = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
                if !reads {
                    leadership.permit().map_err(|why| kube::Error::Service(Box::new(why)))?;
                }
                base.send(request).await
            }
        });
        Client::new(service, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};

    fn counting(sent: Arc<AtomicUsize>) -> Client {
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            sent.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(b"{}".to_vec()))) }
        });
        Client::new(service, "a")
    }

    async fn writes(api: &Api<ConfigMap>) -> usize {
        let map = ConfigMap::default();
        let (post, patch) = (PostParams::default(), PatchParams::default());
        let results = [
            api.create(&post, &map).await.is_ok(),
            api.replace("x", &post, &map).await.is_ok(),
            api.patch("x", &patch, &Patch::Merge(serde_json::json!({}))).await.is_ok(),
            api.delete("x", &DeleteParams::default()).await.is_ok(),
        ];
        results.into_iter().filter(|ok| *ok).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lapsed_operator_reads_and_sends_no_write() {
        let sent = Arc::new(AtomicUsize::new(0));
        let leadership = Leadership::none();
        let api: Api<ConfigMap> = Api::namespaced(leadership.guard(counting(sent.clone())), "a");
        assert_eq!((writes(&api).await, sent.load(Ordering::Relaxed)), (0, 0), "never held");
        leadership.renewed(Instant::now() + Duration::from_secs(2));
        assert_eq!(writes(&api).await, 4);
        tokio::time::advance(Duration::from_secs(2)).await;
        let before = sent.load(Ordering::Relaxed);
        assert_eq!((writes(&api).await, sent.load(Ordering::Relaxed)), (0, before), "lapsed");
        assert!(api.get("x").await.is_ok(), "a reading passes");
        leadership.renewed(Instant::now() + Duration::from_secs(2));
        leadership.ended();
        assert_eq!(writes(&api).await, 0, "given back before it lapsed");
    }

    #[tokio::test]
    async fn the_refusal_says_why_and_is_not_final() {
        let api: Api<ConfigMap> = Api::namespaced(Leadership::none().guard(counting(Arc::default())), "a");
        let error = api.delete("x", &DeleteParams::default()).await.expect_err("refused");
        assert!(!matches!(error, kube::Error::Api(_)), "{error:?}");
        assert!(Leadership::sole().holds());
    }

    #[test]
    fn an_unfit_operator_may_not_write_until_it_is_mended() {
        let leadership = Leadership::sole();
        leadership.unfit(Some("the definitions are missing: apply them".into()));
        let why = leadership.permit().expect_err("refused").to_string();
        assert_eq!(why, "not sent: the definitions are missing: apply them");
        leadership.unfit(None);
        assert!(leadership.holds());
    }
}
