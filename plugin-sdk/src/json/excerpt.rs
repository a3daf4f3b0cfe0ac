//! A few values of a document, found in one pass over its text.
//!
//! The pointers form a tree of their tokens; the parser walks down both trees at once and skips what no
//! pointer leads into. What is found is a piece of the text, which is read when it is asked for. As in a
//! parsed document, the last of several fields of one name counts.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Value, value::RawValue};

use super::{Document, Found, Pointer, pointer::Token};
use crate::{Error, Result};

/// The places that a plugin looks at, to find all of them in one pass.
#[derive(Debug, Clone)]
pub struct Pointers {
    /// In order and each once; a place's slot is its position here.
    pointers: Vec<Pointer>,
    root: Node,
}

/// What [`Pointers`] found in a document.
#[derive(Debug)]
pub struct Excerpt<'a> {
    pointers: &'a [Pointer],
    values: Vec<Option<&'a RawValue>>,
}

impl Pointers {
    /// For these places.
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut pointers: Vec<_> = pointers.into_iter().cloned().collect();
        pointers.sort_unstable();
        pointers.dedup();
        let mut root = Node::default();
        for (slot, pointer) in pointers.iter().enumerate() {
            root.insert(pointer.tokens(), slot);
        }
        Self { pointers, root }
    }

    /// Looks for them in a payload, all of which is checked to be JSON.
    ///
    /// # Errors
    ///
    /// The payload is not JSON.
    pub fn read<'a>(&'a self, payload: &'a [u8]) -> Result<Excerpt<'a>> {
        let mut values = vec![None; self.pointers.len()];
        let not_json =
            |error: serde_json::Error| Error::from(error).context("the payload is not JSON");
        let text = str::from_utf8(payload)
            .map_err(|error| Error::from(error).context("the payload is not JSON"))?;
        let mut parser = serde_json::Deserializer::from_str(text);
        Walk { node: Some(&self.root), values: &mut values }
            .deserialize(&mut parser)
            .map_err(not_json)?;
        parser.end().map_err(not_json)?;
        Ok(Excerpt { pointers: &self.pointers, values })
    }
}

impl Excerpt<'_> {
    /// The whole value that stands there.
    ///
    /// # Errors
    ///
    /// It is nested too deeply, or a number in it is too large.
    ///
    /// # Panics
    ///
    /// The pointer is none of those that were looked for.
    pub fn value(&self, pointer: &Pointer) -> Result<Option<Value>> {
        let value = self.raw(pointer).map(|raw| serde_json::from_str(raw.get())).transpose();
        value.map_err(|error| Error::from(error).context(format_args!("the value of `{pointer}`")))
    }

    fn raw(&self, pointer: &Pointer) -> Option<&RawValue> {
        match self.pointers.binary_search(pointer) {
            Ok(slot) => self.values[slot],
            Err(_) => panic!("`{pointer}` was not looked for: name it to `Pointers::new`"),
        }
    }
}

impl Document for Excerpt<'_> {
    /// # Panics
    ///
    /// The pointer is none of those that were looked for.
    fn at(&self, pointer: &Pointer) -> Option<Found<'_>> {
        self.raw(pointer).map(|raw| Found::read(raw.get()))
    }
}

/// Where pointers go on from a place, and the slot of the one that ends here.
#[derive(Debug, Clone, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(Token, Node)>,
}

impl Node {
    fn insert(&mut self, tokens: &[Token], slot: usize) {
        let Some((token, rest)) = tokens.split_first() else {
            self.slot = Some(slot);
            return;
        };
        let position = self.children.iter().position(|(each, _)| each == token);
        let position = position.unwrap_or_else(|| {
            self.children.push((token.clone(), Self::default()));
            self.children.len() - 1
        });
        self.children[position].1.insert(rest, slot);
    }

    fn child(&self, is_it: impl Fn(&Token) -> bool) -> Option<&Self> {
        self.children.iter().find(|(token, _)| is_it(token)).map(|(_, node)| node)
    }

    /// Forgets what an earlier field of the same name held.
    fn forget(&self, values: &mut [Option<&RawValue>]) {
        if let Some(slot) = self.slot {
            values[slot] = None;
        }
        self.children.iter().for_each(|(_, node)| node.forget(values));
    }
}

/// The walk through one value: towards the node's places, or past it when there is none.
struct Walk<'w, 'a> {
    node: Option<&'w Node>,
    values: &'w mut [Option<&'a RawValue>],
}

impl<'a> DeserializeSeed<'a> for Walk<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<(), D::Error> {
        match self.node {
            None => serde::Deserialize::deserialize(parser).map(|IgnoredAny| ()),
            Some(Node { slot: None, children }) if children.is_empty() => {
                serde::Deserialize::deserialize(parser).map(|IgnoredAny| ())
            }
            Some(Node { slot: None, .. }) => parser.deserialize_any(self),
            Some(Node { slot: Some(slot), children }) => {
                let raw: &RawValue = serde::Deserialize::deserialize(parser)?;
                self.values[*slot] = Some(raw);
                if children.is_empty() {
                    return Ok(());
                }
                // The longer pointers lead into what was just taken.
                serde_json::Deserializer::from_str(raw.get())
                    .deserialize_any(self)
                    .map_err(D::Error::custom)
            }
        }
    }
}

impl<'a> Visitor<'a> for Walk<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut fields: M) -> Result<(), M::Error> {
        let Some(here) = self.node else { return Ok(()) };
        while let Some(node) = fields.next_key_seed(Key(here))? {
            if let Some(node) = node {
                node.forget(self.values);
            }
            fields.next_value_seed(Walk { node, values: &mut *self.values })?;
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut elements: S) -> Result<(), S::Error> {
        let Some(here) = self.node else { return Ok(()) };
        for index in 0.. {
            let node = here.child(|token| token.index == Some(index));
            if elements.next_element_seed(Walk { node, values: &mut *self.values })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// A field's name, read as the node that it leads to.
struct Key<'w>(&'w Node);

impl<'a, 'w> DeserializeSeed<'a> for Key<'w> {
    type Value = Option<&'w Node>;

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl<'w> Visitor<'_> for Key<'w> {
    type Value = Option<&'w Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(|token| token.name == name))
    }
}
