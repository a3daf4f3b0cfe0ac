//! What the environment and the flags say: texts by dotted key, the flags over the environment.

use std::collections::BTreeMap;

use config::{ConfigError, Environment, Map, Source as _};

use super::problem::{Place, Problem};

/// What the name of every variable that sets a key begins with.
pub(super) const PREFIX: &str = "WAYPOST__";
/// What the name of a variable begins with that was perhaps meant to set one.
pub(super) const NEARLY: &str = "WAYPOST_";

/// Values that stand over the file's.
#[derive(Debug, Default)]
pub(super) struct Given {
    entries: BTreeMap<String, Entry>,
    /// Variables that set nothing.
    others: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    text: String,
    place: Place,
    used: bool,
}

impl Given {
    /// Takes the variables, then the flags.
    pub(super) fn new(
        environment: &[(String, String)],
        overrides: &[(String, String)],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut given = Self::default();
        let mut variables = Map::new();
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                given.others.push(name.clone());
                continue;
            };
            if rest.chars().any(char::is_lowercase) {
                // Two spellings of one key would leave open which of them holds.
                let hint = format!("write {PREFIX}{} in capitals", rest.to_uppercase());
                let place = Place::Variable(name.clone());
                problems.push(Problem::error(place, "the name has small letters", hint));
                continue;
            }
            variables.insert(name.clone(), text.clone());
        }
        for (key, text) in dotted(variables, problems) {
            let key = with_plugin_name(&key);
            let place = Place::Variable(variable_of(&key));
            given.insert(key, &text, place);
        }
        for (key, text) in overrides {
            given.insert(key.clone(), text, Place::Flag(key.clone()));
        }
        given
    }

    fn insert(&mut self, key: String, text: &str, place: Place) {
        self.entries.insert(key, Entry { text: text.to_owned(), place, used: false });
    }

    /// What is given for a key; it counts as known from then on.
    pub(super) fn take(&mut self, key: &str) -> Option<(String, Place)> {
        let entry = self.entries.get_mut(key)?;
        entry.used = true;
        Some((entry.text.clone(), entry.place.clone()))
    }

    /// The names that stand right under a key, with the place of the first that says so.
    pub(super) fn names_under(&self, key: &str) -> Vec<(String, Place)> {
        let prefix = format!("{key}.");
        let mut names: Vec<(String, Place)> = Vec::new();
        for (path, entry) in &self.entries {
            let Some((name, _)) = path.strip_prefix(&prefix).and_then(|rest| rest.split_once('.'))
            else {
                continue;
            };
            if names.last().is_none_or(|(last, _)| last != name) {
                names.push((name.to_owned(), entry.place.clone()));
            }
        }
        names
    }

    /// The variables that are meant to set one of these keys, as far as their names have it, and set nothing; with what
    /// each should be called.
    pub(super) fn misspelt<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Vec<(Place, String)> {
        let flat = |name: &str| name.to_uppercase().replace("__", "_");
        let meant: BTreeMap<String, String> =
            keys.map(variable_of).map(|variable| (flat(&variable), variable)).collect();
        let others = self.others.iter();
        let found = others.filter_map(|name| Some((name, meant.get(&flat(name))?)));
        found.map(|(name, meant)| (Place::Variable(name.clone()), meant.clone())).collect()
    }

    /// What nobody asked for.
    pub(super) fn unused(&self) -> Vec<(String, Place)> {
        let unused = self.entries.iter().filter(|(_, entry)| !entry.used);
        unused.map(|(key, entry)| (key.clone(), entry.place.clone())).collect()
    }
}

/// The dotted keys that these variables set. Their values stay text: what a text means is decided where
/// the key is read, which is where it can be said what was expected.
fn dotted(variables: Map<String, String>, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let environment = Environment::with_prefix("WAYPOST")
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    let collected = environment.collect().and_then(|values| {
        values.into_iter().map(|(key, value)| Ok((key, value.into_string()?))).collect()
    });
    collected.unwrap_or_else(|error: ConfigError| {
        let place = Place::Variable(format!("{PREFIX}*"));
        problems.push(Problem::error(place, error.to_string(), "check the variables' names"));
        BTreeMap::new()
    })
}

/// A key with the name of a plugin as plugins are named: it has hyphens, which a variable's name cannot
/// have, and never an underscore.
fn with_plugin_name(key: &str) -> String {
    let mut segments: Vec<String> = key.split('.').map(str::to_owned).collect();
    if let [first, second, plugin, ..] = segments.as_mut_slice()
        && first == "plugins"
        && second == "override"
    {
        *plugin = plugin.replace('_', "-");
    }
    segments.join(".")
}

/// The variable that sets a dotted key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variables_name_is_the_key_in_capitals_with_double_underscores() {
        for (rest, key) in [
            ("LISTEN__MAX_STREAMS", "listen.max_streams"),
            (
                "PLUGINS__OVERRIDE__FILTER_JSON__DEADLINE_MS",
                "plugins.override.filter-json.deadline_ms",
            ),
        ] {
            assert_eq!(variable_of(key), format!("{PREFIX}{rest}"));
            let environment = [(format!("{PREFIX}{rest}"), "1".to_owned())];
            let mut given = Given::new(&environment, &[], &mut Vec::new());
            assert!(matches!(given.take(key), Some((text, Place::Variable(_))) if text == "1"));
        }
    }

    #[test]
    fn a_flag_stands_over_a_variable() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let environment = [pair("WAYPOST__ROUTER__THREADS", "2"), pair("HOME", "/")];
        let mut problems = Vec::new();
        let mut given = Given::new(&environment, &[pair("router.threads", "3")], &mut problems);
        assert!(
            matches!(given.take("router.threads"), Some((text, Place::Flag(_))) if text == "3")
        );
        assert_eq!(given.unused().len(), 0);
        assert!(problems.is_empty());
    }
}
