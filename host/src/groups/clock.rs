//! The time of leases: that of the wall when a group's task began, and from then on one that does not go back.

use tokio::time::{Duration, Instant};

use crate::time::now_ms;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began_ms: u64,
    began: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { began_ms: now_ms(), began: Instant::now() }
    }

    /// Milliseconds since the Unix epoch, as if the wall's clock had not been set since.
    pub(super) fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began_ms.saturating_add(elapsed)
    }

    pub(super) fn instant(&self, at_ms: u64) -> Instant {
        let after = Duration::from_millis(at_ms.saturating_sub(self.began_ms));
        self.began.checked_add(after).unwrap_or(self.began + Duration::from_secs(1 << 30))
    }
}
