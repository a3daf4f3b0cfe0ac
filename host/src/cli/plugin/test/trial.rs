//! A version is called as a lane calls it: the messages that it fails on are found, and the others pass.
//!
//! The decisions are those of the core. Only time is another: where a router waits for a breaker, nobody
//! waits here, and it is counted how long that would have been.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use waypost_core::{Admission, Breaker, BreakerPolicy, Folded, Isolation, StageOutput, fold};
use waypost_protocol::{Batch, Limits};

use crate::{
    router::stage::{StageFailure, StageInstance as _, StageVersion as _},
    wasm::{Instance, Version},
};

/// What became of some messages of a batch.
#[derive(Debug)]
pub(super) enum Fate {
    /// The plugin's answer for a part of the batch, which keeps the contract.
    Answer {
        /// Where in the batch the part is.
        range: Range<usize>,
        part: Batch,
        output: Box<StageOutput>,
        folded: Folded,
    },
    /// The plugin fails on this message, and on it alone.
    Guilty { index: usize, failure: StageFailure },
}

/// What a trial took.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) calls: u64,
    /// How many of them failed.
    pub(super) failed_calls: u64,
    /// The time in calls.
    pub(super) time: Duration,
    /// The most linear memory that an instance had, in bytes.
    pub(super) peak_memory: usize,
    /// How often a router's breaker would have opened.
    pub(super) breaker_opened: u64,
    /// How long messages would have waited for it, in milliseconds.
    pub(super) breaker_ms: u64,
}

/// A version under trial, with the instance that lives until it fails.
pub(super) struct Trial<'a> {
    version: &'a Version,
    instance: Option<Instance>,
    breaker: Breaker,
    pub(super) spent: Spent,
}

/// Why nothing came of a call.
enum CallFailure {
    /// There is no instance.
    Start(StageFailure),
    /// The instance failed on the messages.
    Process(StageFailure),
}

impl<'a> Trial<'a> {
    pub(super) fn new(version: &'a Version) -> Self {
        let breaker = Breaker::new(BreakerPolicy::default());
        Self { version, instance: None, breaker, spent: Spent::default() }
    }

    /// Whether a message that the plugin fails on would be tried again.
    pub(super) fn is_tried_again(&self) -> bool {
        !self.version.is_deterministic()
    }

    /// Calls the version with a batch until the fate of each message is known, and tells that part by part,
    /// in order.
    pub(super) async fn run(
        &mut self,
        batch: &Batch,
        mut tell: impl FnMut(Fate) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rest = Some(Isolation::new(batch.len(), BreakerPolicy::default().failed_calls));
        let mut is_admitted = false;
        while let Some(isolation) = rest {
            if !is_admitted {
                self.pass_breaker();
                is_admitted = true;
            }
            let range = isolation.part();
            let Some(part) = batch.part(range.clone()) else {
                break;
            };
            match self.call(&part).await {
                Ok((output, folded)) => {
                    self.breaker.succeeded();
                    let output = Box::new(output);
                    tell(Fate::Answer { range, part, output, folded })?;
                    rest = isolation.succeeded();
                }
                Err(CallFailure::Start(failure)) => {
                    return Err(anyhow!("the plugin started before, and does not now: {failure}"));
                }
                Err(CallFailure::Process(failure)) => {
                    self.spent.failed_calls += 1;
                    let (after, parts) = isolation.failed();
                    let mut opened = false;
                    if let Some((index, _)) = after.guilty {
                        tell(Fate::Guilty { index, failure })?;
                        opened = self.breaker.failed(self.spent.breaker_ms);
                    }
                    if after.is_exhausted {
                        opened |= self.breaker.trip(self.spent.breaker_ms);
                    }
                    self.spent.breaker_opened += u64::from(opened);
                    is_admitted = !(opened || after.is_exhausted);
                    rest = parts;
                }
            }
        }
        Ok(())
    }

    /// Lets the time pass that a router would wait. The breaker knows no other time.
    fn pass_breaker(&mut self) {
        while let Admission::WaitUntil(ms) = self.breaker.admit(self.spent.breaker_ms) {
            self.spent.breaker_ms = ms;
        }
    }

    async fn call(&mut self, batch: &Batch) -> Result<(StageOutput, Folded), CallFailure> {
        // Whatever an instance is after a failure, no other batch meets it.
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.version.start().await.map_err(CallFailure::Start)?,
        };
        let started = Instant::now();
        let output = instance.process(batch).await;
        self.spent.time += started.elapsed();
        self.spent.calls += 1;
        self.spent.peak_memory = self.spent.peak_memory.max(instance.memory_bytes());
        let output = output.map_err(CallFailure::Process)?;
        let folded = fold(batch, &output, self.version.output_limits(), Limits::default());
        let folded = folded.map_err(|error| {
            CallFailure::Process(StageFailure { code: error.code(), text: error.to_string() })
        })?;
        self.instance = Some(instance);
        Ok((output, folded))
    }
}

#[cfg(test)]
mod tests {
    use waypost_artefacts::Guest;
    use waypost_core::{PluginName, StageName};
    use waypost_protocol::{BatchBuilder, ErrorCode};

    use super::*;
    use crate::{
        cli::plugin::sandbox,
        wasm::{PluginPolicy, Sandbox},
    };

    /// A guest that answers a batch so.
    async fn version(sandbox: &Sandbox, body: &str) -> Version {
        let policy = PluginPolicy::default();
        let artefact = sandbox.compile(&Guest::process(body).artefact(), policy.limits);
        let artefact = artefact.expect("it compiles");
        let plugin = PluginName::parse("guest").expect("a name");
        let stage = StageName::parse("test").expect("a name");
        let version = sandbox.prepare(&artefact, &plugin, &stage, "{}", &policy).await;
        version.expect("it passes its self-test")
    }

    fn batch(messages: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..messages {
            builder.push("in", None, &[], b"", 0).expect("it fits");
        }
        builder.finish().expect("there are messages")
    }

    /// The fates of all messages: the index, and what it failed with.
    async fn fates(trial: &mut Trial<'_>, messages: usize) -> Vec<(usize, Option<ErrorCode>)> {
        let mut fates = Vec::new();
        let tell = |fate| {
            match fate {
                Fate::Answer { range, part, output, .. } => {
                    assert_eq!((part.len(), output.verdicts.len()), (range.len(), range.len()));
                    fates.extend(range.map(|index| (index, None)));
                }
                Fate::Guilty { index, failure } => fates.push((index, Some(failure.code))),
            }
            Ok(())
        };
        trial.run(&batch(messages), tell).await.expect("it starts");
        fates
    }

    #[tokio::test]
    async fn a_batch_that_passes_is_one_call_and_one_that_fails_is_called_in_parts() {
        let sandbox = sandbox().expect("the engine starts");
        let body = "(if (i32.eq (local.get $count) (i32.const 4)) (then (unreachable)))
                    (call $answer (local.get $count))";
        let version = version(&sandbox, body).await;
        let mut trial = Trial::new(&version);
        for (messages, calls, failed_calls) in [(3, 1, 0), (4, 5, 2), (5, 6, 2)] {
            let expected: Vec<_> = (0..messages).map(|index| (index, None)).collect();
            assert_eq!(fates(&mut trial, messages).await, expected);
            assert_eq!((trial.spent.calls, trial.spent.failed_calls), (calls, failed_calls));
        }
        assert_eq!(trial.spent.breaker_opened, 0);
        assert!(trial.spent.peak_memory >= 65_536, "a guest has a page");
    }

    #[tokio::test]
    async fn a_plugin_that_fails_on_everything_opens_the_breaker_and_nobody_waits() {
        let sandbox = sandbox().expect("the engine starts");
        let body = "(if (i32.ne (local.get $count) (i32.const 3)) (then (unreachable)))
                    (call $answer (local.get $count))";
        let version = version(&sandbox, body).await;
        let mut trial = Trial::new(&version);
        let failed = |index| (index, Some(ErrorCode::PluginTrap));
        assert_eq!(fates(&mut trial, 8).await, (0..8).map(failed).collect::<Vec<_>>());
        assert!(trial.spent.breaker_opened > 1);
        assert!(trial.spent.breaker_ms >= u64::from(BreakerPolicy::default().open_ms));
    }
}
