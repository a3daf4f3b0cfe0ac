//! A text with places for a document's values.
//!
//! `{/net}` stands for the value at the pointer `/net`, `{{` and `}}` for braces themselves.

use serde::Deserialize;

use super::{Document, Pointer};
use crate::{Error, Result};

/// A text such as `quakes.region.{/net}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Pointer),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// A brace has no partner, or what stands between two is not a pointer.
    pub fn parse(template: &str) -> Result<Self> {
        let refused =
            |reason: &str| Error::msg(format_args!("the template `{template}`: {reason}"));
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(brace) = rest.find(['{', '}']) {
            text.push_str(&rest[..brace]);
            rest = &rest[brace..];
            if let Some(behind) = rest.strip_prefix("{{") {
                text.push('{');
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix("}}") {
                text.push('}');
                rest = behind;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let Some((pointer, behind)) = inside.split_once('}') else {
                    return Err(refused("a `{` is not closed; `{{` stands for a brace itself"));
                };
                if pointer.is_empty() {
                    return Err(refused("name a pointer between the braces, as in `{/net}`"));
                }
                let pointer =
                    Pointer::parse(pointer).map_err(|error| refused(&error.to_string()))?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Value(pointer));
                rest = behind;
            } else {
                return Err(refused("a `}` closes nothing; `}}` stands for a brace itself"));
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// The places whose values it takes.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(pointer) => Some(pointer),
            Part::Text(_) => None,
        })
    }

    /// The text for a document. Numbers and booleans are written as in JSON.
    ///
    /// # Errors
    ///
    /// A value is missing, or is null, an object or an array.
    pub fn render(&self, document: &impl Document) -> Result<String> {
        self.render_checked(document, |_| Ok(()))
    }

    /// The same when each value passes a check.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render); the check's own error, behind the pointer.
    pub fn render_checked(
        &self,
        document: &impl Document,
        check: impl Fn(&str) -> Result<()>,
    ) -> Result<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(pointer) => {
                    let refused = |reason: Error| reason.context(format_args!("`{{{pointer}}}`"));
                    let Some(found) = document.at(pointer) else {
                        return Err(refused(Error::msg("the message has no value there")));
                    };
                    let kind = found.kind();
                    let Some(value) = found.into_text() else {
                        return Err(refused(Error::msg(format_args!(
                            "the message has {kind} there, which cannot be put into a text"
                        ))));
                    };
                    check(&value).map_err(refused)?;
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(template: String) -> Result<Self> {
        Self::parse(&template)
    }
}
