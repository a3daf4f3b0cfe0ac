//! From an artefact to a version for each stage that uses it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use waypost_core::{RouteName, StageDefinition};

use super::{DeployError, VersionStore};
use crate::{
    router::stage::{Stage, StageVersion},
    wasm::{Digest, Manifest, PluginError, PluginPolicy, Sandbox},
};

/// A plugin that the configuration names.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    pub(super) file: PathBuf,
    pub(super) policy: PluginPolicy,
    pub(super) stages: Vec<(RouteName, StageDefinition)>,
}

/// Where an artefact comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The plugin's file in the folder.
    Folder,
    /// Whoever deploys hands it in.
    Given(Arc<[u8]>),
    /// It ran before.
    Kept(Digest),
}

impl Source {
    /// What errors call it.
    pub(super) fn name(&self, plugin: &Plugin) -> PathBuf {
        match self {
            Self::Folder => plugin.file.clone(),
            Self::Given(_) => format!("{} (handed in)", plugin.file.display()).into(),
            Self::Kept(digest) => format!("{} (kept, {digest})", plugin.file.display()).into(),
        }
    }
}

/// An artefact that no stage runs; the digest goes with it, if the file could be read.
pub(super) struct Refused {
    pub(super) digest: Option<Digest>,
    pub(super) error: DeployError,
}

/// The versions that an artefact makes: one for each stage that uses it.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
    pub(super) bytes: Arc<[u8]>,
    pub(super) versions: Vec<(RouteName, Stage)>,
}

/// Compiles an artefact and makes a version for each stage that uses it.
pub(super) async fn prepare(
    sandbox: &Sandbox,
    plugin: &Plugin,
    source: Source,
    store: &VersionStore,
) -> Result<Prepared, Box<Refused>> {
    let unread = |error| Box::new(Refused { digest: None, error });
    let file = source.name(plugin);
    let bytes: Arc<[u8]> = match source {
        Source::Folder => read(&file, plugin.policy.limits.artefact_bytes).map_err(unread)?.into(),
        Source::Given(bytes) => bytes,
        Source::Kept(digest) => store.get(digest).map_err(|error| unread(error.into()))?.into(),
    };
    let digest = Digest::of(&bytes);
    let failed = |error| Box::new(Refused { digest: Some(digest), error });
    let artefact = sandbox
        .compile(&bytes, plugin.policy.limits)
        .map_err(|source| failed(DeployError::Artefact { file: file.clone(), source }))?;
    let mut versions = Vec::new();
    let mut manifest = None;
    for (route, stage) in &plugin.stages {
        let version = sandbox.prepare(
            &artefact,
            &stage.plugin,
            &stage.name,
            &stage.configuration,
            &plugin.policy,
        );
        let version = version.await.map_err(|source| {
            let (route, stage) = (route.clone(), stage.name.as_str().to_owned());
            failed(DeployError::Stage { file: file.clone(), route, stage, source })
        })?;
        manifest.get_or_insert_with(|| version.manifest().clone());
        let version: Arc<dyn StageVersion> = Arc::new(version);
        versions.push((route.clone(), Stage { name: stage.name.clone(), version }));
    }
    let manifest = manifest.ok_or_else(|| {
        let reason = "no stage uses it".to_owned();
        failed(DeployError::Internal { file: file.clone(), reason })
    })?;
    Ok(Prepared { digest, manifest, bytes, versions })
}

/// The file's bytes. One that is too large is not read.
pub(super) fn read(file: &Path, limit: usize) -> Result<Vec<u8>, DeployError> {
    let failed = |source| DeployError::File { file: file.to_owned(), source };
    let length = fs::metadata(file).map_err(failed)?.len();
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes > limit {
        let source = PluginError::TooLarge { bytes, limit };
        return Err(DeployError::Artefact { file: file.to_owned(), source });
    }
    fs::read(file).map_err(failed)
}
