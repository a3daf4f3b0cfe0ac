//! Why an artefact does not run.

use std::{io, path::PathBuf};

use waypost_core::{PluginName, RouteName};

use super::{NoVersion, StoreError, TrustError};
use crate::wasm::PluginError;

/// Why an artefact was refused. What ran before goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The file cannot be read.
    #[error("{file}: {source}; build the plugin and put it there", file = file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The artefact is not one that the configuration trusts.
    #[error("{file}: {source}", file = file.display())]
    Untrusted {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: TrustError,
    },
    /// The artefact is of no use to any stage.
    #[error("{file}: {source}", file = file.display())]
    Artefact {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: PluginError,
    },
    /// A stage does not accept it.
    #[error("{file} in stage {route}/{stage}: {source}", file = file.display())]
    Stage {
        /// Which file.
        file: PathBuf,
        /// The stage's route.
        route: RouteName,
        /// The stage.
        stage: String,
        /// What is wrong.
        source: PluginError,
    },
    /// The artefact, or the record of what runs, cannot be kept or found.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No stage uses a plugin of this name.
    #[error("no stage uses a plugin {plugin}; {}", there_are("the stages use", .known))]
    UnknownPlugin {
        /// The name that was given.
        plugin: String,
        /// The plugins that stages use.
        known: Vec<String>,
    },
    /// No route has such a stage.
    #[error("there is no stage {stage}; {}", there_are("the stages are", .known))]
    UnknownStage {
        /// What was given, as `route/stage`.
        stage: String,
        /// The stages that there are.
        known: Vec<String>,
    },
    /// There is no version to go back to.
    #[error("plugin {plugin}: {source}")]
    NoVersion {
        /// Which plugin.
        plugin: PluginName,
        /// Why.
        source: NoVersion,
    },
    /// The thread that prepares artefacts went down.
    #[error("{file}: preparing it failed on the router's own account: {reason}", file = file.display())]
    Internal {
        /// Which file.
        file: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// What there is instead of something that is not there.
fn there_are(which: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "no route has a stage: add a [[route]] with a [[route.stage]] that names its plugin"
            .to_owned();
    }
    format!("{which} {}", known.join(", "))
}

impl DeployError {
    /// Whether the same artefact may be accepted at another time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Artefact { source, .. } | Self::Stage { source, .. } => source.is_passing(),
            Self::Internal { .. } => true,
            Self::File { .. }
            | Self::Untrusted { .. }
            | Self::Store(_)
            | Self::UnknownPlugin { .. }
            | Self::UnknownStage { .. }
            | Self::NoVersion { .. } => false,
        }
    }

    /// Whether the configuration refuses it, so that another one may accept it.
    pub(super) fn is_by_configuration(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. } | Self::Stage { source: PluginError::NotGranted(_), .. }
        )
    }

    /// Its kind, for counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Artefact { source, .. } | Self::Stage { source, .. } => source.kind(),
            Self::Untrusted { source, .. } => source.kind(),
            Self::File { .. } => "file",
            Self::Store(_) => "store",
            Self::UnknownPlugin { .. } | Self::UnknownStage { .. } | Self::NoVersion { .. } => {
                "unknown"
            }
            Self::Internal { .. } => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_is_or_with_what_to_add() {
        let unknown = |known: &[&str]| {
            let known = known.iter().map(ToString::to_string).collect();
            DeployError::UnknownPlugin { plugin: "x".to_owned(), known }.to_string()
        };
        assert_eq!(unknown(&["a", "b"]), "no stage uses a plugin x; the stages use a, b");
        assert_eq!(
            unknown(&[]),
            "no stage uses a plugin x; no route has a stage: add a [[route]] with a [[route.stage]] that names its plugin"
        );
    }
}
