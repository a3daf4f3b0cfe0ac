//! What a lane needs of a plugin: versions of a stage, and instances of a version.
//!
//! A [`StageVersion`] is a compiled artefact with a stage's configuration. A lane makes an instance of
//! it, hands it batches one after the other, and drops it after the first failure.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use waypost_core::{Counts, OutputLimits, StageName, StageOutput};
use waypost_protocol::{Batch, ErrorCode, StageRun};

/// A compiled and configured plugin.
pub trait StageVersion: Debug + Send + Sync {
    /// How the envelope names this version.
    fn run(&self) -> &StageRun;

    /// How much its answers may hold.
    fn output_limits(&self) -> OutputLimits;

    /// Whether the same batch always gets the same answer, so that another try would be in vain.
    fn is_deterministic(&self) -> bool;

    /// A new instance, configured.
    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn StageInstance>, StageFailure>>;
}

/// An instance of a version; it belongs to one lane.
pub trait StageInstance: Send {
    /// One call for a whole batch. After a failure the instance is to be dropped; what the call did beside its
    /// answer, such as counting, is done when it is [committed](Self::commit).
    fn process<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<StageOutput, StageFailure>>;

    /// The answer of the last call was found good.
    fn commit(&mut self);

    /// Bytes of memory that it has.
    fn memory_bytes(&self) -> usize;
}

/// A call that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct StageFailure {
    /// Which kind of failure.
    pub code: ErrorCode,
    /// What happened, with the guest's backtrace where there is one.
    pub text: String,
}

/// A stage of a route as it runs at this moment.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name in the route.
    pub name: StageName,
    /// The version that processes batches from now on.
    pub version: Arc<dyn StageVersion>,
    /// What this version did in the stage, whenever its batches end: those that were under way when another was swapped
    /// in count for the one that ran them.
    pub tally: Arc<Tally>,
}

impl Stage {
    /// A stage whose version has done nothing so far.
    #[must_use]
    pub fn new(name: StageName, version: Arc<dyn StageVersion>) -> Self {
        Self { name, version, tally: Arc::default() }
    }
}

/// Counts the messages that came to one version of a stage.
#[derive(Debug, Default)]
pub struct Tally {
    verdicts: AtomicU64,
    failures: AtomicU64,
}

impl Tally {
    /// So many messages got a verdict.
    pub fn decided(&self, messages: u64) {
        self.verdicts.fetch_add(messages, Ordering::Relaxed);
    }

    /// A message was found that the version fails on, or it did not start.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            verdicts: self.verdicts.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// Whether the same versions run in the same stages.
pub(super) fn is_same(one: &[Stage], other: &[Stage]) -> bool {
    let is_same = |(one, other): (&Stage, &Stage)| {
        one.name == other.name && Arc::ptr_eq(&one.version, &other.version)
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}
