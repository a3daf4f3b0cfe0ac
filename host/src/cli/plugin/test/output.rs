//! What became of a message, and how that is printed.

use std::io::{self, Write};

use serde_json::{Value, json};
use waypost_core::{EmittedMessage, Failed, Verdict};
use waypost_protocol::{ErrorCode, MessageView};

use super::{batches::Input, trial::Fate};
use crate::{
    cli::{
        output::Format,
        shown::{Colours, Shown, printable},
    },
    router::stage::StageFailure,
};

/// What became of a message.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    line: u64,
    pub(super) outcome: Outcome<'a>,
}

/// What the plugin said of a message, or that it failed on it.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    /// A verdict.
    Verdict {
        verdict: &'a Verdict,
        /// What replaces the message.
        emitted: Vec<Shown<'a>>,
        /// Why some of that goes nowhere.
        error: Option<&'a str>,
        /// A message with its key is to be tried again before it, so that it is handed over once more.
        waits: bool,
    },
    /// No answer.
    Failure {
        failure: &'a StageFailure,
        /// Another call may go well, because the plugin is not deterministic.
        is_tried_again: bool,
    },
}

impl<'a> Entry<'a> {
    /// What became of some messages of a batch, in order.
    pub(super) fn of(input: &Input, fate: &'a Fate, is_tried_again: bool) -> Vec<Self> {
        let line = |index: usize| input.lines.get(index).copied().unwrap_or_default();
        let (range, part, output, folded) = match fate {
            Fate::Guilty { index, failure } => {
                let outcome = Outcome::Failure { failure, is_tried_again };
                return vec![Self { line: line(*index), outcome }];
            }
            Fate::Answer { range, part, output, folded } => (range, part, output, folded),
        };
        let mut position = 0;
        let mut entries = Vec::with_capacity(range.len());
        for (index, (source, verdict)) in (0_u32..).zip(part.iter().zip(&output.verdicts)) {
            let count = if let Verdict::Emit(count) = verdict { *count as usize } else { 0 };
            let messages = (position..position + count)
                .filter_map(|each| output.emitted.as_ref()?.message(source, each).ok());
            let emitted = messages.map(|message| shown(source, message)).collect();
            position += count;
            let is_this = |failed: &&Failed| {
                failed.index == index && failed.code == ErrorCode::BadDestination
            };
            let error = folded.failed.iter().find(is_this).map(|failed| failed.error.as_str());
            let waits = folded.following.binary_search(&index).is_ok();
            let outcome = Outcome::Verdict { verdict, emitted, error, waits };
            entries.push(Self { line: line(range.start + index as usize), outcome });
        }
        entries
    }

    /// Prints it.
    pub(super) fn write(
        &self,
        out: &mut impl Write,
        format: Format,
        colours: Colours,
    ) -> io::Result<()> {
        match format {
            Format::Json => writeln!(out, "{}", self.json()),
            Format::Pretty => self.pretty(out, colours),
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut object = match &self.outcome {
            Outcome::Verdict { verdict, emitted, error, waits } => {
                let mut object = match verdict {
                    Verdict::Forward => json!({ "verdict": "forward" }),
                    Verdict::Drop => json!({ "verdict": "drop" }),
                    Verdict::Emit(_) => {
                        let messages = emitted.iter().map(|each| Value::Object(each.object()));
                        json!({ "verdict": "emit", "messages": messages.collect::<Vec<_>>() })
                    }
                    Verdict::Retry(after_ms) => json!({ "verdict": "retry", "after_ms": after_ms }),
                    Verdict::Reject(reason) => json!({ "verdict": "reject", "reason": reason }),
                };
                if let Some(error) = error {
                    object["error"] = json!(error);
                }
                if *waits {
                    object["waits"] = json!(true);
                }
                object
            }
            Outcome::Failure { failure: StageFailure { code, text }, is_tried_again } => json!({
                "verdict": "fail",
                "code": code.name(),
                "error": text,
                "retried": is_tried_again,
            }),
        };
        object["line"] = json!(self.line);
        object
    }

    fn pretty(&self, out: &mut impl Write, colours: Colours) -> io::Result<()> {
        write!(out, "line {}: ", self.line)?;
        match &self.outcome {
            Outcome::Verdict { verdict, emitted, error, waits } => {
                match verdict {
                    Verdict::Forward => write!(out, "forward"),
                    Verdict::Drop => write!(out, "drop"),
                    Verdict::Emit(count) => write!(out, "emit {count}"),
                    Verdict::Retry(after_ms) => write!(out, "retry after {after_ms} ms"),
                    Verdict::Reject(reason) => {
                        write!(out, "reject: {}", printable(reason.as_bytes()))
                    }
                }?;
                let waits =
                    if *waits { ", when the one before it with its key has gone on" } else { "" };
                writeln!(out, "{waits}")?;
                emitted.iter().try_for_each(|each| each.pretty(out, colours, "  "))?;
                error
                    .iter()
                    .try_for_each(|error| writeln!(out, "  {}", printable(error.as_bytes())))
            }
            Outcome::Failure { failure: StageFailure { code, text }, is_tried_again } => {
                let then = if *is_tried_again { "to be tried again" } else { "a dead letter" };
                writeln!(out, "fail, {then}: {code}: {}", printable(text.as_bytes()))
            }
        }
    }
}

/// An emitted message; the topic that the plugin gave it may be none.
fn shown<'a>(source: MessageView<'a>, message: EmittedMessage<'a>) -> Shown<'a> {
    let EmittedMessage { new_topic, key, headers, payload } = message;
    let topic = new_topic.map_or(source.topic(), |topic| {
        std::str::from_utf8(topic).unwrap_or("(a topic that is not text)")
    });
    Shown { topic, key, headers, payload }
}

#[cfg(test)]
mod tests {
    use waypost_core::{Change, ChangeColumn, Emitted, OutputLimits, StageOutput, fold};
    use waypost_protocol::{BatchBuilder, Limits};

    use super::*;

    const NO_TOPIC: &str = "the plugin gave the topic $x, which belongs to the router";

    fn input() -> Input {
        let mut builder = BatchBuilder::new();
        for _ in 0..5 {
            builder.push("in", Some(b"k"), &[], b"old", 0).expect("it fits");
        }
        let batch = builder.finish().expect("five messages");
        Input { batch, lines: vec![1, 2, 4, 5, 9] }
    }

    fn printed(fate: &Fate, format: Format) -> String {
        let mut out = Vec::new();
        for entry in Entry::of(&input(), fate, false) {
            entry.write(&mut out, format, Colours::default()).expect("a vector takes all");
        }
        String::from_utf8(out).expect("text")
    }

    fn every_verdict() -> Fate {
        let emitted = Emitted {
            sources: vec![2, 2],
            topics: Some(ChangeColumn {
                changes: vec![Change::Set, Change::Inherit],
                ends: vec![0, 2, 2],
                bytes: b"$x".to_vec(),
            }),
            keys: Some(ChangeColumn {
                changes: vec![Change::Inherit, Change::Clear],
                ends: vec![0, 0, 0],
                bytes: Vec::new(),
            }),
            headers: None,
            payloads: Some(ChangeColumn {
                changes: vec![Change::Set, Change::Set],
                ends: vec![0, 3, 4],
                bytes: b"new\xff".to_vec(),
            }),
        };
        let verdicts = vec![
            Verdict::Forward,
            Verdict::Drop,
            Verdict::Emit(2),
            Verdict::Retry(250),
            Verdict::Reject("no \x1b[1mgood".to_owned()),
        ];
        let output = StageOutput { verdicts, emitted: Some(emitted) };
        let (part, allowed) = (input().batch, OutputLimits { max_emitted_per_message: 2 });
        let folded =
            fold(&part, &output, allowed, Limits::default()).expect("it keeps the contract");
        Fate::Answer { range: 0..5, part, output: Box::new(output), folded }
    }

    #[test]
    fn every_verdict_is_one_json_object_with_its_line() {
        let expected = [
            json!({ "line": 1, "verdict": "forward" }),
            json!({ "line": 2, "verdict": "drop" }),
            json!({ "line": 4, "verdict": "emit", "error": NO_TOPIC, "messages": [
                { "topic": "$x", "key": "k", "headers": [], "payload": "new" },
                { "topic": "in", "headers": [], "payload_hex": "ff" },
            ] }),
            json!({ "line": 5, "verdict": "retry", "after_ms": 250 }),
            json!({ "line": 9, "verdict": "reject", "reason": "no \u{1b}[1mgood", "waits": true }),
        ];
        let printed = printed(&every_verdict(), Format::Json);
        let objects: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
        assert_eq!(objects, expected);
    }

    #[test]
    fn people_read_verdicts_that_steer_no_terminal() {
        let expected = format!(
            "line 1: forward\nline 2: drop\nline 4: emit 2\n  $x key k\n    new\n  in\n    \u{fffd}\n  \
             {NO_TOPIC}\nline 5: retry after 250 ms\nline 9: reject: no \u{fffd}[1mgood, when the one \
             before it with its key has gone on\n"
        );
        assert_eq!(printed(&every_verdict(), Format::Pretty), expected);
    }

    #[test]
    fn a_failure_names_its_line_what_follows_and_the_backtrace() {
        let text = "no good\nunreachable\n0: f\u{1b}".to_owned();
        let failure = StageFailure { code: ErrorCode::PluginTrap, text: text.clone() };
        let fate = Fate::Guilty { index: 2, failure };
        let json: Value = serde_json::from_str(&printed(&fate, Format::Json)).expect("an object");
        let expected = json!({
            "line": 4, "verdict": "fail", "code": "PLUGIN_TRAP", "error": text, "retried": false,
        });
        assert_eq!(json, expected);
        let pretty = printed(&fate, Format::Pretty);
        assert!(pretty.starts_with("line 4: fail, a dead letter: "), "{pretty}");
        assert!(pretty.ends_with("no good\nunreachable\n0: f\u{fffd}\n"), "{pretty}");
    }
}
