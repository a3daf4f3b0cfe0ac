//! Versions of plugins under traffic: what runs in which stage, and how that changes.
//!
//! A new artefact is compiled, configured and tried on a thread of its own, away from the data path. Only
//! when every stage that uses the file accepts it are the stages swapped, all at once, between batches. A
//! refused artefact changes nothing and says why. Versions that ran are kept by digest, so that one can be gone
//! back to at once; a new one that fails more than the one before it is rolled back by itself. Whatever way an artefact comes, it is held against
//! the trusted keys and its plugin's pin before it is compiled.

mod configured;
mod deployer;
mod error;
mod history;
mod kept;
mod knowledge;
mod metrics;
mod prepare;
mod probation;
mod status;
mod store;
mod strangers;
#[cfg(test)]
mod tests;
mod trust;
mod watch;

pub use deployer::{Deployed, Deployer, DeployerParts};
pub use error::DeployError;
pub use history::{History, KeptVersion, NoVersion, Via};
pub use metrics::DeployMetrics;
pub use probation::Probation;
pub use status::{PluginStatus, Refusal};
pub use store::{StoreError, VersionStore};
pub use trust::{MAX_SIGNATURE_BYTES, PluginRules, Trust, TrustError, TrustedKey, TrustedKeyError};
pub use watch::WatchError;
