//! The configuration as it holds: every value with where it came from, written as TOML.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::json;
use toml::Value;

use super::problem::Place;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// A key that contains one of these, its separators aside, holds a secret.
const SECRET_WORDS: [&str; 8] = [
    "accesskey",
    "apikey",
    "credential",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "token",
];

/// All values that hold, in the order of the reference.
#[derive(Debug, Clone, Default)]
pub(super) struct Effective(Vec<Line>);

#[derive(Debug, Clone)]
enum Line {
    Heading { heading: String, path: String },
    Entry { key: &'static str, value: Value, place: Place },
}

impl Effective {
    /// The heading of a section, and its path, in which each section of an array has its number.
    pub(super) fn heading(&mut self, heading: String, path: String) {
        self.0.push(Line::Heading { heading, path });
    }

    pub(super) fn entry(&mut self, key: &'static str, value: Value, place: Place) {
        self.0.push(Line::Entry { key, value, place });
    }

    /// The values of each key by its path, in which an array of sections stands for all of them.
    pub(super) fn values(&self) -> BTreeMap<String, Vec<&Value>> {
        let mut values: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        let mut section = "";
        for line in &self.0 {
            match line {
                Line::Heading { heading, .. } => section = heading.trim_matches(['[', ']']),
                Line::Entry { key, value, .. } => {
                    values.entry(format!("{section}.{key}")).or_default().push(value);
                }
            }
        }
        values
    }

    /// TOML that gives the same settings again, secrets aside. Each line ends with where its value
    /// came from. A heading without a line below it is left out.
    pub(super) fn to_toml(&self, shown: impl Fn(&Place) -> bool) -> String {
        let mut text = String::new();
        let mut pending = None;
        for line in &self.0 {
            match line {
                Line::Heading { heading, .. } => pending = Some(heading),
                Line::Entry { key, value, place } if shown(place) => {
                    if let Some(heading) = pending.take() {
                        let gap = if text.is_empty() { "" } else { "\n" };
                        // A string takes any text.
                        let _ = writeln!(text, "{gap}{heading}");
                    }
                    let _ = writeln!(text, "{key} = {} # {}", redacted(value), comment(place));
                }
                Line::Entry { .. } => {}
            }
        }
        text
    }

    /// An object a value: its key, what it is, and where it came from. Secrets are redacted.
    pub(super) fn to_json(&self, shown: impl Fn(&Place) -> bool) -> Vec<serde_json::Value> {
        let (mut objects, mut section) = (Vec::new(), "");
        for line in &self.0 {
            match line {
                Line::Heading { path, .. } => section = path,
                Line::Entry { key, value, place } if shown(place) => objects.push(json!({
                    "key": format!("{section}.{key}"),
                    "value": as_json(&redacted(value)),
                    "place": place,
                })),
                Line::Entry { .. } => {}
            }
        }
        objects
    }
}

/// A value as JSON; a date becomes text, as it does in what plugins are handed.
fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Datetime(datetime) => json!(datetime.to_string()),
        Value::Array(values) => values.iter().map(as_json).collect(),
        Value::Table(table) => {
            table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect()
        }
        Value::String(text) => json!(text),
        Value::Integer(integer) => json!(integer),
        Value::Float(float) => json!(float),
        Value::Boolean(boolean) => json!(boolean),
    }
}

/// A file's name may hold what would end the comment.
fn comment(place: &Place) -> String {
    place.to_string().replace(char::is_control, "?")
}

fn redacted(value: &Value) -> Value {
    match value {
        Value::Table(table) => {
            let entry = |(key, value): (&String, &Value)| {
                let value = if is_secret(key) { REDACTED.into() } else { redacted(value) };
                (key.clone(), value)
            };
            Value::Table(table.iter().map(entry).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(redacted).collect()),
        other => other.clone(),
    }
}

fn is_secret(key: &str) -> bool {
    let letters: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| letters.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_keys_however_these_are_written() {
        for key in ["token", "API-Key", "db_password", "clientSecret", "private_key"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["key", "field", "minimum", "keep"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn a_secret_is_redacted_however_deep_it_stands() {
        let value: toml::Table =
            toml::from_str("a = [{ token = { x = 1 }, b = 2 }]\nsecret = 3").expect("it is TOML");
        let text = redacted(&Value::Table(value)).to_string();
        assert_eq!(text, r#"{ a = [{ b = 2, token = "[redacted]" }], secret = "[redacted]" }"#);
    }
}
