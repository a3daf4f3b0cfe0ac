//! Reads the keys of a section: numbers, truth values, texts and paths.

use std::{
    fmt::Display,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Value;

use super::{
    key::{Key, Kind, in_schema, without_indices},
    problem::Place,
    section::Section,
    value::Raw,
};

/// Why a text is not what its key takes.
#[derive(Debug)]
pub(super) struct Complaint {
    what: String,
    /// The kind's own hint where this one is missing.
    hint: Option<String>,
}

impl Complaint {
    /// Completes "it is ...".
    pub(super) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), hint: None }
    }

    /// What would mend it, where the kind's own hint does not.
    pub(super) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// Our errors say what is wrong, and after a semicolon what would mend it.
    pub(super) fn from_error(what: &str, error: &impl std::error::Error) -> Self {
        let text = error.to_string();
        let (reason, hint) = match text.split_once("; ") {
            Some((reason, hint)) => (reason, Some(hint.to_owned())),
            None => (&*text, None),
        };
        Self { what: format!("{what}: {reason}"), hint }
    }
}

impl<'d> Section<'_, 'd> {
    /// Reads a whole number.
    pub(super) fn integer<T>(
        &mut self,
        name: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i128> + TryInto<i64>,
    {
        let allowed = format!("{} to {}", range.start(), range.end());
        let key = self.key(name, Kind::Integer, &default.to_string(), &allowed);
        let (mut value, mut holds) = (default, Place::Default);
        if let Some((raw, place)) = self.find(name, key) {
            let number = raw.integer();
            let in_range = number.and_then(|number| T::try_from(number).ok());
            let in_range = in_range.filter(|number| range.contains(number));
            if let Some(number) = in_range {
                (value, holds) = (number, place);
            } else {
                let number_in_quotes = raw.unquoted().is_some_and(|raw| raw.integer().is_some());
                let hint = match number_in_quotes {
                    true => format!("write a whole number from {allowed}, without quotes"),
                    false => format!("write a whole number from {allowed}"),
                };
                let what = if number.is_some() { "out of range" } else { "not a whole number" };
                self.complain(name, place, &raw, what, &hint);
            }
        }
        self.hold(name, value.try_into().unwrap_or(i64::MAX), holds);
        value
    }

    /// Reads a duration in milliseconds.
    pub(super) fn milliseconds(
        &mut self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.integer(name, default, range))
    }

    /// Reads true or false.
    pub(super) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        let key = self.key(name, Kind::Boolean, &default.to_string(), "");
        let (mut value, mut holds) = (default, Place::Default);
        if let Some((raw, place)) = self.find(name, key) {
            match raw.boolean() {
                Some(found) => (value, holds) = (found, place),
                None => {
                    self.complain(
                        name,
                        place,
                        &raw,
                        "neither true nor false",
                        Kind::Boolean.hint(),
                    );
                }
            }
        }
        self.hold(name, value, holds);
        value
    }

    /// Reads a text of some kind.
    pub(super) fn text<T: Display>(
        &mut self,
        name: &'static str,
        kind: Kind,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> T {
        let key = self.key(name, kind, &default.to_string(), "");
        let (value, place) = self.parsed(name, key, parse).unwrap_or((default, Place::Default));
        self.hold(name, value.to_string(), place);
        value
    }

    /// Reads a text of some kind that may be missing; `without` says what then holds.
    pub(super) fn optional<T: Display>(
        &mut self,
        name: &'static str,
        kind: Kind,
        without: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let key = self.key(name, kind, without, "");
        let (value, place) = self.parsed(name, key, parse)?;
        self.hold(name, value.to_string(), place);
        Some(value)
    }

    /// Reads a text of some kind that must be there.
    pub(super) fn required<T: Display>(
        &mut self,
        name: &'static str,
        kind: Kind,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let value = self.optional(name, kind, "required", parse);
        if !self.reader.is_set(&self.path_of(name)) {
            let message = format!("{} has no {name}", self.heading);
            self.reader.error(self.place.clone(), message, kind.hint());
        }
        value
    }

    /// Reads a list of texts, none of which counts twice. A variable or a flag has commas between them.
    pub(super) fn list<T: Display>(
        &mut self,
        name: &'static str,
        default: Vec<T>,
        range: &str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Vec<T> {
        let shown: Vec<String> = default.iter().map(|element| format!("\"{element}\"")).collect();
        let key = self.key(name, Kind::List, &format!("[{}]", shown.join(", ")), range);
        let (mut value, mut holds) = (default, Place::Default);
        if let Some((raw, place)) = self.find(name, key) {
            match raw.elements() {
                None => self.complain(name, place, &raw, "not a list", Kind::List.hint()),
                Some(elements) => {
                    value = self.each(name, &place, elements, range, parse);
                    holds = place;
                }
            }
        }
        let texts: Vec<Value> = value.iter().map(|element| element.to_string().into()).collect();
        self.hold(name, texts, holds);
        value
    }

    /// Those elements of a list that are what it takes; the others are complained of.
    fn each<T>(
        &mut self,
        name: &str,
        place: &Place,
        elements: Vec<(Raw<'d>, Option<Range<usize>>)>,
        range: &str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (raw, span) in elements {
            let place = span.map_or_else(|| place.clone(), |span| self.reader.file_place(span));
            match raw.text().ok_or_else(|| Complaint::new("not a text")).and_then(&parse) {
                Ok(value) => values.push(value),
                Err(Complaint { what, hint }) => {
                    let hint = hint.unwrap_or_else(|| format!("write a list {range}"));
                    let path = without_indices(&self.path_of(name));
                    let message = format!("{path} holds {}, {what}", raw.shown());
                    self.reader.error(place, message, hint);
                }
            }
        }
        values
    }

    /// Reads a path. A relative one begins at the file's folder when the file says it or nobody
    /// does, and at the working directory when a variable or a flag says it.
    pub(super) fn path(&mut self, name: &'static str, default: &str) -> PathBuf {
        let key = self.key(name, Kind::Path, default, "");
        let found = self.parsed(name, key, some_path);
        let (path, place) = found.unwrap_or((PathBuf::from(default), Place::Default));
        self.hold_path(name, &path, place)
    }

    /// Reads a path that may be missing.
    pub(super) fn optional_path(&mut self, name: &'static str) -> Option<PathBuf> {
        let key = self.key(name, Kind::Path, "none", "");
        let (path, place) = self.parsed(name, key, some_path)?;
        Some(self.hold_path(name, &path, place))
    }

    /// Finds the value of a key, and takes note that there is this key.
    pub(super) fn find(&mut self, name: &'static str, key: Key) -> Option<(Raw<'d>, Place)> {
        self.known.push(name);
        if !self.reader.keys.iter().any(|known| known.path == key.path) {
            self.reader.keys.push(key);
        }
        let path = self.path_of(name);
        // What stands in an array has no name that a variable or a flag could say.
        let is_in_array = path.contains('[');
        let given = if is_in_array { None } else { self.reader.given.take(&path) };
        let found = match given {
            Some((text, place)) => Some((Raw::Text(text), place)),
            None => self
                .value(name)
                .map(|value| (Raw::Toml(value.get_ref()), self.reader.file_place(value.span()))),
        };
        let place = found.as_ref().map_or(Place::Default, |(_, place)| place.clone());
        self.reader.places.insert(path, place);
        found
    }

    pub(super) fn key(&self, name: &str, kind: Kind, default: &str, range: &str) -> Key {
        let path = in_schema(&self.path_of(name));
        Key { path, kind, default: default.to_owned(), range: range.to_owned() }
    }

    /// Says which value holds in the end.
    pub(super) fn hold(&mut self, name: &'static str, value: impl Into<Value>, place: Place) {
        self.reader.effective.entry(name, value.into(), place);
    }

    /// Says that a value is not what its key takes.
    pub(super) fn complain(
        &mut self,
        name: &str,
        place: Place,
        raw: &Raw<'_>,
        what: &str,
        hint: &str,
    ) {
        let path = without_indices(&self.path_of(name));
        self.reader.error(place, format!("{path} is {}, {what}", raw.shown()), hint);
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        key: Key,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<(T, Place)> {
        let kind = key.kind;
        let (raw, place) = self.find(name, key)?;
        let Some(text) = raw.text() else {
            self.complain(name, place, &raw, "not a text", kind.hint());
            return None;
        };
        match parse(text) {
            Ok(value) => Some((value, place)),
            Err(Complaint { what, hint }) => {
                let hint = hint.unwrap_or_else(|| kind.hint().to_owned());
                self.complain(name, place, &raw, &what, &hint);
                None
            }
        }
    }

    fn hold_path(&mut self, name: &'static str, path: &Path, place: Place) -> PathBuf {
        let path = match place {
            Place::Variable(_) | Place::Flag(_) => path.to_owned(),
            _ => self.reader.folder.join(path),
        };
        self.hold(name, path.to_string_lossy().into_owned(), place);
        path
    }
}

fn some_path(text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() { Err(Complaint::new("which names nothing")) } else { Ok(text.into()) }
}
