//! Reads keys out of the layers of a configuration, and keeps account of everything on the way.
//!
//! The code that reads a key is the schema: it names the key, its kind, default and range, once. A
//! reading never stops. What is wrong becomes a problem and its default stands in, so that one run
//! finds everything; a configuration with an error is not used afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{
    effective::Effective,
    given::{Given, variable_of},
    key::Key,
    problem::{Document, Place, Problem},
    section::Section,
    suggest::nearest,
    value::quoted,
};

/// The layers, and what was found in them so far.
pub(super) struct Reader<'d> {
    document: Option<Document>,
    root: Option<&'d DeTable<'d>>,
    /// What the file's relative paths begin at.
    pub(super) folder: PathBuf,
    pub(super) given: Given,
    pub(super) problems: Vec<Problem>,
    pub(super) effective: Effective,
    pub(super) keys: Vec<Key>,
    pub(super) sections: BTreeSet<String>,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) unknown: Vec<Unknown>,
}

/// A key of the file that no code asked for.
pub(super) struct Unknown {
    pub(super) heading: String,
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) known: Vec<&'static str>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(
        file: Option<(&Document, &'d DeTable<'d>)>,
        folder: &Path,
        given: Given,
    ) -> Self {
        Self {
            document: file.map(|(document, _)| document.clone()),
            root: file.map(|(_, table)| table),
            folder: folder.to_owned(),
            given,
            problems: Vec::new(),
            effective: Effective::default(),
            keys: Vec::new(),
            sections: BTreeSet::new(),
            places: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    /// Reads everything, then reports what nobody asked for.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(&mut Section<'_, 'd>) -> T) -> T {
        let table = self.root;
        let value = Section::whole(self, table, read);
        self.report_unknown();
        self.report_unused();
        value
    }

    /// Where the value of a key came from; without one the file, which is where it would be set.
    pub(super) fn place(&self, path: &str) -> Place {
        match self.places.get(path) {
            None | Some(Place::Default) => self.whole_file(),
            Some(place) => place.clone(),
        }
    }

    /// Whether somebody set this key.
    pub(super) fn is_set(&self, path: &str) -> bool {
        !matches!(self.places.get(path), None | Some(Place::Default))
    }

    pub(super) fn error(
        &mut self,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem::error(place, message, hint));
    }

    pub(super) fn warning(
        &mut self,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem::warning(place, message, hint));
    }

    pub(super) fn whole_file(&self) -> Place {
        match &self.document {
            Some(document) => Place::WholeFile(document.name().to_owned()),
            None => Place::Default,
        }
    }

    pub(super) fn file_place(&self, span: Range<usize>) -> Place {
        match &self.document {
            Some(document) => Place::File(document.clone(), span),
            None => Place::Default,
        }
    }

    fn report_unknown(&mut self) {
        for Unknown { heading, key, place, known } in std::mem::take(&mut self.unknown) {
            let hint = if let Some(meant) = nearest(&key, known.iter().copied()) {
                format!("did you mean {meant}?")
            } else if let Some(other) = self.section_with(&key) {
                format!("{key} stands in [{other}]")
            } else {
                format!("known are {}", known.join(", "))
            };
            let message = match &*heading {
                "" => format!("there is no section {}", quoted(&key)),
                heading => format!("{heading} has no key {}", quoted(&key)),
            };
            self.error(place, message, hint);
        }
    }

    fn section_with(&self, name: &str) -> Option<&str> {
        let sections = self.keys.iter().filter_map(|key| key.path.rsplit_once('.'));
        sections.into_iter().find(|(_, key)| *key == name).map(|(section, _)| section)
    }

    fn report_unused(&mut self) {
        let unused = self.given.unused();
        for (key, place) in unused {
            let hint = self.meaning_of(&key, &place);
            self.error(place, format!("there is no key {}", quoted(&key)), hint);
        }
        let settable = self.keys.iter().map(|key| &*key.path);
        for (place, meant) in self.given.misspelt(settable) {
            self.error(place, "it sets nothing", format!("did you mean {meant}?"));
        }
    }

    /// What somebody who set this key meant.
    fn meaning_of(&self, key: &str, place: &Place) -> String {
        if key.split('.').next() == Some("route") {
            return "routes are written in the file".to_owned();
        }
        if self.sections.contains(key) {
            return format!("{key} is a section; set one of its keys");
        }
        let candidates = self.keys.iter().map(|key| &*key.path);
        let settable = candidates.filter(|path| !path.starts_with("route."));
        match (nearest(key, settable), place) {
            (Some(meant), Place::Variable(_)) => format!("did you mean {}?", variable_of(meant)),
            (Some(meant), _) => format!("did you mean {meant}?"),
            (None, _) => "docs/configuration.md lists all keys".to_owned(),
        }
    }
}
