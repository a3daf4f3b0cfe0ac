//! How the parts of a message are shown: as JSON, or for people.

use std::io::{self, IsTerminal as _, Write};

use serde_json::{Map, Value, json};
use waypost_protocol::Headers;

/// What every message has, wherever it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
    pub(super) payload: &'a [u8],
}

/// How text stands out on a terminal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Colours {
    pub(super) bold: &'static str,
    pub(super) dim: &'static str,
    pub(super) plain: &'static str,
}

impl Colours {
    /// Those of standard output: none where it is no terminal, or where `NO_COLOR` says so.
    pub(super) fn of_stdout() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !no_colour {
            Self { bold: "\x1b[1;36m", dim: "\x1b[2m", plain: "\x1b[0m" }
        } else {
            Self::default()
        }
    }
}

impl Shown<'_> {
    /// As a JSON object with topic, key, headers and payload.
    pub(super) fn object(&self) -> Map<String, Value> {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| {
                let mut header = Map::from_iter([("name".to_owned(), json!(name))]);
                insert(&mut header, "value", value);
                Value::Object(header)
            })
            .collect();
        let mut object = Map::from_iter([("topic".to_owned(), json!(self.topic))]);
        if let Some(key) = self.key {
            insert(&mut object, "key", key);
        }
        object.insert("headers".to_owned(), Value::Array(headers));
        insert(&mut object, "payload", self.payload);
        object
    }

    /// For people, each line behind this indent.
    pub(super) fn pretty(
        &self,
        out: &mut impl Write,
        Colours { bold, dim, plain }: Colours,
        indent: &str,
    ) -> io::Result<()> {
        write!(out, "{indent}{bold}{}{plain}", printable(self.topic.as_bytes()))?;
        if let Some(key) = self.key {
            write!(out, " {dim}key{plain} {}", printable(key))?;
        }
        writeln!(out)?;
        for (name, value) in self.headers.iter() {
            writeln!(out, "{indent}  {dim}{name}:{plain} {}", printable(value))?;
        }
        writeln!(out, "{indent}  {}", printable(self.payload))
    }
}

/// Text with what would steer a terminal replaced.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let safe = |character: char| match character {
        '\n' | '\t' => character,
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    text.chars().map(safe).collect()
}

/// Text under its name; other bytes in hexadecimal under the name with `_hex`.
fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), json!(hex))
        }
    };
}
