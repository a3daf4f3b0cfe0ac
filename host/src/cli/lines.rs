//! Lines that become messages: how a file or standard input is read, and what a message has beside its
//! line.

use std::{fs::Metadata, path::Path};

use serde_json::{Number, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use super::values::{header, open, pointer};

/// A line longer than this makes no message, so that a file without newlines is not held whole.
const MAX_LINE_BYTES: usize = 2 << 20;

/// What a message has beside its line.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct MessageOptions {
    /// A JSON pointer into each line, whose text, truth value or number is the key. A line without it has none,
    /// nor has one whose number is too large to be exact.
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    key: Option<String>,
    /// A header of every message, as NAME=VALUE; may stand several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
}

impl MessageOptions {
    /// Whether lines are looked into for a key.
    pub(super) fn wants_key(&self) -> bool {
        self.key.is_some()
    }

    /// The key of a line, if it has one.
    pub(super) fn key_of(&self, line: &[u8]) -> Option<Vec<u8>> {
        let pointer = self.key.as_ref()?;
        let value: Value = serde_json::from_slice(line).ok()?;
        match value.pointer(pointer)? {
            Value::String(text) => Some(text.clone().into_bytes()),
            Value::Number(number) if is_exact(number) => Some(number.to_string().into_bytes()),
            Value::Bool(truth) => Some(truth.to_string().into_bytes()),
            Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The headers of every message, in order.
    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

/// Whether a number stands for itself alone: large ones that are no whole number of 64 bits have neighbours
/// that read the same.
fn is_exact(number: &Number) -> bool {
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || number.as_f64().is_some_and(|value| value.abs() < MAX_EXACT);
    number.is_u64() || number.is_i64() || float()
}

/// A line that is not empty, without its end.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Counted from one.
    pub(super) number: u64,
    pub(super) text: Result<&'a [u8], LineTooLong>,
}

/// A line is longer than a line may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has more than {MAX_LINE_BYTES} bytes")]
pub(super) struct LineTooLong;

/// The lines of an input, one after the other.
pub(super) struct Lines {
    input: Box<dyn AsyncBufRead + Unpin>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    size: Option<u64>,
}

impl Lines {
    /// Opens a file; `-` is standard input.
    pub(super) async fn open(file: &Path) -> anyhow::Result<Self> {
        let size = match file.as_os_str() == "-" {
            true => None,
            // What cannot be opened says so itself.
            false => tokio::fs::metadata(file).await.ok().filter(Metadata::is_file),
        };
        Ok(Self { size: size.map(|size| size.len()), ..Self::of(open(file).await?) })
    }

    fn of(input: Box<dyn AsyncBufRead + Unpin>) -> Self {
        Self { input, line: Vec::new(), number: 0, bytes: 0, size: None }
    }

    /// How many bytes the input has, as far as that is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// How many of them were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that is not empty.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Line<'_>>> {
        while self.read().await? {
            self.number += 1;
            if !self.line.is_empty() {
                let is_whole = self.line.len() <= MAX_LINE_BYTES;
                let text = if is_whole { Ok(self.line.as_slice()) } else { Err(LineTooLong) };
                return Ok(Some(Line { number: self.number, text }));
            }
        }
        Ok(None)
    }

    /// Reads a line without its end. Of one that is too long the beginning is kept: so much that it is over the
    /// limit even without a carriage return.
    async fn read(&mut self) -> std::io::Result<bool> {
        let Self { input, line, bytes, .. } = self;
        line.clear();
        loop {
            let buffer = input.fill_buf().await?;
            if buffer.is_empty() {
                return Ok(!line.is_empty());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(buffer, |end| buffer.get(..end).unwrap_or_default());
            let room = (MAX_LINE_BYTES + 2).saturating_sub(line.len());
            line.extend_from_slice(part.get(..room).unwrap_or(part));
            let taken = end.map_or(buffer.len(), |end| end + 1);
            input.consume(taken);
            *bytes += taken as u64;
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: String) -> Vec<(u64, Option<String>)> {
        let mut lines = Lines::of(Box::new(std::io::Cursor::new(input)));
        let mut found = Vec::new();
        while let Some(Line { number, text }) = lines.next().await.expect("it reads") {
            let text = text.ok().map(|text| String::from_utf8_lossy(text).into_owned());
            found.push((number, text));
        }
        found
    }

    #[tokio::test]
    async fn empty_lines_are_counted_and_left_out_and_ends_belong_to_no_line() {
        let found = all("a\r\n\n\r\nb\nc".to_owned()).await;
        assert_eq!(found, [(1, Some("a".into())), (4, Some("b".into())), (5, Some("c".into()))]);
    }

    #[tokio::test]
    async fn every_byte_that_is_read_is_counted_whatever_becomes_of_it() {
        let input = format!("a\r\n\n{}\nlast", "y".repeat(MAX_LINE_BYTES + 100_000));
        let size = input.len() as u64;
        let mut lines = Lines::of(Box::new(std::io::Cursor::new(input)));
        let mut last = 0;
        while lines.next().await.expect("it reads").is_some() {
            assert!(lines.bytes() > last, "it goes on");
            last = lines.bytes();
        }
        assert_eq!(last, size);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_told_and_the_next_one_is_whole() {
        let (largest, longer) = ("x".repeat(MAX_LINE_BYTES), "y".repeat(MAX_LINE_BYTES + 100_000));
        let found = all(format!("{largest}\r\n{longer}\n{largest}\ry\nnext")).await;
        assert_eq!(found, [(1, Some(largest)), (2, None), (3, None), (4, Some("next".into()))]);
    }

    #[test]
    fn a_key_is_text_or_what_reads_as_one_value_alone() {
        for (line, expected) in [
            (r#"{"k":"a"}"#, Some("a")),
            (r#"{"k":18446744073709551615}"#, Some("18446744073709551615")),
            (r#"{"k":-1.5}"#, Some("-1.5")),
            (r#"{"k":true}"#, Some("true")),
            (r#"{"k":18446744073709551616}"#, None),
            (r#"{"k":null}"#, None),
            (r#"{"k":[]}"#, None),
            ("{}", None),
            ("no JSON", None),
        ] {
            let options = MessageOptions { key: Some("/k".into()), headers: Vec::new() };
            let key = options.key_of(line.as_bytes());
            assert_eq!(key.as_deref(), expected.map(str::as_bytes), "{line}");
        }
    }
}
