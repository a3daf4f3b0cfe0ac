//! A value as it was written: in the file, or as the text of a variable or a flag.

use std::ops::Range;

use toml::{Spanned, de::DeValue};

/// Longer values are shown by their beginning.
const MOST_SHOWN: usize = 64;

/// A value as it was written.
#[derive(Debug)]
pub(super) enum Raw<'d> {
    Toml(&'d DeValue<'d>),
    /// Of a variable or a flag. It is written as in the file, except that text has no quotes.
    Text(String),
}

impl<'d> Raw<'d> {
    /// It as a whole number; one that no type holds is as large as can be.
    pub(super) fn integer(&self) -> Option<i128> {
        let of = |value: &DeValue<'_>| {
            let integer = value.as_integer()?;
            Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX))
        };
        match self {
            Self::Toml(value) => of(value),
            Self::Text(text) => of(DeValue::parse(text.trim()).ok()?.get_ref()),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Toml(value) => value.as_bool(),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Text(text) => Some(text),
        }
    }

    /// It as a list, with where in the file each element stands. A text has commas between them.
    pub(super) fn elements(&self) -> Option<Vec<(Raw<'d>, Option<Range<usize>>)>> {
        match self {
            Self::Toml(value) => {
                let element = |value: &'d Spanned<DeValue<'d>>| {
                    (Raw::Toml(value.get_ref()), Some(value.span()))
                };
                Some(value.as_array()?.iter().map(element).collect())
            }
            Self::Text(text) => {
                let named = text.split(',').map(str::trim).filter(|element| !element.is_empty());
                Some(named.map(|element| (Raw::Text(element.to_owned()), None)).collect())
            }
        }
    }

    /// A string of the file as what it would be without its quotes.
    pub(super) fn unquoted(&self) -> Option<Raw<'static>> {
        match self {
            Self::Toml(value) => value.as_str().map(|text| Raw::Text(text.to_owned())),
            Self::Text(_) => None,
        }
    }

    /// It as a report shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Toml(DeValue::String(text)) => quoted(text),
            Self::Toml(DeValue::Integer(integer)) => shortened(&integer.to_string()),
            Self::Toml(DeValue::Float(float)) => shortened(float.as_str()),
            Self::Toml(DeValue::Boolean(boolean)) => boolean.to_string(),
            Self::Toml(DeValue::Datetime(datetime)) => datetime.to_string(),
            Self::Toml(DeValue::Array(_)) => "an array".to_owned(),
            Self::Toml(DeValue::Table(_)) => "a table".to_owned(),
            Self::Text(text) => quoted(text),
        }
    }
}

/// Text from outside in quotes: on one line, without control characters, and not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_variable_holds_reads_as_in_the_file() {
        let text = |text: &str| Raw::Text(text.to_owned());
        assert_eq!(text(" 10_000 ").integer(), Some(10_000));
        assert_eq!(text("0x10").integer(), Some(16));
        assert_eq!(text("9".repeat(60).as_str()).integer(), Some(i128::MAX));
        assert_eq!(text("ten").integer(), None);
        assert_eq!(text("true").boolean(), Some(true));
        assert_eq!(text("yes").boolean(), None);
    }

    #[test]
    fn a_list_in_a_variable_has_commas() {
        let elements = |text: &str| {
            let elements = Raw::Text(text.to_owned()).elements().expect("a text is a list");
            elements.into_iter().map(|(raw, _)| raw.shown()).collect::<Vec<_>>()
        };
        assert_eq!(elements("log, clock"), [r#""log""#, r#""clock""#]);
        assert_eq!(elements(" log,"), [r#""log""#]);
        assert!(elements("").is_empty());
    }

    #[test]
    fn text_from_outside_is_shown_on_one_short_line() {
        assert_eq!(quoted("a\n\u{1b}[31m"), r#""a\n\u{1b}[31m""#);
        assert_eq!(quoted(&"ä".repeat(100)).chars().count(), MOST_SHOWN + 5);
    }
}
