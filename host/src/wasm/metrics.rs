//! What the sandbox counts.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use waypost_core::PluginName;

/// Names of counters that a plugin may bring; each is a series for ever.
const MAX_NAMES: usize = 64;

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
    /// What they count under more names than they may bring.
    counters_refused: IntCounterVec,
    known: Mutex<HashMap<PluginName, Names>>,
}

/// The names that a plugin counts under.
#[derive(Debug, Default)]
struct Names {
    taken: HashSet<String>,
    /// It was said that there are too many.
    is_told: bool,
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
            counters_refused: by(
                "waypost_plugin_counters_refused_total",
                "Times that a plugin counted under a name beyond the 64 that it may bring, which was not counted",
                &["plugin"],
            )?,
            known: Mutex::default(),
        };
        registry.register(Box::new(metrics.instances.clone()))?;
        registry.register(Box::new(metrics.instantiated.clone()))?;
        registry.register(Box::new(metrics.log_lines_dropped.clone()))?;
        registry.register(Box::new(metrics.counters.clone()))?;
        registry.register(Box::new(metrics.counters_refused.clone()))?;
        Ok(metrics)
    }

    /// Adds to a plugin's own counter. Names beyond those that it may bring are not counted, and told of once.
    pub(super) fn count(&self, plugin: &PluginName, counter: &str, amount: u64) {
        if self.may_count(plugin, counter) {
            self.counters.with_label_values(&[plugin.as_str(), counter]).inc_by(amount);
        } else {
            self.counters_refused.with_label_values(&[plugin.as_str()]).inc();
        }
    }

    fn may_count(&self, plugin: &PluginName, counter: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(plugin) {
            known.insert(plugin.clone(), Names::default());
        }
        let Some(names) = known.get_mut(plugin) else { return false };
        if names.taken.contains(counter) {
            return true;
        }
        if names.taken.len() < MAX_NAMES {
            return names.taken.insert(counter.to_owned());
        }
        if !std::mem::replace(&mut names.is_told, true) {
            tracing::warn!(
                %plugin, counter,
                "a plugin counts under more than {MAX_NAMES} names; this one and further ones are not counted"
            );
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_counts_under_ever_new_names_takes_none_from_another() {
        let metrics = SandboxMetrics::register(&Registry::new()).expect("a new registry");
        let plugin = |name: &str| PluginName::parse(name).expect("a name");
        let (greedy, modest) = (plugin("greedy"), plugin("modest"));
        for number in 0..2000 {
            metrics.count(&greedy, &format!("n{number}"), 1);
        }
        metrics.count(&greedy, "n0", 4);
        metrics.count(&modest, "seen", 7);
        let counted =
            |plugin: &str, name: &str| metrics.counters.with_label_values(&[plugin, name]).get();
        assert_eq!((counted("greedy", "n0"), counted("greedy", "n63")), (5, 1));
        assert_eq!(counted("modest", "seen"), 7);
        let refused = |plugin: &str| metrics.counters_refused.with_label_values(&[plugin]).get();
        assert_eq!((refused("greedy"), refused("modest")), (2000 - MAX_NAMES as u64, 0));
    }
}
