//! The sums of a test.

use anyhow::anyhow;
use serde_json::{Value, json};
use waypost_core::Verdict;

use super::{output::Outcome, trial::Spent};
use crate::{
    cli::{
        Failure,
        output::{counted, span},
    },
    wasm::Version,
};

/// How many messages had which verdict.
#[derive(Debug, Default)]
pub(super) struct Tally {
    forward: u64,
    drop: u64,
    emit: u64,
    /// Messages that replace those with the verdict emit.
    emitted: u64,
    retry: u64,
    reject: u64,
    /// Messages that the plugin failed on.
    failed: u64,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: &Outcome<'_>) {
        match outcome {
            Outcome::Verdict { verdict, .. } => match verdict {
                Verdict::Forward => self.forward += 1,
                Verdict::Drop => self.drop += 1,
                Verdict::Emit(count) => {
                    self.emit += 1;
                    self.emitted += u64::from(*count);
                }
                Verdict::Retry(_) => self.retry += 1,
                Verdict::Reject(_) => self.reject += 1,
            },
            Outcome::Failure { .. } => self.failed += 1,
        }
    }

    fn messages(&self) -> u64 {
        self.forward + self.drop + self.emit + self.retry + self.reject + self.failed
    }

    /// Nanoseconds in calls for each message.
    fn mean(&self, spent: &Spent) -> Option<u64> {
        let mean = spent.time.as_nanos().checked_div(self.messages().into())?;
        u64::try_from(mean).ok()
    }

    /// The summary as an object under its name, which no verdict has.
    pub(super) fn json(&self, version: &Version, spent: &Spent) -> Value {
        let manifest = version.manifest();
        json!({ "summary": {
            "plugin": manifest.name,
            "version": manifest.version,
            "role": manifest.role,
            "digest": version.digest().to_string(),
            "messages": self.messages(),
            "forward": self.forward,
            "drop": self.drop,
            "emit": self.emit,
            "emitted": self.emitted,
            "retry": self.retry,
            "reject": self.reject,
            "failed": self.failed,
            "calls": spent.calls,
            "failed_calls": spent.failed_calls,
            "breaker_opened": spent.breaker_opened,
            "breaker_ms": spent.breaker_ms,
            "mean_nanoseconds": self.mean(spent),
            "peak_memory_bytes": spent.peak_memory,
        }})
    }

    /// The summary for people.
    pub(super) fn text(&self, spent: &Spent) -> String {
        let mut text = counted(self.messages(), "message");
        for (count, what) in [
            (self.forward, "forwarded".to_owned()),
            (self.drop, "dropped".to_owned()),
            (self.emit, format!("replaced by {}", self.emitted)),
            (self.retry, "to be retried".to_owned()),
            (self.reject, "rejected".to_owned()),
            (self.failed, "failed on".to_owned()),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text.push_str(&format!("; {}", counted(spent.calls, "call")));
        if spent.failed_calls > 0 {
            text.push_str(&format!(", {} of which failed", spent.failed_calls));
        }
        if let Some(mean) = self.mean(spent) {
            text.push_str(&format!(", {} a message", span(mean as f64)));
        }
        let kibibytes = spent.peak_memory.div_ceil(1024);
        text.push_str(&format!(", at most {kibibytes} KiB of guest memory\n"));
        if spent.breaker_opened > 0 {
            let (times, ms) = (counted(spent.breaker_opened, "time"), spent.breaker_ms);
            text.push_str(&format!(
                "a router's breaker would open {times} and hold messages for {ms} ms in all\n"
            ));
        }
        text
    }

    /// A failure when the plugin failed on a message: it must answer whatever it is handed.
    pub(super) fn result(&self) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            failed => {
                let messages = counted(self.messages(), "message");
                Err(anyhow!("the plugin failed on {failed} of {messages}").into())
            }
        }
    }
}
