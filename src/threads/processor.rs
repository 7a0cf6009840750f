//! What a thread has used of a processor, and how it leaves the processor to others.

use std::time::Duration;

/// Processor time of this thread so far.
#[cfg(target_os = "linux")]
pub(super) fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Lets threads of the usual priority run first. Linux has a priority for each thread.
#[cfg(target_os = "linux")]
pub(super) fn give_way(nice: i32) {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice) {
        // Turns are kept all the same.
        tracing::info!(%error, "the slow lane keeps the usual priority");
    }
}

/// The operator runs on Linux; elsewhere the time that has passed stands for it.
#[cfg(not(target_os = "linux"))]
pub(super) fn used() -> Duration {
    static BEGUN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGUN.elapsed()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_way(_nice: i32) {}
