//! From an artefact to a version for each stage that uses it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use waypost_core::{Counts, PluginName, RouteName, StageDefinition};

use super::{
    DeployError, PluginRules, VersionStore,
    trust::{SIGNATURE_SUFFIX, read_signature},
};
use crate::{
    router::stage::{Stage, StageVersion},
    wasm::{Digest, Manifest, PluginError, Sandbox},
};

/// A plugin that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plugin {
    pub(super) name: PluginName,
    pub(super) file: PathBuf,
    pub(super) rules: PluginRules,
    pub(super) stages: Vec<(RouteName, StageDefinition)>,
}

impl Plugin {
    /// Whether it runs in the same stages as another, whatever they are configured with.
    pub(super) fn is_in_stages_of(&self, other: &Self) -> bool {
        let names = |plugin: &Self| -> Vec<_> {
            let names =
                plugin.stages.iter().map(|(route, stage)| (route.clone(), stage.name.clone()));
            names.collect()
        };
        names(self) == names(other)
    }

    /// The file of its artefact's signature.
    pub(super) fn signature_file(&self) -> PathBuf {
        beside(&self.file)
    }
}

/// Where an artefact comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The plugin's file in the folder.
    Folder,
    /// Whoever deploys hands it in, with its signature if there is one.
    Given(Arc<[u8]>, Option<Arc<str>>),
    /// It ran before.
    Kept(Digest),
}

impl Source {
    /// What errors call it.
    pub(super) fn name(&self, plugin: &Plugin) -> PathBuf {
        match self {
            Self::Folder => plugin.file.clone(),
            Self::Given(..) => Self::handed_in(plugin),
            Self::Kept(digest) => format!("{} (kept, {digest})", plugin.file.display()).into(),
        }
    }

    /// What errors call an artefact that whoever deploys hands in.
    pub(super) fn handed_in(plugin: &Plugin) -> PathBuf {
        format!("the artefact handed in for {}", plugin.name).into()
    }

    /// Where its signature is to be put.
    fn place(&self, plugin: &Plugin, store: &VersionStore) -> String {
        let at = |file: PathBuf| format!("the signature at {}", file.display());
        match self {
            Self::Folder => at(plugin.signature_file()),
            Self::Given(..) => {
                "the signature beside the file, or name it with --signature".to_owned()
            }
            Self::Kept(digest) => at(store.signature_file(*digest)),
        }
    }

    /// Reads the artefact and its signature.
    fn read(&self, plugin: &Plugin, store: &VersionStore) -> Result<Signed, DeployError> {
        let (bytes, signature): (Arc<[u8]>, _) = match self {
            Self::Folder => {
                let bytes = read(&plugin.file, plugin.rules.policy.limits.artefact_bytes)?;
                let file = plugin.signature_file();
                let signature = read_signature(&file);
                let failed = |source| DeployError::File { file, source };
                (bytes.into(), signature.map_err(failed)?.map(Arc::from))
            }
            Self::Given(bytes, signature) => (bytes.clone(), signature.clone()),
            Self::Kept(digest) => {
                (store.get(*digest)?.into(), store.signature_of(*digest)?.map(Arc::from))
            }
        };
        Ok(Signed { bytes, signature })
    }
}

/// An artefact's bytes with its signature, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) bytes: Arc<[u8]>,
    pub(super) signature: Option<Arc<str>>,
}

impl Signed {
    /// Holds it against what the configuration trusts.
    pub(super) fn check(
        &self,
        source: &Source,
        plugin: &Plugin,
        store: &VersionStore,
    ) -> Result<(), DeployError> {
        let place = || source.place(plugin, store);
        let trust = &plugin.rules.trust;
        let checked = trust.check(&plugin.name, &self.bytes, self.signature.as_deref(), place);
        checked.map_err(|error| DeployError::Untrusted { file: source.name(plugin), source: error })
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
    pub(super) artefact: Signed,
    pub(super) versions: Vec<(RouteName, Stage)>,
}

impl Prepared {
    /// The messages that came to these versions in all stages.
    pub(super) fn counts(&self) -> Counts {
        let counts = self.versions.iter().map(|(_, stage)| stage.tally.counts());
        counts.fold(Counts::default(), Counts::and)
    }

    /// Counts on from what the same artefact did under another configuration in the same stages.
    pub(super) fn count_on_from(&mut self, before: &Self) {
        if before.digest != self.digest {
            return;
        }
        for (route, stage) in &mut self.versions {
            let is_same =
                |(known, other): &&(RouteName, Stage)| known == route && other.name == stage.name;
            if let Some((_, known)) = before.versions.iter().find(is_same) {
                stage.tally = known.tally.clone();
            }
        }
    }
}

/// Compiles an artefact and makes a version for each stage that uses it.
pub(super) async fn prepare(
    sandbox: &Sandbox,
    plugin: &Plugin,
    source: Source,
    store: &VersionStore,
) -> Result<Prepared, Box<Refused>> {
    let refused = |digest| move |error| Box::new(Refused { digest, error });
    let file = source.name(plugin);
    let signed = source.read(plugin, store).map_err(refused(None))?;
    let digest = Digest::of(&signed.bytes);
    let failed = refused(Some(digest));
    signed.check(&source, plugin, store).map_err(failed)?;
    let policy = &plugin.rules.policy;
    let artefact = sandbox
        .compile(&signed.bytes, policy.limits)
        .map_err(|source| failed(DeployError::Artefact { file: file.clone(), source }))?;
    let mut versions = Vec::new();
    let mut manifest = None;
    for (route, stage) in &plugin.stages {
        let version =
            sandbox.prepare(&artefact, &stage.plugin, &stage.name, &stage.configuration, policy);
        let version = version.await.map_err(|source| {
            let (route, stage) = (route.clone(), stage.name.as_str().to_owned());
            failed(DeployError::Stage { file: file.clone(), route, stage, source })
        })?;
        manifest.get_or_insert_with(|| version.manifest().clone());
        let version: Arc<dyn StageVersion> = Arc::new(version);
        versions.push((route.clone(), Stage::new(stage.name.clone(), version)));
    }
    let manifest = manifest.ok_or_else(|| {
        let reason = "no stage uses it".to_owned();
        failed(DeployError::Internal { file: file.clone(), reason })
    })?;
    Ok(Prepared { digest, manifest, artefact: signed, versions })
}

/// The file of the signature of the artefact in a file.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(SIGNATURE_SUFFIX);
    name.into()
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
