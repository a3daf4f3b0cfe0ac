//! What operators are told of a plugin.

use std::fmt;

use serde::{Deserialize, Serialize};
use waypost_core::{RouteName, StageName};

use super::KeptVersion;
use crate::router::RouterMetrics;

/// A plugin as it runs at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name: the file without `.wasm`.
    pub name: String,
    /// The file.
    pub file: String,
    /// SHA-256 of the artefact that runs, in hexadecimal.
    pub digest: String,
    /// The version in its manifest.
    pub version: String,
    /// `filter`, `transform`, `router` or `general`.
    pub role: String,
    /// Whether the same batch always gets the same answer.
    pub deterministic: bool,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The stages that run it.
    pub stages: Vec<StageStatus>,
    /// Since when this artefact runs, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How many artefacts were accepted since the router started.
    pub deploys: u64,
    /// The versions that are kept, the oldest first: those that a rollback can go back to.
    pub versions: Vec<KeptVersion>,
    /// The last artefact that was refused, unless one was accepted since.
    pub refused: Option<Refusal>,
}

/// A stage since the router started, over all versions that ran in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageStatus {
    /// Its route.
    pub route: String,
    /// Its name in the route.
    pub stage: String,
    /// Calls into it, those that failed too.
    pub calls: u64,
    /// Messages that it has given a verdict on.
    pub messages: u64,
    /// Calls that failed as a whole.
    pub failures: u64,
    /// Wall time of all calls, in seconds.
    pub seconds: f64,
    /// Whether its messages wait.
    pub breaker: BreakerStatus,
}

/// What a stage's breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerStatus {
    /// Calls go.
    Closed,
    /// The plugin fails again and again: messages wait.
    Open,
}

impl fmt::Display for BreakerStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
        })
    }
}

impl StageStatus {
    /// What the router has counted of a stage.
    pub(super) fn of(route: &RouteName, stage: &StageName, metrics: &RouterMetrics) -> Self {
        let labels = [route.as_str(), stage.as_str()];
        let timed = metrics.stage_seconds.with_label_values(&labels);
        let is_open = metrics.breaker_open.with_label_values(&labels).get() != 0;
        Self {
            route: route.as_str().to_owned(),
            stage: stage.as_str().to_owned(),
            calls: timed.get_sample_count(),
            messages: metrics.stage_messages.with_label_values(&labels).get(),
            failures: metrics.failures_of(labels),
            seconds: timed.get_sample_sum(),
            breaker: if is_open { BreakerStatus::Open } else { BreakerStatus::Closed },
        }
    }
}

/// An artefact that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// SHA-256 of its bytes, in hexadecimal; none when the file could not be read.
    pub digest: Option<String>,
    /// Why.
    pub error: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}
