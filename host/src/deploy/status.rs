//! What operators are told of a plugin.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::KeptVersion;
use crate::router::StageStatus;

/// A plugin as it runs at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginStatus {
    /// Its name: the file without `.wasm`.
    pub name: String,
    /// The file.
    pub file: String,
    /// SHA-256 of the artefact that runs, in hexadecimal.
    pub digest: String,
    /// The name in the manifest of the artefact that runs: another one where it was made as another plugin.
    pub manifest_name: String,
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

/// An artefact that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// SHA-256 of its bytes, in hexadecimal; none when the file could not be read.
    pub digest: Option<String>,
    /// Why.
    pub error: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}
