//! What of a ledger outlives the router.

use std::borrow::Cow;

use waypost_protocol::Offset;

use super::Ranges;

/// How far a group came in a partition. What it held and had not failed is given out anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupPosition {
    /// Everything before it is done.
    pub floor: Offset,
    /// What is done at it or above.
    pub done: Ranges,
    /// What failed and is not done, by its offset.
    pub failed: Vec<FailedMessage>,
}

/// A message that failed and is to be given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedMessage {
    /// Which.
    pub offset: Offset,
    /// The hash of its key, if it has one.
    pub key: Option<u64>,
    /// How often it failed.
    pub failures: u32,
    /// When it is given out again, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// When it failed first.
    pub first_failure_ms: u64,
}

impl GroupPosition {
    /// The position of a group that begins at an offset.
    #[must_use]
    pub fn at(floor: Offset) -> Self {
        Self { floor, ..Self::default() }
    }

    /// The position in a partition that begins at an offset, as retention took what stood before it.
    #[must_use]
    pub fn trimmed(&self, first: Offset) -> Cow<'_, Self> {
        if first <= self.floor {
            return Cow::Borrowed(self);
        }
        let mut trimmed = self.clone();
        trimmed.floor = trimmed.done.advance(first);
        trimmed.failed.retain(|failed| failed.offset >= first);
        Cow::Owned(trimmed)
    }

    /// How many messages before `next` are not done.
    #[must_use]
    pub fn lag(&self, next: Offset) -> u64 {
        next.0.saturating_sub(self.floor.0).saturating_sub(self.done.count())
    }

    /// Whether it says what can be: what is done and what failed stands at the floor or above, in order, and
    /// nothing is both.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let above = |offset: Offset| offset >= self.floor;
        self.done.iter().next().is_none_or(|range| above(range.first))
            && self.failed.is_sorted_by(|one, next| one.offset < next.offset)
            && self.failed.iter().all(|each| above(each.offset) && !self.done.contains(each.offset))
    }
}
