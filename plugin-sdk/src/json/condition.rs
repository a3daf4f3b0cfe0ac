//! A comparison of what stands at a pointer with a value of the configuration.
//!
//! A comparison that makes no sense for what was found is not true, rather than an error: null and
//! mismatched types are ordinary in real data. So only `ne` and `exists = false` hold for what is missing.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::Value;

use super::{Document, Found, Pointer};
use crate::{Error, Result};

/// `{ pointer, op, value }`: whether it holds for a document.
///
/// | `op` | `value` | holds when there is |
/// | --- | --- | --- |
/// | `eq` (default) | string, number or boolean | an equal value; `1` equals `1.0` |
/// | `ne` | string, number or boolean | no equal value: another one, null, or nothing |
/// | `lt`, `le`, `gt`, `ge` | number or string | a value of the same type in that order; strings by their bytes |
/// | `in` | array of strings, numbers and booleans, at least one | a value equal to one of them |
/// | `exists` | boolean, default true | anything at all, null too; with `false` nothing |
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Condition {
    pointer: Pointer,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equals(Found<'static>),
    Differs(Found<'static>),
    Ordered(fn(Ordering) -> bool, Found<'static>),
    Among(Vec<Found<'static>>),
    Exists(bool),
}

impl Condition {
    /// Where it looks.
    #[must_use]
    pub fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    /// Whether it holds.
    pub fn holds(&self, document: &impl Document) -> bool {
        let found = document.at(&self.pointer);
        match (&self.test, found) {
            (Test::Exists(wanted), found) => found.is_some() == *wanted,
            (Test::Differs(_), None) => true,
            (_, None) => false,
            (Test::Equals(value), Some(found)) => found.equals(value),
            (Test::Differs(value), Some(found)) => !found.equals(value),
            (Test::Ordered(accepts, value), Some(found)) => found.order(value).is_some_and(accepts),
            (Test::Among(values), Some(found)) => values.iter().any(|value| found.equals(value)),
        }
    }
}

/// A condition as it stands in the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    pointer: Pointer,
    #[serde(default)]
    op: Operator,
    value: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operator {
    #[default]
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Exists,
}

impl TryFrom<Written> for Condition {
    type Error = Error;

    fn try_from(Written { pointer, op, value }: Written) -> Result<Self> {
        let test = test(op, value)
            .map_err(|error| error.context(format_args!("the condition on `{pointer}`")))?;
        Ok(Self { pointer, test })
    }
}

fn test(op: Operator, value: Option<Value>) -> Result<Test> {
    Ok(match (op, value) {
        (Operator::Exists, None) => Test::Exists(true),
        (Operator::Exists, Some(Value::Bool(wanted))) => Test::Exists(wanted),
        (Operator::Exists, Some(_)) => {
            return Err(Error::msg("`op = \"exists\"` takes true or false for its `value`"));
        }
        (_, None) => {
            return Err(Error::msg(
                "it needs a `value` to compare with; `op = \"exists\"` asks for any value at all",
            ));
        }
        (Operator::In, Some(Value::Array(values))) if !values.is_empty() => {
            Test::Among(values.iter().map(scalar).collect::<Result<_>>()?)
        }
        (Operator::In, Some(_)) => {
            return Err(Error::msg("`op = \"in\"` takes an array of at least one for its `value`"));
        }
        (Operator::Eq, Some(value)) => Test::Equals(scalar(&value)?),
        (Operator::Ne, Some(value)) => Test::Differs(scalar(&value)?),
        (Operator::Lt, Some(value)) => Test::Ordered(Ordering::is_lt, ordered(&value)?),
        (Operator::Le, Some(value)) => Test::Ordered(Ordering::is_le, ordered(&value)?),
        (Operator::Gt, Some(value)) => Test::Ordered(Ordering::is_gt, ordered(&value)?),
        (Operator::Ge, Some(value)) => Test::Ordered(Ordering::is_ge, ordered(&value)?),
    })
}

/// A value that others can be equal to.
fn scalar(value: &Value) -> Result<Found<'static>> {
    match Found::from(value) {
        found @ (Found::Bool(_) | Found::Number(_) | Found::Text(_)) => Ok(found.into_owned()),
        other => Err(Error::msg(format_args!(
            "its `value` holds {}; compare with strings, numbers and booleans",
            other.kind()
        ))),
    }
}

/// A value that others can be smaller or larger than.
fn ordered(value: &Value) -> Result<Found<'static>> {
    match Found::from(value) {
        found @ (Found::Number(_) | Found::Text(_)) => Ok(found.into_owned()),
        other => Err(Error::msg(format_args!(
            "its `value` is {}; only numbers and strings have an order",
            other.kind()
        ))),
    }
}
