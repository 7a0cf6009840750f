//! One API call: its own time limit, no retry, and what its failure means for the caller.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::api::run::BlockCause;
pub use crate::effect::{CallError, Class};

/// No API call of a driver lasts longer (DESIGN §8).
pub const CALL_LIMIT: Duration = Duration::from_secs(2);

/// A read without an answer for so long may have been sent on a connection that is dead.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// Who admits or denies writes, in the words of the API server: it gives them no field of their own.
const ADMISSION: [&str; 4] =
    ["admission webhook \"", "failed calling webhook \"", "ValidatingAdmissionPolicy '", "MutatingAdmissionPolicy '"];

/// What stood in the way of a write, by the answer's code and, for admission, its text.
fn cause(error: &kube::Error) -> BlockCause {
    let kube::Error::Api(status) = error else { return BlockCause::Unreachable };
    let admission = ADMISSION.iter().any(|by| status.message.contains(by));
    match class(error) {
        _ if admission => BlockCause::Admission,
        Class::Transient if status.code == 429 => BlockCause::Throttled,
        class => CallError::new(class, "").cause,
    }
}

/// Whether an API server's 403 means missing RBAC, for which there is a remedy, and not a quota or a policy.
fn missing_right(message: &str) -> bool {
    message.contains("User \"") && message.contains(" cannot ")
}

/// What an error of the client means.
pub fn class(error: &kube::Error) -> Class {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => Class::NotFound,
            409 => Class::Conflict,
            403 if missing_right(&status.message) => Class::Forbidden,
            // 401 is a token being rotated, 408 a time-out, 429 a busy server.
            401 | 408 | 429 => Class::Transient,
            400..=499 => Class::Invalid,
            _ => Class::Transient,
        },
        _ => Class::Transient,
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        let text = match &error {
            kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
            other => with_causes(other),
        };
        let cause = cause(&error);
        Self { cause, ..Self::new(class(&error), text.chars().take(1000).collect::<String>()) }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let c_text = c.to_string();
        if !text.contains(&c_text) {
            text.push_str(": ");
            text.push_str(&c_text);
        }
        cause = c.source();
    }
    text
}

/// Makes one call within [`CALL_LIMIT`].
pub async fn call<T>(future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
    call_within(CALL_LIMIT, future).await
}

/// Why a reading has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// What the client, or the API server, said.
    #[error(transparent)]
    Error(#[from] kube::Error),
    /// Nobody said anything.
    #[error("no answer within {}s", CALL_LIMIT.as_secs())]
    Late,
}

impl Unanswered {
    /// The code of the API server's refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Error(kube::Error::Api(status)) => Some(status.code),
            Self::Error(_) | Self::Late => None,
        }
    }
}

/// Waits no longer than [`CALL_LIMIT`], for those who read in several calls that have it together.
///
/// # Errors
/// That nothing was answered.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> Result<T, Unanswered> {
    tokio::time::timeout(CALL_LIMIT, future).await.map_err(|_| Unanswered::Late)
}

/// Reads within [`CALL_LIMIT`], where more than the class of a failure is of interest.
///
/// # Errors
/// The client's error as it is, or that nothing was answered.
pub async fn answered<T>(future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Unanswered> {
    in_time(future).await?.map_err(Unanswered::Error)
}

/// Makes one call within a limit of its own, for those whose answer is worth nothing later.
pub(crate) async fn call_within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, future).await {
        Ok(answer) => answer.map_err(CallError::from),
        Err(_) => Err(CallError {
            late: true,
            ..CallError::transient(format!("the API server did not answer within {} ms", limit.as_millis()))
        }),
    }
}

/// A call that somebody waits for and that may be made more than once, such as a read before a restore: made again beside
/// itself while it is not answered, each time on another connection. The first answer counts.
pub(crate) async fn insist<T, F>(limit: Duration, ask: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let answer = async {
        let mut asked = FuturesUnordered::from_iter([ask()]);
        loop {
            tokio::select! {
                Some(answer) = asked.next() => return answer,
                () = tokio::time::sleep(LATE) => asked.push(ask()),
            }
        }
    };
    call_within(limit, answer).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use kube::core::Status;

    fn api(code: u16, reason: &str, message: &str) -> CallError {
        CallError::from(kube::Error::Api(Box::new(Status::failure(message, reason).with_code(code))))
    }

    #[test]
    fn what_may_pass_by_itself_is_never_final() {
        for code in [401, 408, 429, 500, 502, 503, 504] {
            assert_eq!(api(code, "", "busy").class, Class::Transient, "{code}");
        }
        for (code, class) in
            [(404, Class::NotFound), (409, Class::Conflict), (422, Class::Invalid), (413, Class::Invalid)]
        {
            assert_eq!(api(code, "", "no").class, class, "{code}");
        }
    }

    #[test]
    fn a_missing_right_is_told_from_a_quota() {
        let rbac = r#"services "web" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "services" in API group "" in the namespace "a""#;
        assert_eq!(api(403, "Forbidden", rbac).class, Class::Forbidden);
        let quota = r#"jobs.batch "x" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1"#;
        assert_eq!(api(403, "Forbidden", quota).class, Class::Invalid);
    }

    #[test]
    fn who_denies_a_write_is_known_from_the_answer() {
        let answers = [
            (403, r#"admission webhook "deny.example.com" denied the request: not tonight"#, BlockCause::Admission),
            (
                500,
                r#"Internal error occurred: failed calling webhook "deny.example.com": failed to call webhook: Post "https://gone.a.svc:443/?timeout=10s": service "gone" not found"#,
                BlockCause::Admission,
            ),
            (
                422,
                r#"services "web" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'freeze' denied request: failed expression: false"#,
                BlockCause::Admission,
            ),
            (429, "too many requests", BlockCause::Throttled),
            (503, "unavailable", BlockCause::Unreachable),
            (409, "the object has been modified", BlockCause::Conflict),
            (422, "spec.selector: Invalid value", BlockCause::Refused),
            (403, r#"services "web" is forbidden: User "x" cannot patch resource "services""#, BlockCause::Permission),
        ];
        for (code, message, cause) in answers {
            assert_eq!(api(code, "", message).cause, cause, "{message}");
        }
    }

    /// What becomes of the n-th sending: an answer after so long, or none at all.
    async fn nth(sent: &AtomicU32, answers: &[Option<(u64, Result<u32, u16>)>]) -> Result<u32, kube::Error> {
        let n = usize::try_from(sent.fetch_add(1, Ordering::Relaxed)).expect("few");
        match answers.get(n).or(answers.last()) {
            Some(Some((after, answer))) => {
                tokio::time::sleep(Duration::from_millis(*after)).await;
                answer.map_err(|code| kube::Error::Api(Box::new(Status::failure("no", "Test").with_code(code))))
            }
            _ => std::future::pending().await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_asked_again_beside_itself() {
        let sent = AtomicU32::new(0);
        let began = tokio::time::Instant::now();
        let answer = insist(CALL_LIMIT, || nth(&sent, &[None, Some((10, Ok(2)))])).await;
        assert_eq!((answer.ok(), began.elapsed().as_millis(), sent.load(Ordering::Relaxed)), (Some(2), 1010, 2));
        // One that is slow is not lost by it.
        let (sent, began) = (AtomicU32::new(0), tokio::time::Instant::now());
        let answer = insist(CALL_LIMIT, || nth(&sent, &[Some((1500, Ok(1))), None])).await;
        assert_eq!((answer.ok(), began.elapsed().as_millis()), (Some(1), 1500));
        sent.store(0, Ordering::Relaxed);
        let refused = insist(CALL_LIMIT, || nth(&sent, &[Some((1, Err(404)))])).await;
        assert_eq!(refused.map_err(|e| e.class), Err(Class::NotFound));
        let began = tokio::time::Instant::now();
        assert!(insist(CALL_LIMIT, || nth(&sent, &[None])).await.is_err_and(|e| e.late));
        assert_eq!(began.elapsed(), CALL_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_two_seconds() {
        let began = tokio::time::Instant::now();
        let answer: Result<(), _> = call(std::future::pending()).await;
        assert_eq!(answer.map_err(|e| e.class), Err(Class::Transient));
        assert_eq!(began.elapsed(), CALL_LIMIT);
    }
}
