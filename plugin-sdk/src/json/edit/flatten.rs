//! Nested objects to one level.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Lifts the fields of nested objects to the top, their names joined: `{"a": {"b": 1}}` becomes
/// `{"a.b": 1}`. Arrays and empty objects are values like others.
///
/// It is an error when the document is not an object, or two fields would get one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Flatten {
    separator: String,
    depth: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "Written::separator")]
    separator: String,
    #[serde(default = "Written::depth")]
    depth: u8,
}

impl Written {
    /// What stands between two names.
    fn separator() -> String {
        ".".to_owned()
    }

    /// How many levels are lifted; an object further down is a value like others.
    fn depth() -> u8 {
        8
    }
}

impl TryFrom<Written> for Flatten {
    type Error = Error;

    fn try_from(Written { separator, depth }: Written) -> Result<Self> {
        if separator.is_empty() {
            return Err(Error::msg(
                "`separator` is empty: names would run into each other; use \".\"",
            ));
        }
        // The parser itself stops at 128 levels.
        if !(1..=64).contains(&depth) {
            return Err(Error::msg(format_args!("`depth` is {depth}: it lies between 1 and 64")));
        }
        Ok(Self { separator, depth })
    }
}

impl Flatten {
    pub(super) fn apply(&self, document: &mut Value) -> Result<()> {
        let Value::Object(fields) = document else {
            return Err(Error::msg("only an object can be flattened, and the document is none"));
        };
        let mut flat = Map::new();
        self.lift(std::mem::take(fields), "", self.depth, &mut flat)?;
        *fields = flat;
        Ok(())
    }

    fn lift(
        &self,
        fields: Map<String, Value>,
        prefix: &str,
        depth: u8,
        flat: &mut Map<String, Value>,
    ) -> Result<()> {
        for (name, value) in fields {
            let name = format!("{prefix}{name}");
            match value {
                Value::Object(fields) if depth > 0 && !fields.is_empty() => {
                    self.lift(fields, &format!("{name}{}", self.separator), depth - 1, flat)?;
                }
                value => {
                    if flat.contains_key(&name) {
                        return Err(Error::msg(format_args!(
                            "two fields would be named `{name}` when flattened: rename one before, or \
                             choose another separator"
                        )));
                    }
                    flat.insert(name, value);
                }
            }
        }
        Ok(())
    }
}
