//! Values that several commands take: headers, times, and where bytes come from.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tokio::io::{AsyncBufRead, BufReader};

/// NAME=VALUE.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// A number and a unit; seconds without one.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| "write a number and ms, s, m or h".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit; write ms, s, m or h")),
    };
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

/// Opens a file, or standard input for `-`.
pub(super) async fn open(path: &Path) -> anyhow::Result<Box<dyn AsyncBufRead + Unpin>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(tokio::io::stdin())));
    }
    let file = tokio::fs::File::open(path).await;
    let file = file.with_context(|| path.display().to_string())?;
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, expected) in
            [("500ms", 500), ("10", 10_000), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for text in ["", "s", "-1s", "1d", "1.5s"] {
            duration(text).expect_err(text);
        }
    }

    #[test]
    fn a_header_has_a_name() {
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
        for text in ["", "a", "=b"] {
            header(text).expect_err(text);
        }
    }
}
