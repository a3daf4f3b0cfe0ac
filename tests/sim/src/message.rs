//! What the messages of the simulation carry, and what the plugins of its route make of each.

use waypost_protocol::{Batch, BatchBuilder, HeadersBuilder, MessageView, TTL, TimeToLive};

/// The index of a message that stage `split` has not divided.
pub(crate) const WHOLE: u8 = u8::MAX;
/// When publishers say that they made their messages.
const CREATED_MS: u64 = 1_700_000_000_000;

/// A message as its publisher numbered it. Numbers are never used twice in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(pub(crate) u64);

/// What becomes of a message in the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Forward,
    /// It ends.
    Drop,
    /// So many replace it.
    Emit(u8),
    /// It is a dead letter.
    Reject,
    /// The plugin fails on it.
    Poison,
    /// It may have to be tried again in either stage, as often as chance has it.
    Flaky,
    /// So many replace it, each of which may have to be tried again.
    EmitFlaky(u8),
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) number: Number,
    pub(crate) fate: Fate,
    /// Which of those that it became, or [`WHOLE`].
    pub(crate) part: u8,
    /// How long it lives, in milliseconds, if not for ever.
    pub(crate) ttl_ms: Option<u16>,
}

impl Fate {
    /// The parts that are in the outputs or dead letters in the end: [`WHOLE`] where it is not divided.
    pub(crate) fn parts(self) -> Vec<u8> {
        match self {
            Self::Drop => Vec::new(),
            Self::Emit(count) | Self::EmitFlaky(count) => (0..count).collect(),
            Self::Forward | Self::Reject | Self::Poison | Self::Flaky => vec![WHOLE],
        }
    }

    fn byte(self) -> [u8; 2] {
        match self {
            Self::Forward => [0, 0],
            Self::Drop => [1, 0],
            Self::Emit(count) => [2, count],
            Self::Reject => [3, 0],
            Self::Poison => [4, 0],
            Self::Flaky => [5, 0],
            Self::EmitFlaky(count) => [6, count],
        }
    }

    fn of(bytes: [u8; 2]) -> Option<Self> {
        Some(match bytes {
            [0, 0] => Self::Forward,
            [1, 0] => Self::Drop,
            [2, count] => Self::Emit(count),
            [3, 0] => Self::Reject,
            [4, 0] => Self::Poison,
            [5, 0] => Self::Flaky,
            [6, count] => Self::EmitFlaky(count),
            _ => return None,
        })
    }
}

impl Content {
    pub(crate) fn payload(self) -> Vec<u8> {
        let mut payload = self.number.0.to_be_bytes().to_vec();
        payload.extend(self.fate.byte());
        payload.push(self.part);
        payload.extend(self.ttl_ms.unwrap_or(0).to_be_bytes());
        payload
    }

    /// What a payload says; `None` for one that no publisher made.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let (number, rest) = payload.split_first_chunk::<8>()?;
        let [kind, count, part, high, low] = *rest else { return None };
        let number = Number(u64::from_be_bytes(*number));
        let ttl_ms = Some(u16::from_be_bytes([high, low])).filter(|ms| *ms > 0);
        Some(Self { number, fate: Fate::of([kind, count])?, part, ttl_ms })
    }

    /// What a message says; `None` for one that no publisher made, or that has lost its time to live.
    pub(crate) fn read(message: MessageView<'_>) -> Option<Self> {
        let ttl = TimeToLive::of(message.headers()).ok()?;
        let content = Self::of(message.payload())?;
        (ttl.map(TimeToLive::ms) == content.ttl_ms.map(u64::from)).then_some(content)
    }

    /// When it is over that was taken in at a time.
    pub(crate) fn over_ms(self, ingest_ms: u64) -> Option<u64> {
        self.ttl_ms.map(|ttl_ms| ingest_ms + u64::from(ttl_ms))
    }
}

/// A key by its number; every eighth has none.
pub(crate) fn key(number: u8) -> Option<[u8; 1]> {
    (number % 8 != 7).then_some([number])
}

/// A batch of messages to one topic.
pub(crate) fn batch(
    topic: &str,
    messages: impl IntoIterator<Item = (Option<[u8; 1]>, Content)>,
) -> Batch {
    let mut builder = BatchBuilder::new();
    for (key, content) in messages {
        let key = key.as_ref().map(<[u8; 1]>::as_slice);
        let mut headers = HeadersBuilder::new();
        if let Some(ttl_ms) = content.ttl_ms {
            headers.push(TTL, ttl_ms.to_string().as_bytes()).expect("a small header fits");
        }
        let payload = content.payload();
        let pushed = builder.push(topic, key, headers.as_bytes(), &payload, CREATED_MS);
        pushed.expect("a small message fits");
    }
    builder.finish().expect("there is a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_was_put_into_it() {
        for fate in [Fate::Forward, Fate::Emit(3), Fate::EmitFlaky(2), Fate::Poison, Fate::Drop] {
            let content = Content { number: Number(70_000), fate, part: 1, ttl_ms: Some(9) };
            assert_eq!(Content::of(&content.payload()), Some(content));
        }
        assert_eq!(Content::of(b"something else"), None);
    }
}
