//! A section while it is read: its sections, and which of its keys are known.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    key::without_indices,
    problem::Place,
    reader::{Reader, Unknown},
    value::Raw,
};

/// A section of the configuration while it is read.
pub(super) struct Section<'r, 'd> {
    pub(super) reader: &'r mut Reader<'d>,
    /// Dotted, with indices in arrays; empty at the top.
    pub(super) path: String,
    /// As it stands in a file; empty at the top.
    pub(super) heading: String,
    pub(super) table: Option<&'d DeTable<'d>>,
    /// Where its heading stands, if it does.
    pub(super) place: Place,
    pub(super) known: Vec<&'static str>,
}

impl<'d> Section<'_, 'd> {
    /// Reads the top of a configuration.
    pub(super) fn whole<T>(
        reader: &mut Reader<'d>,
        table: Option<&'d DeTable<'d>>,
        read: impl FnOnce(&mut Section<'_, 'd>) -> T,
    ) -> T {
        let place = reader.whole_file();
        let (path, heading) = (String::new(), String::new());
        Section { reader, path, heading, table, place, known: Vec::new() }.read(read)
    }

    /// Reads a section in this one; there is one even where nobody wrote it.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_, 'd>) -> T,
    ) -> T {
        self.known.push(name);
        let path = self.path_of(name);
        let heading = format!("[{}]", without_indices(&path));
        let value = self.value(name);
        let place = match value {
            Some(value) => self.reader.file_place(value.span()),
            None => self.place.clone(),
        };
        let table = value.and_then(|value| self.expect_table(value, &heading));
        self.child(path, table, place, heading, read)
    }

    /// Reads each table of an array of tables.
    pub(super) fn sections<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_, 'd>) -> T,
    ) -> Vec<T> {
        self.known.push(name);
        let path = self.path_of(name);
        let heading = format!("[[{}]]", without_indices(&path));
        let elements = self.value(name).and_then(|value| self.expect_array(value, &heading));
        let mut read_ones = Vec::new();
        for (index, value) in elements.into_iter().flatten().enumerate() {
            let place = self.reader.file_place(value.span());
            let table = self.expect_table(value, &heading);
            if table.is_some() {
                let path = format!("{path}[{index}]");
                read_ones.push(self.child(path, table, place, heading.clone(), &mut read));
            }
        }
        read_ones
    }

    /// Reads each section of a section in which every name is allowed.
    pub(super) fn named<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_, 'd>, &str) -> T,
    ) -> Vec<T> {
        self.known.push(name);
        let path = self.path_of(name);
        self.reader.sections.insert(path.clone());
        let given = self.reader.given.names_under(&path);
        let mut names: BTreeMap<String, (Place, Option<&'d Spanned<DeValue<'d>>>)> =
            given.into_iter().map(|(name, place)| (name, (place, None))).collect();
        let value = self.value(name);
        let table = value.and_then(|value| self.expect_table(value, &format!("[{path}.name]")));
        for (name, value) in table.into_iter().flatten() {
            let place = self.reader.file_place(name.span());
            names.insert(name.get_ref().to_string(), (place, Some(value)));
        }
        let mut read_ones = Vec::new();
        for (name, (place, value)) in names {
            let path = format!("{path}.{name}");
            let heading = format!("[{path}]");
            let table = value.and_then(|value| self.expect_table(value, &heading));
            let read = |section: &mut Section<'_, 'd>| read(section, &name);
            read_ones.push(self.child(path, table, place, heading, read));
        }
        read_ones
    }

    /// A key's full path.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// What the file says of a key.
    pub(super) fn value(&self, name: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table?.get(name)
    }

    fn child<T>(
        &mut self,
        path: String,
        table: Option<&'d DeTable<'d>>,
        place: Place,
        heading: String,
        read: impl FnOnce(&mut Section<'_, 'd>) -> T,
    ) -> T {
        self.reader.effective.heading(heading.clone(), path.clone());
        self.reader.sections.insert(path.clone());
        self.reader.places.insert(path.clone(), place.clone());
        let reader = &mut *self.reader;
        Section { reader, path, heading, table, place, known: Vec::new() }.read(read)
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = read(&mut self);
        for (key, _) in self.table.into_iter().flatten() {
            let place = self.reader.file_place(key.span());
            let key = key.get_ref().to_string();
            if !self.known.contains(&&*key) {
                let (heading, known) = (self.heading.clone(), self.known.clone());
                self.reader.unknown.push(Unknown { heading, key, place, known });
            }
        }
        value
    }

    fn expect_table(
        &mut self,
        value: &'d Spanned<DeValue<'d>>,
        heading: &str,
    ) -> Option<&'d DeTable<'d>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let place = self.reader.file_place(value.span());
            let found = Raw::Toml(value.get_ref()).shown();
            let message = format!("a section is expected here, not {found}");
            self.reader.error(place, message, format!("begin it with {heading}"));
        }
        table
    }

    fn expect_array(
        &mut self,
        value: &'d Spanned<DeValue<'d>>,
        heading: &str,
    ) -> Option<&'d DeArray<'d>> {
        let array = value.get_ref().as_array();
        if array.is_none() {
            let place = self.reader.file_place(value.span());
            let message = "there may be several of this section";
            let hint = format!("begin each with {heading}, in two brackets");
            self.reader.error(place, message, hint);
        }
        array
    }
}
