//! A version of a stage: an artefact with a configuration that has passed its self-test.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use waypost_core::{OutputLimits, PluginName, StageName, fold};
use waypost_protocol::{Batch, BatchBuilder, HeadersBuilder, Limits, StageRun};

use super::{
    Artefact, Digest, Interfaces, Manifest, NotGranted, PluginError, PluginPolicy, SandboxLimits,
    SandboxMetrics,
    aside::{Aside, Conduct},
    instance::Instance,
    standing::Standing,
};
use crate::router::stage::{StageFailure, StageInstance, StageVersion};

/// What is to become a version.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) artefact: Artefact,
    pub(super) plugin: PluginName,
    pub(super) stage: StageName,
    pub(super) configuration: String,
    pub(super) policy: PluginPolicy,
    pub(super) metrics: Arc<SandboxMetrics>,
    pub(super) aside: Arc<Aside>,
}

impl Offer {
    /// Before any of its code runs.
    fn check_grants(&self) -> Result<(), PluginError> {
        let (imported, grants) = (&self.artefact.imports, &self.policy.grants);
        let missing: Interfaces = imported.difference(grants).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (plugin, imported) = (self.plugin.clone(), imported.clone());
        Err(Box::new(NotGranted { plugin, missing, imported }).into())
    }
}

/// A version of a stage, ready to make instances.
#[derive(Debug)]
pub struct Version {
    offer: Offer,
    manifest: Manifest,
    run: StageRun,
    conduct: Arc<Conduct>,
}

impl Version {
    /// Instantiates, reads the manifest, configures and tries the self-test batch, all aside.
    pub(super) async fn prove(offer: Offer) -> Result<Self, PluginError> {
        let aside = offer.aside.clone();
        aside.run(Self::try_out(offer)).await.ok_or(PluginError::Interrupted)?
    }

    async fn try_out(offer: Offer) -> Result<Self, PluginError> {
        offer.check_grants()?;
        let mut guest = Standing::start(&offer).await?;
        let manifest = guest.manifest(&offer).await?;
        guest.configure(&offer, manifest.reads).await?;
        let batch = self_test_batch();
        let output = guest.process(&batch).await.map_err(PluginError::SelfTest)?;
        let folded = fold(&batch, &output, output_limits(offer.policy.limits), Limits::default());
        folded.map_err(|error| {
            let (code, text) = (error.code(), error.to_string());
            PluginError::SelfTest(StageFailure { code, text })
        })?;
        let run = StageRun {
            stage: offer.stage.as_str().to_owned(),
            plugin: offer.plugin.as_str().to_owned(),
            version: manifest.version.clone(),
            digest: offer.artefact.digest.0,
        };
        Ok(Self { offer, manifest, run, conduct: Arc::default() })
    }

    /// What its artefact is known by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.offer.artefact.digest
    }

    /// A new instance, configured.
    ///
    /// # Errors
    ///
    /// It fails at its start, or refuses now what it accepted before.
    pub async fn start(&self) -> Result<Instance, StageFailure> {
        let start = Instance::start(&self.offer, self.manifest.reads, &self.conduct);
        start.await.map_err(|error: PluginError| match error {
            PluginError::Call { failure, .. } => failure,
            other => StageFailure {
                code: waypost_protocol::ErrorCode::PluginContract,
                text: other.to_string(),
            },
        })
    }

    /// What the plugin says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl StageVersion for Version {
    fn run(&self) -> &StageRun {
        &self.run
    }

    fn output_limits(&self) -> OutputLimits {
        output_limits(self.offer.policy.limits)
    }

    fn is_deterministic(&self) -> bool {
        self.manifest.deterministic
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn StageInstance>, StageFailure>> {
        Box::pin(async move { Ok(Box::new(self.start().await?) as Box<dyn StageInstance>) })
    }
}

fn output_limits(limits: SandboxLimits) -> OutputLimits {
    OutputLimits { max_emitted_per_message: limits.emitted_per_message }
}

/// Messages of the kinds that a plugin may meet: none of them may make it trap.
fn self_test_batch() -> Batch {
    let mut headers = HeadersBuilder::new();
    let mut builder = BatchBuilder::new();
    // Neither the header nor the messages break a limit; a batch that lacks one of them tests less.
    let _ = headers.push("wp-self-test", b"1");
    for (key, headers, payload) in [
        (None, &[][..], &b""[..]),
        (Some(&b"key"[..]), headers.as_bytes(), b"{\"self_test\":true}"),
        (Some(b""), &[], b"\xff\xfe not text"),
    ] {
        let _ = builder.push("self-test", key, headers, payload, 0);
    }
    match builder.finish() {
        Some(batch) => batch,
        None => unreachable!("three messages within every limit were pushed"),
    }
}
