//! The clock of one group's task.

use model::time::Timestamp;
use ruler::ports::{Clock, Moment};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Wall clock and timer; stops when the token is cancelled.
#[derive(Debug, Clone)]
pub(super) struct TaskClock {
    started: Instant,
    stop: CancellationToken,
}

impl TaskClock {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { started: Instant::now(), stop }
    }
}

impl Clock for TaskClock {
    fn now(&self) -> Moment {
        Moment { wall: wall_clock(), monotonic: self.started.elapsed() }
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// Now; a clock before 1970 counts as 1970.
pub(crate) fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
