//! What happens by itself: streams give up what they no longer keep, producers are forgotten, and the disk is looked at.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use waypost_core::{Partition, StreamDefinition};
use waypost_storage::CommitError;

use super::{Speaking, Streams};
use crate::time::now_ms;

/// The upkeep of streams; dropping it ends it.
#[derive(Debug)]
pub struct Upkeep(tokio::task::JoinHandle<()>);

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Upkeep {
    /// Looks at the disk, trims and forgets at every interval, on the current runtime.
    #[must_use]
    pub fn start(streams: Streams, interval: Duration, forget_after: Duration) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = streams.look_up_disk_use().await {
                    tracing::warn!(%error, "it is not known what storage takes of its disk");
                }
                if let Err(error) = streams.upkeep(now_ms(), forget_after).await {
                    streams.0.metrics.trim_failures.inc();
                    tracing::error!(%error, "streams keep more than they should; trimming goes on later");
                    // Nothing is written any more.
                    if matches!(error, CommitError::Fenced { .. } | CommitError::Closed) {
                        return;
                    }
                }
            }
        }))
    }
}

impl Streams {
    /// One round: every partition down to its bounds, every producer that published nothing for long.
    ///
    /// # Errors
    ///
    /// Storage did not commit; the rest of the round is left off.
    pub(super) async fn upkeep(
        &self,
        now_ms: u64,
        forget_after: Duration,
    ) -> Result<(), CommitError> {
        for StreamDefinition { name, partitions, retention, .. } in self.0.table.all() {
            for index in 0..partitions.get() {
                let partition = Partition::new(name.clone(), index);
                loop {
                    let storage = &self.0.storage;
                    let report = storage.trim(partition.clone(), *retention, now_ms).await?;
                    self.0.metrics.trimmed(name, &report.trimmed);
                    if !report.more {
                        break;
                    }
                }
            }
        }
        let after = u64::try_from(forget_after.as_millis()).unwrap_or(u64::MAX);
        let idle_since = now_ms.saturating_sub(after);
        self.tell_of_producers(now_ms, after).await?;
        loop {
            let forgotten = self.0.storage.forget_producers(idle_since).await?;
            self.0.metrics.forgotten.inc_by(forgotten);
            if forgotten == 0 {
                return Ok(());
            }
        }
    }

    /// Tells storage that producers are there that publish nothing, so that they are not forgotten.
    async fn tell_of_producers(&self, now_ms: u64, after: u64) -> Result<(), CommitError> {
        let long_ago = now_ms.saturating_sub(after / 4);
        let silent: Vec<_> = {
            let sessions = self.sessions();
            let silent = sessions.iter().filter(|(_, speaking)| speaking.seen_ms < long_ago);
            silent.map(|(producer, speaking)| (*producer, *speaking)).collect()
        };
        for (producer, Speaking { number, epoch, .. }) in silent {
            match self.0.storage.open_producer(producer, epoch, now_ms).await {
                // A newer life may have been opened meanwhile.
                Ok(_) | Err(CommitError::ProducerFenced { .. }) => {}
                Err(error) => return Err(error),
            }
            if let Some(speaking) = self.sessions().get_mut(&producer)
                && speaking.number == number
            {
                speaking.seen_ms = now_ms;
            }
        }
        Ok(())
    }
}
