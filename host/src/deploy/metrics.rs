//! What deploys count.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

/// The series of deploys.
#[derive(Debug, Clone)]
pub struct DeployMetrics {
    /// Deploys by plugin and outcome, `accepted` or `refused`.
    pub deploys: IntCounterVec,
    /// Artefacts that were refused, by plugin and kind of fault.
    pub refusals: IntCounterVec,
    /// Seconds from bytes to versions that passed their self-test.
    pub prepare_seconds: Histogram,
}

impl DeployMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = HistogramOpts::new(
            "waypost_plugin_prepare_seconds",
            "Time to compile, configure and self-test an artefact for all its stages",
        )
        .buckets(prometheus::exponential_buckets(0.01, 2.5, 9)?);
        let metrics = Self {
            deploys: IntCounterVec::new(
                Opts::new("waypost_plugin_deploys_total", "Deploys by outcome"),
                &["plugin", "outcome"],
            )?,
            refusals: IntCounterVec::new(
                Opts::new("waypost_plugin_refusals_total", "Artefacts that were refused, by kind"),
                &["plugin", "kind"],
            )?,
            prepare_seconds: Histogram::with_opts(seconds)?,
        };
        registry.register(Box::new(metrics.deploys.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.prepare_seconds.clone()))?;
        Ok(metrics)
    }
}
