//! What the sandbox counts.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use waypost_core::PluginName;

/// Names of counters that all plugins together may bring; each is a series for ever.
const MAX_SERIES: usize = 1024;

/// The sandbox's series.
#[derive(Debug)]
pub struct SandboxMetrics {
    /// Instances that stand.
    pub instances: IntGauge,
    /// Instances that were made, by plugin.
    pub instantiated: IntCounterVec,
    /// Lines that were over a plugin's log limit.
    pub log_lines_dropped: IntCounterVec,
    /// What plugins count themselves.
    counters: IntCounterVec,
    known: Mutex<HashSet<(String, String)>>,
}

impl SandboxMetrics {
    /// Makes the series and registers them.
    ///
    /// # Errors
    ///
    /// A series of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let by = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let metrics = Self {
            instances: IntGauge::new(
                "waypost_plugin_instances",
                "Instances of plugins that stand",
            )?,
            instantiated: by(
                "waypost_plugin_instantiations_total",
                "Instances that were made; many beside few swaps mean failures",
                &["plugin"],
            )?,
            log_lines_dropped: by(
                "waypost_plugin_log_lines_dropped_total",
                "Lines that a plugin wrote over its log limit",
                &["plugin"],
            )?,
            counters: by(
                "waypost_plugin_counter_total",
                "What plugins count themselves",
                &["plugin", "counter"],
            )?,
            known: Mutex::default(),
        };
        registry.register(Box::new(metrics.instances.clone()))?;
        registry.register(Box::new(metrics.instantiated.clone()))?;
        registry.register(Box::new(metrics.log_lines_dropped.clone()))?;
        registry.register(Box::new(metrics.counters.clone()))?;
        Ok(metrics)
    }

    /// Adds to a plugin's own counter. Names beyond a bound are not counted.
    pub(super) fn count(&self, plugin: &PluginName, counter: &str, amount: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (plugin.as_str().to_owned(), counter.to_owned());
        if !known.contains(&name) && (known.len() >= MAX_SERIES || !known.insert(name)) {
            return;
        }
        drop(known);
        self.counters.with_label_values(&[plugin.as_str(), counter]).inc_by(amount);
    }
}
