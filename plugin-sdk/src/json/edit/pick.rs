//! A new, flat object of some of a document's values.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::super::{Excerpt, Pointer};
use crate::{Error, Result};

/// Which values, under which names: a table of names and pointers, or a list of pointers, each of whose
/// last field is the name.
///
/// A value that is missing is left out; null is kept. When all are missing, the message is not what was
/// expected, and an error.
#[derive(Debug, Clone)]
pub struct Pick {
    fields: BTreeMap<String, Pointer>,
}

impl Pick {
    pub(super) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.fields.values()
    }

    pub(super) fn of_value(&self, document: &Value) -> Result<Value> {
        self.collect(|pointer| Ok(pointer.get(document).cloned()))
    }

    pub(super) fn of_excerpt(&self, excerpt: &Excerpt<'_>) -> Result<Value> {
        self.collect(|pointer| excerpt.value(pointer))
    }

    fn collect(&self, value: impl Fn(&Pointer) -> Result<Option<Value>>) -> Result<Value> {
        let mut picked = Map::new();
        for (name, pointer) in &self.fields {
            if let Some(value) = value(pointer)? {
                picked.insert(name.clone(), value);
            }
        }
        match picked.is_empty() {
            true => Err(Error::msg("the message has none of the values to pick")),
            false => Ok(Value::Object(picked)),
        }
    }
}

impl<'de> Deserialize<'de> for Pick {
    fn deserialize<D: Deserializer<'de>>(written: D) -> Result<Self, D::Error> {
        let fields = written.deserialize_any(Fields)?;
        match fields.is_empty() {
            true => Err(D::Error::custom("nothing is picked: name at least one pointer")),
            false => Ok(Self { fields }),
        }
    }
}

/// Reads both forms, with the errors of what stands in them.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = BTreeMap<String, Pointer>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of new names and pointers, or a list of pointers")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut written: M) -> Result<Self::Value, M::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, pointer)) = written.next_entry()? {
            fields.insert(name, pointer);
        }
        Ok(fields)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut written: S) -> Result<Self::Value, S::Error> {
        let mut fields = BTreeMap::new();
        while let Some(pointer) = written.next_element::<Pointer>()? {
            let Some(name) = pointer.field().map(str::to_owned) else {
                return Err(S::Error::custom(
                    "the whole document has no name: give it one in a table",
                ));
            };
            if let Some(other) = fields.get(&name) {
                return Err(S::Error::custom(format_args!(
                    "`{other}` and `{pointer}` would both be named `{name}`: name them in a table"
                )));
            }
            fields.insert(name, pointer);
        }
        Ok(fields)
    }
}
