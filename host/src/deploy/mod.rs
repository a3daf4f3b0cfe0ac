//! Versions of plugins under traffic: what runs in which stage, and how that changes.
//!
//! A new artefact is compiled, configured and tried on a thread of its own, away from the data path. Only
//! when every stage that uses the file accepts it are the stages swapped, all at once, between batches. A
//! refused artefact changes nothing and says why.

mod deployer;
mod metrics;
mod status;
#[cfg(test)]
mod tests;
mod watch;

pub use deployer::{DeployError, Deployed, Deployer};
pub use metrics::DeployMetrics;
pub use status::{PluginStatus, Refusal, StageStatus};
pub use watch::{WatchError, Watcher};
