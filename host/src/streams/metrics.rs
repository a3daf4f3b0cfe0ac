//! What streams count, and what they hold at the moment.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use waypost_core::{StreamDefinition, StreamName, Trimmed};
use waypost_storage::{Appended, CommitError};

/// The series of streams.
#[derive(Debug, Clone)]
pub struct StreamMetrics {
    /// Messages that were stored.
    pub messages: IntCounterVec,
    /// Bytes of their batches.
    pub bytes: IntCounterVec,
    /// Batches that had been stored before.
    pub duplicates: IntCounterVec,
    /// Batches that were not stored, by reason.
    pub refused: IntCounterVec,
    /// Messages that were given up, by the bound that asked for it.
    pub trimmed: IntCounterVec,
    /// Messages that were not handed on because their time to live was over.
    pub expired: IntCounterVec,
    /// Positions of routes and groups that stood behind an end when storage was opened.
    pub moved_back: IntCounter,
    /// Producers that were forgotten.
    pub forgotten: IntCounter,
    /// Rounds of trimming that failed.
    pub trim_failures: IntCounter,
}

impl StreamMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        Ok(Self {
            messages: counters(
                "waypost_stream_messages_total",
                "Messages that were stored",
                &["stream"],
            )?,
            bytes: counters(
                "waypost_stream_bytes_total",
                "Bytes of batches that were stored",
                &["stream"],
            )?,
            duplicates: counters(
                "waypost_stream_duplicates_total",
                "Batches that came again and were not stored again",
                &["stream"],
            )?,
            refused: counters(
                "waypost_stream_refused_total",
                "Batches that were not stored, by reason",
                &["stream", "code"],
            )?,
            trimmed: counters(
                "waypost_stream_trimmed_messages_total",
                "Messages that retention gave up, by the bound that asked for it",
                &["stream", "bound"],
            )?,
            expired: counters(
                "waypost_expired_messages_total",
                "Messages whose time to live was over when they were to be handed to a subscription, a group or a \
                 route, by their stream or the pattern of their topic table",
                &["topics"],
            )?,
            moved_back: counter(
                "waypost_storage_positions_moved_back_total",
                "Positions of routes and groups that stood behind the end of their partition when storage was opened, \
                 as happens where loss was accepted, and were moved back to it",
            )?,
            forgotten: counter(
                "waypost_producers_forgotten_total",
                "Producers that were forgotten because they published nothing for long",
            )?,
            trim_failures: counter(
                "waypost_storage_upkeep_failures_total",
                "Rounds of trimming and forgetting that storage did not commit",
            )?,
        })
    }

    /// Makes the series of a stream stand at zero.
    pub(super) fn announce(&self, stream: &StreamDefinition) {
        let name = stream.name.as_str();
        for each in [&self.messages, &self.bytes, &self.duplicates] {
            each.with_label_values(&[name]);
        }
        for bound in ["age", "bytes", "messages"] {
            self.trimmed.with_label_values(&[name, bound]);
        }
    }

    pub(super) fn answered(
        &self,
        stream: &StreamName,
        messages: u64,
        bytes: u64,
        answer: &Result<Appended, CommitError>,
    ) {
        let labels = [stream.as_str()];
        match answer {
            Ok(Appended::Stored { .. }) => {
                self.stored(stream, messages, bytes);
            }
            Ok(Appended::Duplicate { .. }) => self.duplicates.with_label_values(&labels).inc(),
            Err(error) => {
                let code = error.code().map_or("UNKNOWN", |code| code.name());
                self.refused.with_label_values(&[stream.as_str(), code]).inc();
            }
        }
    }

    /// A batch that came out of a route was stored.
    pub(super) fn stored(&self, stream: &StreamName, messages: u64, bytes: u64) {
        self.messages.with_label_values(&[stream.as_str()]).inc_by(messages);
        self.bytes.with_label_values(&[stream.as_str()]).inc_by(bytes);
    }

    pub(super) fn trimmed(&self, stream: &StreamName, trimmed: &Trimmed) {
        let by = [
            ("age", trimmed.by_age),
            ("bytes", trimmed.by_bytes),
            ("messages", trimmed.by_messages),
        ];
        for (bound, extent) in by {
            let labels = [stream.as_str(), bound];
            self.trimmed.with_label_values(&labels).inc_by(extent.messages);
        }
    }
}
