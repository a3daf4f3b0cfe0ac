//! The reading side of a lane: what its route makes of a partition, batch by batch.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant},
};

use super::{
    LaneState, Returning,
    reading::{Reading, Taken},
};
use crate::router::pipeline::Pipeline;

/// Progress through messages of which nothing comes is told this late, so that they cost no sync each.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// A lane with what it reads.
pub(super) struct Lane {
    pub(super) pipeline: Pipeline,
    pub(super) reading: Reading,
    /// Tells when routes run otherwise.
    pub(super) changes: watch::Receiver<()>,
    /// What comes back to the route.
    pub(super) returns: mpsc::Receiver<Returning>,
    pub(super) state: Arc<LaneState>,
}

/// What it does next.
enum Next {
    /// Messages that were parked.
    Due,
    /// What was read.
    Read,
    /// What comes back.
    Return(Box<Returning>),
    /// It tells how far it came.
    Tell,
    /// Whatever there is by now.
    Look,
}

impl Lane {
    /// Works until it is dropped.
    pub(super) async fn run(mut self) {
        let mut tell_at = None;
        loop {
            self.pipeline.catch_up().await;
            if self.pipeline.has_effects() {
                self.pipeline.flush(None).await;
            }
            self.state.set_parked(self.pipeline.parked());
            tell_at = match self.pipeline.is_ahead() {
                true => tell_at.or_else(|| Some(Instant::now() + TELL_AFTER)),
                false => None,
            };
            match self.next(tell_at).await {
                Next::Due => self.pipeline.run_due().await,
                Next::Read => self.run_read().await,
                Next::Return(returning) => self.pipeline.take_back(*returning).await,
                Next::Tell => {
                    self.pipeline.flush(None).await;
                    tell_at = None;
                }
                Next::Look => {}
            }
        }
    }

    async fn run_read(&mut self) {
        let (source, policy) = (self.pipeline.source(), self.pipeline.batch_policy());
        let Some(Taken { input, lineage, is_at_limit, end }) = self.reading.take(source, policy)
        else {
            return;
        };
        self.pipeline.read_to(end);
        match input {
            Some(input) if is_at_limit => self.pipeline.refuse_at_limit(input, lineage).await,
            Some(input) => _ = self.pipeline.run(input, lineage).await,
            None => {}
        }
    }

    /// Awaits what is to be done. Parked messages go before new ones; with as much parked as may be, nothing
    /// new is taken.
    async fn next(&mut self, tell_at: Option<Instant>) -> Next {
        self.changes.mark_unchanged();
        self.pipeline.look();
        let due = self.pipeline.next_due();
        if due.is_some_and(|due| due <= Instant::now()) {
            return Next::Due;
        }
        let (is_full, policy) = (self.pipeline.is_full(), self.pipeline.batch_policy());
        tokio::select! {
            () = until(due) => Next::Due,
            _ = self.changes.changed() => Next::Look,
            Some(returning) = self.returns.recv(), if !is_full => {
                Next::Return(Box::new(returning))
            }
            () = self.reading.filled(policy), if !is_full => Next::Read,
            () = until(tell_at) => Next::Tell,
        }
    }
}

/// Resolves at a time, or never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
