//! Traces of closed runs on their way out: never in the way of a run. What finds no room is dropped and counted.

use tokio::sync::mpsc;

use crate::meter::Meter;
use crate::spans::Trace;

/// Traces waiting to be exported.
const ROOM: usize = 64;

/// Takes traces, if anybody wants them. Cheap to clone.
#[derive(Clone)]
pub struct Traces {
    queue: Option<mpsc::Sender<Trace>>,
    meter: Meter,
}

impl Traces {
    /// Nobody wants traces.
    pub fn none(meter: Meter) -> Self {
        Self { queue: None, meter }
    }

    /// A bounded queue, and its other end.
    pub fn queue(meter: Meter) -> (Self, mpsc::Receiver<Trace>) {
        let (queue, traces) = mpsc::channel(ROOM);
        (Self { queue: Some(queue), meter }, traces)
    }

    /// Hands over a trace, made only if somebody wants it.
    pub fn send(&self, make: impl FnOnce() -> Trace) {
        if let Some(queue) = &self.queue
            && queue.try_send(make()).is_err()
        {
            self.meter.trace("dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted_and_nobody_waits() {
        let meter = Meter::new().expect("metrics");
        let trace = || Trace { id: [1; 16], spans: vec![] };
        Traces::none(meter.clone()).send(|| unreachable!("nobody wants it"));
        let (traces, mut other_end) = Traces::queue(meter.clone());
        for _ in 0..ROOM + 3 {
            traces.send(trace);
        }
        assert!(meter.text().expect("text").contains("cutover_traces_total{result=\"dropped\"} 3"));
        assert!(other_end.recv().await.is_some());
    }
}
