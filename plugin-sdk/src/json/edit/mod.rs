//! Changes to a document, in order, as a configuration lists them.
//!
//! An edit never loses a value silently: what would overwrite a field on the way of another is an error,
//! which rejects the message.

mod bands;
mod flatten;
mod pick;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

pub use self::{bands::Bands, flatten::Flatten, pick::Pick};
use super::{Pointer, Pointers, Template};
use crate::{Error, Result};

/// One change to a document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// A new object of some of the document's values.
    Pick(Pick),
    /// Moves a value; nothing happens when there is none.
    Rename {
        /// Where it stands.
        from: Pointer,
        /// Where it goes; there must be nothing.
        to: Pointer,
    },
    /// Puts a value in place of what there is.
    Set {
        /// Where.
        pointer: Pointer,
        /// What.
        value: Value,
    },
    /// Puts a value where there is none; null is one.
    Default {
        /// Where.
        pointer: Pointer,
        /// What.
        value: Value,
    },
    /// Removes values, where there are any.
    #[serde(deserialize_with = "at_least_one")]
    Remove(Vec<Pointer>),
    /// Lifts the fields of nested objects up.
    Flatten(Flatten),
    /// Puts a text of other values in place of what there is.
    Compute {
        /// Where.
        target: Pointer,
        /// The text.
        template: Template,
    },
    /// Names the band that a number lies in.
    Bands(Bands),
}

impl Edit {
    /// Changes a document. After an error it may be changed in part.
    ///
    /// # Errors
    ///
    /// The document does not allow the change, as each kind of edit says.
    pub fn apply(&self, document: &mut Value) -> Result<()> {
        match self {
            Self::Pick(pick) => {
                *document = pick.of_value(document)?;
                Ok(())
            }
            Self::Rename { from, to } => rename(document, from, to),
            Self::Set { pointer, value } => pointer.set(document, value.clone()),
            Self::Default { pointer, value } => match pointer.get(document) {
                Some(_) => Ok(()),
                None => pointer.set(document, value.clone()),
            },
            Self::Remove(pointers) => {
                for pointer in pointers {
                    pointer.take(document);
                }
                Ok(())
            }
            Self::Flatten(flatten) => flatten.apply(document),
            Self::Compute { target, template } => {
                let text = template.render(document).map_err(|error| {
                    error.context(format_args!("`{target}` cannot be computed"))
                })?;
                target.set(document, text.into())
            }
            Self::Bands(bands) => bands.apply(document),
        }
    }
}

fn rename(document: &mut Value, from: &Pointer, to: &Pointer) -> Result<()> {
    let Some(value) = from.take(document) else { return Ok(()) };
    if to.get(document).is_some() {
        return Err(Error::msg(format_args!(
            "`{from}` cannot be renamed to `{to}`, where there is a value already: remove it first"
        )));
    }
    to.set(document, value)
}

/// A list of edits, at least one. A pick that comes first reads the payload without a tree.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<Edit>")]
pub struct Edits {
    first: Option<(Pointers, Pick)>,
    rest: Vec<Edit>,
}

impl Edits {
    /// The document that a payload becomes.
    ///
    /// # Errors
    ///
    /// The payload is not JSON; an edit's own.
    pub fn apply(&self, payload: &[u8]) -> Result<Value> {
        let mut document = match &self.first {
            Some((pointers, pick)) => pick.of_excerpt(&pointers.read(payload)?)?,
            None => serde_json::from_slice(payload)
                .map_err(|error| Error::from(error).context("the payload is not JSON"))?,
        };
        self.rest.iter().try_for_each(|edit| edit.apply(&mut document))?;
        Ok(document)
    }
}

impl TryFrom<Vec<Edit>> for Edits {
    type Error = Error;

    fn try_from(mut edits: Vec<Edit>) -> Result<Self> {
        if edits.is_empty() {
            return Err(Error::msg("the list is empty: name at least one edit, such as `pick`"));
        }
        let first = match &edits[0] {
            Edit::Pick(pick) => Some((Pointers::new(pick.pointers()), pick.clone())),
            _ => None,
        };
        if first.is_some() {
            edits.remove(0);
        }
        Ok(Self { first, rest: edits })
    }
}

fn at_least_one<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    list: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(list)?;
    match list.is_empty() {
        true => Err(D::Error::custom("the list is empty: name at least one")),
        false => Ok(list),
    }
}
