//! A name for the band that a number lies in, such as a severity by magnitude.

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{Document as _, Found, Pointer},
    at_least_one,
};
use crate::{Error, Result};

/// Puts the value of the first band whose `below` is larger than the number, in place of what there is.
/// The last band may have no `below`: it takes the rest.
///
/// What is no number, null and missing ones too, gets the value of `otherwise`, as does a number behind
/// the last band. Without an `otherwise` they are an error.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Bands {
    field: Pointer,
    target: Pointer,
    bands: Vec<Band>,
    otherwise: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    field: Pointer,
    target: Pointer,
    #[serde(deserialize_with = "at_least_one")]
    bands: Vec<Band>,
    otherwise: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    below: Option<f64>,
    value: Value,
}

impl TryFrom<Written> for Bands {
    type Error = Error;

    fn try_from(Written { field, target, bands, otherwise }: Written) -> Result<Self> {
        for pair in bands.windows(2) {
            match (pair[0].below, pair[1].below) {
                (None, _) => {
                    return Err(Error::msg(
                        "only the last of `bands` may have no `below`: the ones behind it would be empty",
                    ));
                }
                (Some(lower), Some(upper)) if lower >= upper => {
                    return Err(Error::msg(format_args!(
                        "the `below` of `bands` must increase, and {upper} stands behind {lower}"
                    )));
                }
                _ => {}
            }
        }
        Ok(Self { field, target, bands, otherwise })
    }
}

impl Bands {
    pub(super) fn apply(&self, document: &mut Value) -> Result<()> {
        let found = document.at(&self.field);
        let band = match &found {
            Some(Found::Number(number)) => self.band(number.as_f64()),
            _ => None,
        };
        let Some(value) = band.or(self.otherwise.as_ref()) else {
            let field = &self.field;
            let what = match found {
                None => "missing".to_owned(),
                Some(Found::Number(number)) => format!("{number}, which lies behind the last band"),
                Some(found) => format!("{}, not a number", found.kind()),
            };
            return Err(Error::msg(format_args!(
                "`{field}` is {what}, and the bands have no `otherwise`"
            )));
        };
        self.target.set(document, value.clone())
    }

    fn band(&self, number: f64) -> Option<&Value> {
        let holds = |band: &&Band| band.below.is_none_or(|below| number < below);
        self.bands.iter().find(holds).map(|band| &band.value)
    }
}
