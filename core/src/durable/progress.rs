//! How far a lane came in its partition, and how far it may say so.

use waypost_protocol::Offset;

/// A lane's progress: each step begins where the one before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Where the last step ended.
    told: Offset,
    /// Everything before it was read.
    read: Offset,
}

/// A step from one offset to another; the same twice when only something else changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The progress before.
    pub from: Offset,
    /// The offset that is read next after it.
    pub to: Offset,
}

impl Progress {
    /// At the offset that is stored.
    #[must_use]
    pub fn new(stored: Offset) -> Self {
        Self { told: stored, read: stored }
    }

    /// The offset that is read next.
    #[must_use]
    pub fn read(&self) -> Offset {
        self.read
    }

    /// Everything before this offset was read.
    pub fn read_to(&mut self, offset: Offset) {
        self.read = self.read.max(offset);
    }

    /// Whether something was read that no step tells of.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.read > self.told
    }

    /// The next step. `undone` is the first message of which something is still to be done; what was read
    /// before it is through. A message that waited in the store is behind every step, and holds none back.
    pub fn step(&mut self, undone: Option<Offset>) -> Advance {
        let from = self.told;
        let through = undone.map_or(self.read, |undone| undone.min(self.read));
        self.told = from.max(through);
        Advance { from, to: self.told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(progress: &mut Progress, undone: Option<u64>, expected: (u64, u64)) {
        let Advance { from, to } = progress.step(undone.map(Offset));
        assert_eq!((from.0, to.0), expected);
    }

    #[test]
    fn each_step_begins_where_the_one_before_ended() {
        let mut progress = Progress::new(Offset(10));
        assert!(!progress.is_ahead());
        progress.read_to(Offset(20));
        assert!(progress.is_ahead());
        check(&mut progress, None, (10, 20));
        progress.read_to(Offset(25));
        check(&mut progress, None, (20, 25));
        check(&mut progress, None, (25, 25));
    }

    #[test]
    fn no_step_passes_a_message_of_which_something_is_to_be_done() {
        let mut progress = Progress::new(Offset(0));
        progress.read_to(Offset(100));
        check(&mut progress, Some(40), (0, 40));
        check(&mut progress, Some(40), (40, 40));
        assert!(progress.is_ahead());
        check(&mut progress, None, (40, 100));
    }

    #[test]
    fn a_message_that_waited_in_the_store_takes_no_step_back() {
        let mut progress = Progress::new(Offset(50));
        check(&mut progress, Some(7), (50, 50));
        progress.read_to(Offset(60));
        check(&mut progress, Some(7), (50, 50));
        check(&mut progress, None, (50, 60));
    }
}
