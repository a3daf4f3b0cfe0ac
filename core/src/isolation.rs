//! Finding the messages that a plugin fails on, so that they never take their neighbours with them.
//!
//! A batch on which a call failed is called whole once more, on a fresh instance; if that fails too, it
//! is halved again and again until the messages that fail alone stand alone. Parts come in the order of
//! the batch, so what succeeds keeps its order.

use std::ops::Range;

/// How often a plugin may fail on one batch before its stage's breaker opens.
pub const DEFAULT_FAILED_CALLS: u32 = 16;

/// One batch on its way through one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    next: Part,
    /// What follows, the nearest last.
    later: Vec<Part>,
    budget: u32,
    failed_calls: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    range: Range<usize>,
    /// Calls that failed with these messages in them.
    failures: u32,
}

/// What follows from a call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AfterFailure {
    /// The message that fails alone, with the number of calls that failed on it.
    pub guilty: Option<(usize, u32)>,
    /// The budget of calls is used up: the breaker shall open before the next one.
    pub is_exhausted: bool,
}

impl Isolation {
    /// A batch of so many messages, at least one, of which nothing was called yet. `budget` is the number
    /// of calls that may fail.
    #[must_use]
    pub fn new(messages: usize, budget: u32) -> Self {
        let next = Part { range: 0..messages.max(1), failures: 0 };
        Self { next, later: Vec::new(), budget: budget.max(1), failed_calls: 0 }
    }

    /// The messages for the next call.
    #[must_use]
    pub fn part(&self) -> Range<usize> {
        self.next.range.clone()
    }

    /// All messages that are not through, those for the next call first.
    #[must_use]
    pub fn rest(&self) -> Range<usize> {
        let end = self.later.first().map_or(self.next.range.end, |last| last.range.end);
        self.next.range.start..end
    }

    /// The next call goes over the whole batch for the first time.
    #[must_use]
    pub fn is_untried(&self) -> bool {
        self.next.failures == 0
    }

    /// The call succeeded: what comes of the part stands. `None` when it was the last.
    #[must_use]
    pub fn succeeded(mut self) -> Option<Self> {
        self.next = self.later.pop()?;
        Some(self)
    }

    /// The call failed: nothing that it did stands. Gives what follows from it, and the rest to be called;
    /// `None` when nothing is left.
    #[must_use]
    pub fn failed(mut self) -> (AfterFailure, Option<Self>) {
        self.failed_calls += 1;
        let is_exhausted = self.failed_calls >= self.budget;
        if is_exhausted {
            // Whoever waits for the breaker has a budget again.
            self.failed_calls = 0;
        }
        self.next.failures = self.next.failures.saturating_add(1);
        let Part { range, failures } = self.next.clone();
        if failures == 1 {
            return (AfterFailure { guilty: None, is_exhausted }, Some(self));
        }
        if range.len() == 1 {
            let guilty = Some((range.start, failures));
            return (AfterFailure { guilty, is_exhausted }, self.succeeded());
        }
        let middle = range.start + range.len() / 2;
        self.later.push(Part { range: middle..range.end, failures });
        self.next = Part { range: range.start..middle, failures };
        (AfterFailure { guilty: None, is_exhausted }, Some(self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Runs a plugin that fails on these messages; gives what passed, what was guilty, and the calls that
    /// failed and succeeded.
    fn run(messages: usize, bad: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>, u32, u32) {
        let (mut passed, mut guilty, mut failed, mut succeeded) = (Vec::new(), Vec::new(), 0, 0);
        let mut next = Some(Isolation::new(messages, u32::MAX));
        while let Some(isolation) = next {
            let part = isolation.part();
            assert_eq!(isolation.rest(), passed.len() + guilty.len()..messages);
            if bad.range(part.clone()).next().is_some() {
                failed += 1;
                let (after, rest) = isolation.failed();
                guilty.extend(after.guilty.map(|(index, _)| index));
                next = rest;
            } else {
                succeeded += 1;
                passed.extend(part);
                next = isolation.succeeded();
            }
        }
        (passed, guilty, failed, succeeded)
    }

    #[test]
    fn a_batch_that_passes_is_one_call() {
        assert_eq!(run(64, &BTreeSet::new()), ((0..64).collect(), Vec::new(), 0, 1));
    }

    #[test]
    fn one_guilty_message_of_the_largest_default_batch_is_found_within_the_budget() {
        for bad in 0..1024 {
            let (passed, guilty, failed, _) = run(1024, &BTreeSet::from([bad]));
            assert_eq!((passed.len(), &*guilty), (1023, &[bad][..]));
            assert!(failed < DEFAULT_FAILED_CALLS, "{failed} calls failed");
        }
    }

    #[test]
    fn what_failed_once_by_accident_is_called_whole_again_and_stands() {
        let (after, rest) = Isolation::new(8, 16).failed();
        assert_eq!(after, AfterFailure { guilty: None, is_exhausted: false });
        let again = rest.expect("the same part");
        assert_eq!((again.part(), again.is_untried()), (0..8, false));
        assert_eq!(again.succeeded(), None);
    }

    #[test]
    fn a_message_alone_is_guilty_when_it_failed_twice() {
        let (_, rest) = Isolation::new(1, 16).failed();
        let (after, rest) = rest.expect("once more").failed();
        assert_eq!((after.guilty, rest), (Some((0, 2)), None));
    }

    #[test]
    fn a_plugin_that_always_fails_uses_its_budget_up_and_then_has_it_again() {
        let (mut rest, mut calls, mut guilty) = (Some(Isolation::new(64, 16)), 0, 0);
        let mut exhausted = Vec::new();
        while let Some(isolation) = rest {
            calls += 1;
            let (after, next) = isolation.failed();
            guilty += usize::from(after.guilty.is_some());
            if after.is_exhausted {
                exhausted.push(calls);
            }
            rest = next;
        }
        assert_eq!(guilty, 64);
        assert!(exhausted.iter().zip(1..).all(|(at, round)| *at == round * 16), "{exhausted:?}");
    }

    proptest! {
        #[test]
        fn the_guilty_are_found_and_the_others_pass_in_order(
            messages in 1..300_usize,
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bad: BTreeSet<usize> = picks.iter().map(|pick| pick.index(messages)).collect();
            let (passed, guilty, ..) = run(messages, &bad);
            prop_assert_eq!(guilty, bad.iter().copied().collect::<Vec<_>>());
            let good: Vec<usize> = (0..messages).filter(|index| !bad.contains(index)).collect();
            prop_assert_eq!(passed, good);
        }
    }
}
