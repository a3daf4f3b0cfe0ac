//! When a new version of a plugin is rolled back by itself: its failure rate jumped.

/// What the router does about a version that fails more than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackPolicy {
    /// Whether anything is rolled back by itself.
    pub enabled: bool,
    /// How long a version is watched after it was swapped in, in milliseconds.
    pub window_ms: u32,
    /// The failed messages that it takes at least: a few are no rate.
    pub min_failures: u32,
    /// By how many percentage points of its messages it fails more than the version before.
    pub failure_percent: u32,
}

impl Default for RollbackPolicy {
    fn default() -> Self {
        Self { enabled: true, window_ms: 60_000, min_failures: 5, failure_percent: 5 }
    }
}

/// Messages that came to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Those that it gave a verdict on.
    pub verdicts: u64,
    /// Those that it failed on.
    pub failures: u64,
}

impl Counts {
    /// What was counted since an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            verdicts: self.verdicts.saturating_sub(earlier.verdicts),
            failures: self.failures.saturating_sub(earlier.failures),
        }
    }

    /// What was counted in both places.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            verdicts: self.verdicts.saturating_add(other.verdicts),
            failures: self.failures.saturating_add(other.failures),
        }
    }

    /// The share of failures in percent; none where there was nothing.
    fn percent(self) -> f64 {
        match self.verdicts.saturating_add(self.failures) {
            0 => 0.0,
            all => self.failures as f64 * 100.0 / all as f64,
        }
    }
}

impl RollbackPolicy {
    /// Whether a version that did `now` is to be rolled back to the one that did `before`.
    #[must_use]
    pub fn is_due(&self, before: Counts, now: Counts) -> bool {
        self.enabled
            && now.failures >= u64::from(self.min_failures)
            && now.percent() - before.percent() >= f64::from(self.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(verdicts: u64, failures: u64) -> Counts {
        Counts { verdicts, failures }
    }

    #[test]
    fn a_jump_of_the_rate_is_due_and_the_old_rate_is_not() {
        let policy = RollbackPolicy::default();
        assert!(policy.is_due(counts(1000, 0), counts(90, 10)));
        assert!(!policy.is_due(counts(900, 100), counts(90, 10)), "it failed as often before");
        assert!(policy.is_due(counts(900, 100), counts(80, 20)));
    }

    #[test]
    fn a_few_failures_are_no_rate() {
        let policy = RollbackPolicy::default();
        assert!(!policy.is_due(counts(0, 0), counts(0, 4)));
        assert!(policy.is_due(counts(0, 0), counts(0, 5)));
        assert!(!policy.is_due(counts(0, 0), counts(1000, 5)), "half a percent is below the bound");
    }

    #[test]
    fn nothing_is_due_where_it_is_switched_off() {
        let policy = RollbackPolicy { enabled: false, ..RollbackPolicy::default() };
        assert!(!policy.is_due(counts(1000, 0), counts(0, 1000)));
    }
}
