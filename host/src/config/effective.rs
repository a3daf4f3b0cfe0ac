//! The configuration as it holds: every value with where it came from, written as TOML.

use std::{collections::BTreeMap, fmt::Write as _};

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
    Heading(String),
    Entry { key: &'static str, value: Value, place: Place },
}

impl Effective {
    pub(super) fn heading(&mut self, heading: String) {
        self.0.push(Line::Heading(heading));
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
                Line::Heading(heading) => section = heading.trim_matches(['[', ']']),
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
                Line::Heading(heading) => pending = Some(heading),
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
