//! Topics and patterns: their grammar, and which pattern matches which topic.
//!
//! A topic is one to 16 levels of `[A-Za-z0-9_-]+` between dots, at most 255 bytes. Its first level
//! may begin with `$`: such topics belong to the router. A pattern is a topic in which `*` stands
//! for exactly one level and a final `>` for one or more. Wildcards never match a first level that
//! begins with `$`.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{ErrorCode, MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS};

/// A name that messages are published to; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// What topics are selected by; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// One level of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternLevel<'a> {
    /// Matches this level alone.
    Literal(&'a str),
    /// `*`: matches any one level.
    One,
    /// A final `>`: matches one or more levels.
    Rest,
}

/// Why bytes are no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// There are no bytes.
    #[error("a topic is empty; name at least one level")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("a topic has {0} bytes, at most {MAX_TOPIC_BYTES} are allowed")]
    TooLong(usize),
    /// It has more than 16 levels.
    #[error("a topic has more than {MAX_TOPIC_LEVELS} levels")]
    TooManyLevels,
    /// A level is empty: a dot at an end, or two in a row.
    #[error("level {0} of a topic is empty; put one dot between two levels and none at the ends")]
    EmptyLevel(usize),
    /// A byte that no level may contain.
    #[error(
        "a topic has {} at byte {position}, counted from 0; levels are made of A-Z a-z 0-9 _ -",
        Shown(*byte)
    )]
    BadByte {
        /// The byte itself.
        byte: u8,
        /// Where it stands, from zero.
        position: usize,
    },
}

/// A byte as people know it.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            byte if byte.is_ascii_graphic() => write!(formatter, "{:?}", char::from(byte)),
            b' ' => formatter.write_str("a space"),
            byte if byte.is_ascii() => write!(formatter, "the control character {byte:#04x}"),
            _ => formatter.write_str("a character that is not ASCII"),
        }
    }
}

impl TopicError {
    /// The code that a peer is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::BadTopic
    }
}

/// Why text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It breaks the grammar that it shares with topics.
    #[error("in a pattern: {0}")]
    Topic(#[from] TopicError),
    /// `>` stands before the end.
    #[error("`>` stands in level {0} of a pattern; it may only be the last level")]
    RestNotLast(usize),
    /// `*` or `>` stands beside other characters in a level.
    #[error(
        "level {0} of a pattern mixes a wildcard with other characters; a wildcard is a whole level"
    )]
    MixedLevel(usize),
}

impl PatternError {
    /// The code that a peer is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::BadPattern
    }
}

/// Checks bytes against the grammar of topics, without allocating.
///
/// # Errors
///
/// The first breach that is found.
pub fn check_topic(bytes: &[u8]) -> Result<&str, TopicError> {
    check_levels(bytes, is_level_byte)?;
    // Every byte was seen to be ASCII, so this cannot fail; the check keeps the crate free of unsafe.
    std::str::from_utf8(bytes).map_err(|_| TopicError::Empty)
}

fn is_level_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn check_levels(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> Result<(), TopicError> {
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > usize::from(MAX_TOPIC_BYTES) {
        return Err(TopicError::TooLong(bytes.len()));
    }
    let (mut level, mut level_start) = (1, usize::from(bytes.first() == Some(&b'$')));
    for (position, &byte) in bytes.iter().enumerate().skip(level_start) {
        if byte == b'.' {
            if position == level_start {
                return Err(TopicError::EmptyLevel(level));
            }
            level += 1;
            level_start = position + 1;
        } else if !allowed(byte) {
            return Err(TopicError::BadByte { byte, position });
        }
    }
    if level_start == bytes.len() {
        return Err(TopicError::EmptyLevel(level));
    }
    if level > MAX_TOPIC_LEVELS {
        return Err(TopicError::TooManyLevels);
    }
    Ok(())
}

impl Topic {
    /// Parses a topic.
    ///
    /// # Errors
    ///
    /// Text that breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_topic(text.as_bytes()).map(|text| Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels, from the first.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether it belongs to the router.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Text that breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_levels(text.as_bytes(), |byte| is_level_byte(byte) || matches!(byte, b'*' | b'>'))?;
        let levels = text.split('.').count();
        for (index, level) in text.split('.').enumerate() {
            if level.contains(['*', '>']) && level.len() > 1 {
                return Err(PatternError::MixedLevel(index + 1));
            }
            if level == ">" && index + 1 < levels {
                return Err(PatternError::RestNotLast(index + 1));
            }
        }
        Ok(Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels, from the first.
    pub fn levels(&self) -> impl Iterator<Item = PatternLevel<'_>> {
        self.0.split('.').map(|level| match level {
            "*" => PatternLevel::One,
            ">" => PatternLevel::Rest,
            literal => PatternLevel::Literal(literal),
        })
    }

    /// Whether it names a topic of the router.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether it matches a topic: the definition, level by level. A route table does this for many
    /// patterns at once.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut levels = topic.split('.').enumerate();
        for pattern_level in self.levels() {
            let Some((index, level)) = levels.next() else {
                return false;
            };
            let hidden = index == 0 && level.starts_with('$');
            match pattern_level {
                PatternLevel::Literal(literal) if literal == level => {}
                PatternLevel::One if !hidden => {}
                PatternLevel::Rest => return !hidden,
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether there is a topic that both match. That a topic has no more than 16 levels is left out of account.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // A wildcard matches no first level of the router, which only a literal names.
        let differ = self.is_system() != other.is_system();
        let (mut ours, mut theirs) = (self.levels(), other.levels());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(PatternLevel::Rest), Some(_)) | (Some(_), Some(PatternLevel::Rest)) => {
                    return !differ;
                }
                (Some(PatternLevel::Literal(one)), Some(PatternLevel::Literal(other)))
                    if one != other =>
                {
                    return false;
                }
                (Some(_), Some(_)) if differ => return false,
                (Some(_), Some(_)) => {}
                _ => return false,
            }
        }
    }

    /// Whether it matches every topic that the other one matches, as far as the levels tell. That a topic has no
    /// more than 16 levels is left out of account.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.levels().enumerate();
        for level in self.levels() {
            let Some((index, other)) = others.next() else {
                return false;
            };
            let hidden = index == 0
                && matches!(other, PatternLevel::Literal(literal) if literal.starts_with('$'));
            match (level, other) {
                (PatternLevel::Literal(literal), PatternLevel::Literal(other))
                    if literal == other => {}
                (PatternLevel::One, PatternLevel::Literal(_) | PatternLevel::One) if !hidden => {}
                (PatternLevel::Rest, _) => return !hidden,
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

macro_rules! textual {
    ($name:ident, $error:ident) => {
        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{:?}", &*self.0)
            }
        }
    };
}

textual!(Topic, TopicError);
textual!(Pattern, PatternError);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, topic: &str, expected: bool) {
        let parsed = Pattern::parse(pattern).expect("the pattern is well formed");
        Topic::parse(topic).expect("the topic is well formed");
        assert_eq!(parsed.matches(topic), expected, "{pattern} on {topic}");
    }

    #[test]
    fn patterns_match_by_level() {
        check("a.b", "a.b", true);
        check("a.b", "a.b.c", false);
        check("a.*", "a.b", true);
        check("a.*", "a", false);
        check("*.b", "a.b", true);
        check("a.>", "a.b.c", true);
        check("a.>", "a", false);
        check(">", "a.b", true);
    }

    #[test]
    fn wildcards_never_match_a_first_level_of_the_router() {
        check(">", "$dead.quakes", false);
        check("*.quakes", "$dead.quakes", false);
        check("$dead.>", "$dead.quakes", true);
        check("$dead.*", "$dead.quakes", true);
    }

    #[test]
    fn a_pattern_covers_what_matches_nothing_else() {
        for (pattern, other, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.b", "a.*", false),
            ("a.>", "a.*.c", true),
            ("a.>", "a.>", true),
            ("a.>", "a", false),
            ("a.*", "a.>", false),
            ("a.*", "a.b.c", false),
            ("*.b", "*.b", true),
            (">", "*", true),
            (">", "$dead.a", false),
            ("*.a", "$dead.a", false),
            ("$dead.>", "$dead.*", true),
        ] {
            let parsed = |text| Pattern::parse(text).expect("the pattern is well formed");
            assert_eq!(parsed(pattern).covers(&parsed(other)), expected, "{pattern} over {other}");
        }
    }

    #[test]
    fn patterns_overlap_where_a_topic_matches_both() {
        for (one, other, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "*.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "*.*.c", true),
            ("a.>", "a", false),
            ("a.>", "b.>", false),
            (">", "a", true),
            (">", "$dead.a", false),
            ("*.a", "$dead.a", false),
            ("$dead.>", "$dead.*", true),
        ] {
            let parsed = |text| Pattern::parse(text).expect("the pattern is well formed");
            let (first, second) = (parsed(one), parsed(other));
            assert_eq!(first.overlaps(&second), expected, "{one} and {other}");
            assert_eq!(second.overlaps(&first), expected, "{other} and {one}");
        }
    }

    #[test]
    fn a_byte_that_no_level_has_is_told_as_people_know_it() {
        let told = |text: &str| check_topic(text.as_bytes()).expect_err(text).to_string();
        for (text, shown) in [
            ("a.*", "'*' at byte 2"),
            ("a b", "a space at byte 1"),
            ("a\n", "the control character 0x0a at byte 1"),
            ("a.\u{e9}", "a character that is not ASCII at byte 2"),
        ] {
            assert!(told(text).starts_with(&format!("a topic has {shown}, ")), "{}", told(text));
        }
    }

    #[test]
    fn a_breach_of_the_grammar_says_what_and_where() {
        let seventeen = ["a"; 17].join(".");
        for (text, expected) in [
            ("", TopicError::Empty),
            ("a..b", TopicError::EmptyLevel(2)),
            (".a", TopicError::EmptyLevel(1)),
            ("a.", TopicError::EmptyLevel(2)),
            ("$", TopicError::EmptyLevel(1)),
            ("a.$b", TopicError::BadByte { byte: b'$', position: 2 }),
            ("a b", TopicError::BadByte { byte: b' ', position: 1 }),
            ("a.*", TopicError::BadByte { byte: b'*', position: 2 }),
            (seventeen.as_str(), TopicError::TooManyLevels),
            ("x".repeat(256).as_str(), TopicError::TooLong(256)),
        ] {
            assert_eq!(Topic::parse(text), Err(expected), "{text}");
        }
        assert_eq!(Pattern::parse("a.>.b"), Err(PatternError::RestNotLast(2)));
        assert_eq!(Pattern::parse("a.b*"), Err(PatternError::MixedLevel(2)));
    }
}
