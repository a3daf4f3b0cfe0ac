//! RFC 6901 pointers: the name of a place in a JSON document.
//!
//! A pointer is empty, which names the whole document, or a run of tokens that each follow a `/`. In a
//! token `~1` stands for `/` and `~0` for `~`. A token names a field of an object, or an element of an
//! array by its index from zero without leading zeros.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// A place in a JSON document, such as `/properties/mag` or `/coordinates/0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer {
    text: String,
    tokens: Vec<Token>,
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token {
    pub(super) name: String,
    /// The token as an array's index.
    pub(super) index: Option<usize>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    ///
    /// It does not begin with `/`, or has a `~` before something else than `0` or `1`.
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let tokens = match text.strip_prefix('/') {
            Some(tokens) => tokens.split('/').map(Token::parse).collect(),
            None if text.is_empty() => Ok(Vec::new()),
            None => Err("it must begin with `/`, as `/properties/type` does"),
        };
        match tokens {
            Ok(tokens) => Ok(Self { text, tokens }),
            Err(reason) => {
                Err(Error::msg(format_args!("`{text}` is not a JSON pointer: {reason}")))
            }
        }
    }

    /// The pointer as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The last step's field name; the pointer to the whole document has none.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.tokens.last().map(|token| &*token.name)
    }

    /// What stands there.
    #[must_use]
    pub fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.tokens.iter().try_fold(document, |place, token| match place {
            Value::Object(fields) => fields.get(&token.name),
            Value::Array(elements) => elements.get(token.index?),
            _ => None,
        })
    }

    /// Puts a value there in place of what there is. Objects that are missing on the way, or null, are
    /// made; behind an array `-` appends an element.
    ///
    /// # Errors
    ///
    /// The way leads through a value without fields, or to an element that an array does not have.
    pub fn set(&self, document: &mut Value, value: Value) -> Result<()> {
        let mut place = document;
        for token in &self.tokens {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            place = match place {
                Value::Object(fields) => fields.entry(&*token.name).or_insert(Value::Null),
                Value::Array(elements) => {
                    if token.name == "-" {
                        elements.push(Value::Null);
                    }
                    let last = elements.len().checked_sub(1);
                    let index = if token.name == "-" { last } else { token.index };
                    index.and_then(|index| elements.get_mut(index)).ok_or_else(|| {
                        self.cannot_set(format_args!(
                            "an array on the way has no element `{}`",
                            token.name
                        ))
                    })?
                }
                _ => {
                    return Err(self.cannot_set(format_args!(
                        "`{}` would be a field of something that is not an object",
                        token.name
                    )));
                }
            };
        }
        *place = value;
        Ok(())
    }

    /// Takes out what stands there. Of the whole document null remains.
    pub fn take(&self, document: &mut Value) -> Option<Value> {
        let Some((last, way)) = self.tokens.split_last() else { return Some(document.take()) };
        let parent = way.iter().try_fold(document, |place, token| match place {
            Value::Object(fields) => fields.get_mut(&token.name),
            Value::Array(elements) => elements.get_mut(token.index?),
            _ => None,
        });
        match parent? {
            Value::Object(fields) => fields.remove(&last.name),
            Value::Array(elements) => {
                let index = last.index.filter(|index| *index < elements.len())?;
                Some(elements.remove(index))
            }
            _ => None,
        }
    }

    fn cannot_set(&self, reason: impl fmt::Display) -> Error {
        Error::msg(format_args!("`{self}` cannot be set: {reason}"))
    }
}

impl TryFrom<String> for Pointer {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut pieces = text.split('~');
        let mut name = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (character, rest) = match (piece.strip_prefix('0'), piece.strip_prefix('1')) {
                (Some(rest), _) => ('~', rest),
                (_, Some(rest)) => ('/', rest),
                _ => return Err("write `~` as `~0`, and `/` within a name as `~1`"),
            };
            name.push(character);
            name.push_str(rest);
        }
        let is_index = name.bytes().all(|byte| byte.is_ascii_digit())
            && (name == "0" || !name.starts_with('0'));
        let index = if is_index { name.parse().ok() } else { None };
        Ok(Self { name, index })
    }
}
