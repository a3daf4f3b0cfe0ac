//! Which letters of a partition have left it.

use waypost_protocol::Offset;

use crate::GroupPosition;

/// Ranges of letters that have left, in a partition, at most: what is kept of them is written anew whenever one
/// leaves.
pub const MAX_SETTLED_RANGES: usize = 65_536;

/// The letters of a partition that were replayed or purged, as the position of a group that is done with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettledLetters(GroupPosition);

/// Letters left in so many places that no more of them can be kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "letters have left in {MAX_SETTLED_RANGES} separate places of the partition, as many as are kept apart; purge the \
     oldest ones first, which makes one place of many"
)]
pub struct TooScattered;

impl SettledLetters {
    /// As it was stored.
    #[must_use]
    pub fn new(position: GroupPosition) -> Self {
        Self(position)
    }

    /// As it is stored.
    #[must_use]
    pub fn into_position(self) -> GroupPosition {
        self.0
    }

    /// Every letter before this offset has left, or was trimmed.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.0.floor
    }

    /// Whether the letter at an offset has left.
    #[must_use]
    pub fn has(&self, offset: Offset) -> bool {
        offset < self.0.floor || self.0.done.contains(offset)
    }

    /// Lets letters leave. What stood before `first` was trimmed, and is not told apart any more.
    ///
    /// # Errors
    ///
    /// They stand in too many places; it is to be used no further then.
    pub fn settle(
        &mut self,
        first: Offset,
        letters: impl IntoIterator<Item = Offset>,
    ) -> Result<(), TooScattered> {
        let GroupPosition { floor, done, .. } = &mut self.0;
        *floor = (*floor).max(first);
        for offset in letters.into_iter().filter(|offset| *offset >= *floor) {
            done.insert(offset);
        }
        *floor = done.advance(*floor);
        if done.ranges() > MAX_SETTLED_RANGES { Err(TooScattered) } else { Ok(()) }
    }
}
