//! The reference and the code name the same keys.

use super::*;
use crate::config::key::{Key, Kind};

pub(super) const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// Every key that the code asks for.
pub(super) fn keys() -> Vec<Key> {
    let document = Document::new("every_key.toml", EVERY_KEY.to_owned());
    let mut problems = Vec::new();
    let table = syntax::parse(&document, &mut problems).expect("it is TOML");
    let mut reader = Reader::new(Some((&document, &table)), Path::new(""), Given::default());
    reader.read(sections::read);
    reader.keys
}

/// The beginning of a key's row: what the code knows of it.
fn row(key: &Key) -> String {
    let Key { path, kind, default, range } = key;
    let overridden = path.strip_prefix("plugins.override.<plugin>.");
    let default = match overridden {
        Some("digest") => "none".to_owned(),
        Some("grants") => "as `plugins.grants`".to_owned(),
        Some(limit) => format!("as `plugins.limits.{limit}`"),
        None if path.starts_with("group.") && path != "group.name" => {
            format!("as `groups.{}`", path.trim_start_matches("group."))
        }
        None if path == "topic.block_max_ms" => "as `router.block_max_ms`".to_owned(),
        None if default.contains(' ') && *kind != Kind::List
            || ["none", "required"].contains(&&**default) =>
        {
            default.clone()
        }
        None => format!("`{default}`"),
    };
    let range = if range.is_empty() { "" } else { range };
    format!("| `{path}` | {kind} | {default} | {range} |").replace("|  |", "| |")
}

#[test]
fn every_key_stands_in_the_reference_as_it_is_in_the_code() {
    let missing: Vec<String> =
        keys().iter().map(row).filter(|row| !PAGE.contains(&**row)).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks\n{}", missing.join("\n"));
}

#[test]
fn the_reference_has_no_key_that_the_code_lacks() {
    let keys: BTreeSet<String> = keys().into_iter().map(|key| key.path).collect();
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(key, _)| key.to_owned()).collect();
    assert_eq!(documented, keys);
}

#[test]
fn the_examples_of_the_reference_load() {
    let examples: Vec<&str> = PAGE
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(example, _)| example))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        let warnings = loaded(example).warnings;
        assert!(warnings.is_empty(), "{example}\n{warnings:?}");
    }
}
