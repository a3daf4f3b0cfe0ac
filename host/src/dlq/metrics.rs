//! What is counted of letters that leave.

use prometheus::{IntCounterVec, Opts, Registry};

/// The series of letters that leave.
#[derive(Debug, Clone)]
pub struct DlqMetrics {
    /// Letters that were replayed, by where to.
    pub(super) replayed: IntCounterVec,
    /// Letters that were purged, by stream.
    pub(super) purged: IntCounterVec,
}

impl DlqMetrics {
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
        Ok(Self {
            replayed: counters(
                "waypost_dlq_replayed_letters_total",
                "Dead letters that left because they were replayed",
                &["stream", "to"],
            )?,
            purged: counters(
                "waypost_dlq_purged_letters_total",
                "Dead letters that left because they were purged",
                &["stream"],
            )?,
        })
    }
}
