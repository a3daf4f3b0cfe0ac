//! One clock for all processes of a machine, and waiting for a time of it.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    time::Duration,
};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

/// A sleeping thread is woken late by about so much (`PR_SET_TIMERSLACK` in prctl(2) is 50 µs), so it is
/// asked to wake that much earlier, and spins for what is left.
const EARLY: u64 = 60_000;

/// Nanoseconds of the system's monotonic clock. All processes see the same, and nobody sets it.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// Waits for times with a thread of its own, as the runtime's timer has steps of a millisecond.
pub(crate) struct Pacer {
    ask: SyncSender<u64>,
    woken: mpsc::Receiver<()>,
    /// Whether the thread has been asked and its answer was not yet taken.
    asked: bool,
}

impl Pacer {
    /// The thread ends when this is dropped.
    pub(crate) fn new() -> Self {
        let (ask, asked) = sync_channel::<u64>(1);
        let (wake, woken) = mpsc::channel(1);
        std::thread::spawn(move || {
            for due in asked {
                let wait = due.saturating_sub(now());
                if wait > EARLY {
                    std::thread::sleep(Duration::from_nanos(wait - EARLY));
                }
                while now() < due {
                    std::thread::yield_now();
                }
                if wake.blocking_send(()).is_err() {
                    break;
                }
            }
        });
        Self { ask, woken, asked: false }
    }

    /// Returns when that time has come, which may be at once. Dropping the future loses nothing.
    pub(crate) async fn until(&mut self, due: u64) -> anyhow::Result<()> {
        const ENDED: &str = "the thread that keeps time has ended";
        while now() < due {
            if !self.asked {
                self.ask.send(due).context(ENDED)?;
                self.asked = true;
            }
            self.woken.recv().await.context(ENDED)?;
            self.asked = false;
        }
        Ok(())
    }
}

/// When something is due that comes at a constant rate, whatever became of what came before: a sender that
/// falls behind has its delay counted, not forgiven ("coordinated omission").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: u64,
    nanoseconds: f64,
}

impl Schedule {
    /// So many a second from `start` on.
    pub(crate) fn new(start: u64, a_second: f64) -> Self {
        Self { start, nanoseconds: 1e9 / a_second }
    }

    /// When the one with this number is due, from 0 on.
    pub(crate) fn due(&self, number: u64) -> u64 {
        self.start + (number as f64 * self.nanoseconds) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pacer_never_returns_early() {
        let mut pacer = Pacer::new();
        for ahead in [0, 10_000, 300_000, 2_000_000] {
            let due = now() + ahead;
            pacer.until(due).await.expect("its thread runs");
            assert!(now() >= due);
        }
    }

    #[test]
    fn what_is_due_does_not_depend_on_what_was_late() {
        let schedule = Schedule::new(500, 1000.0);
        assert_eq!(
            [0, 1, 2, 1000].map(|number| schedule.due(number)),
            [500, 1_000_500, 2_000_500, 1_000_000_500]
        );
    }
}
