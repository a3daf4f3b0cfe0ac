//! How long a message lives: the header in which its publisher says so.
//!
//! The value is a whole number of milliseconds in decimal, without a sign and without leading zeros. It counts from
//! the time at which the router took the message in, by the router's clock, which its envelope carries: the clocks
//! of publishers differ, and a message that waited in its publisher must not be over when it arrives.

use std::{fmt, time::Duration};

use crate::Headers;

/// The name of the header.
pub const TTL: &str = "wp-ttl";

/// A time to live, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeToLive(u64);

/// Why something is no time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time to live is a whole number of milliseconds from 1 to {MAX_MS}", MAX_MS = TimeToLive::MAX.0)]
pub struct BadTtl;

impl TimeToLive {
    /// The longest: a hundred years.
    pub const MAX: Self = Self(3_155_760_000_000);

    /// So many milliseconds.
    ///
    /// # Errors
    ///
    /// None at all, or more than [`MAX`](Self::MAX).
    pub fn from_ms(ms: u64) -> Result<Self, BadTtl> {
        if (1..=Self::MAX.0).contains(&ms) { Ok(Self(ms)) } else { Err(BadTtl) }
    }

    /// A duration, of which parts of a millisecond do not count.
    ///
    /// # Errors
    ///
    /// It is shorter than a millisecond, or longer than [`MAX`](Self::MAX).
    pub fn from_duration(duration: Duration) -> Result<Self, BadTtl> {
        u64::try_from(duration.as_millis()).map_err(|_| BadTtl).and_then(Self::from_ms)
    }

    /// The milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0
    }

    /// What a message says of itself.
    ///
    /// # Errors
    ///
    /// It says something else than a time to live.
    pub fn of(headers: Headers<'_>) -> Result<Option<Self>, BadTtl> {
        headers.get(TTL).map(Self::parse).transpose()
    }

    fn parse(value: &[u8]) -> Result<Self, BadTtl> {
        let text = std::str::from_utf8(value).map_err(|_| BadTtl)?;
        // Numbers may be written in more than one way: with a sign, with zeros.
        let number = text.parse().map_err(|_| BadTtl)?;
        let ttl = Self::from_ms(number)?;
        if ttl.to_string() == text { Ok(ttl) } else { Err(BadTtl) }
    }
}

impl fmt::Display for TimeToLive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadersBuilder;

    #[test]
    fn a_message_says_it_in_one_way_or_not_at_all() {
        let of = |name: &str, value: &[u8]| {
            let mut headers = HeadersBuilder::new();
            headers.push("other", b"7").and_then(|it| it.push(name, value)).expect("headers");
            let (headers, _) = Headers::check(headers.as_bytes()).expect("headers");
            TimeToLive::of(headers).map(|ttl| ttl.map(TimeToLive::ms))
        };
        assert_eq!(of("wp-tt", b"x"), Ok(None));
        assert_eq!(of(TTL, b"1"), Ok(Some(1)));
        assert_eq!(of(TTL, b"3155760000000"), Ok(Some(3_155_760_000_000)));
        for bad in [
            "",
            "0",
            "-1",
            "+1",
            "01",
            " 1",
            "1 ",
            "1.5",
            "1s",
            "0x10",
            "3155760000001",
            "99999999999999999999",
        ] {
            assert_eq!(of(TTL, bad.as_bytes()), Err(BadTtl), "{bad:?}");
        }
        assert_eq!(of(TTL, b"\xff1"), Err(BadTtl));
    }

    #[test]
    fn a_duration_counts_in_whole_milliseconds() {
        let of = |duration| TimeToLive::from_duration(duration).map(TimeToLive::ms);
        assert_eq!(of(Duration::from_micros(1999)), Ok(1));
        assert_eq!(of(Duration::from_micros(999)), Err(BadTtl));
        assert_eq!(of(Duration::MAX), Err(BadTtl));
    }
}
