//! How often the same trouble is told: so many times a second, and afterwards how many were not told.

use crate::TapBudget;

/// Decides what is told of one kind of trouble.
///
/// [`handle`](Self::handle) is called for each occurrence, [`poll_untold`](Self::poll_untold) at any time after it.
#[derive(Debug, Clone)]
pub struct Reports {
    budget: TapBudget,
    untold: u64,
    /// The second in which the last one was not told.
    second: u64,
}

/// What becomes of one occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It is told, and with it that so many before it were not.
    Tell {
        /// How many.
        untold: u64,
    },
    /// As many were told in this second as may be.
    Pass,
}

impl Reports {
    /// So many are told in a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { budget: TapBudget::new(per_second), untold: 0, second: 0 }
    }

    /// One more, at this time in milliseconds since any fixed moment.
    pub fn handle(&mut self, now_ms: u64) -> Report {
        if self.budget.take(now_ms) {
            return Report::Tell { untold: std::mem::take(&mut self.untold) };
        }
        self.untold = self.untold.saturating_add(1);
        self.second = now_ms / 1000;
        Report::Pass
    }

    /// Whether any was not told so far.
    #[must_use]
    pub fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// How many were not told, once a second has come in which none was left out.
    pub fn poll_untold(&mut self, now_ms: u64) -> Option<u64> {
        let is_over = self.untold > 0 && now_ms / 1000 != self.second;
        is_over.then(|| std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reports: &mut Reports, times: &[u64]) -> Vec<Option<u64>> {
        let handled = times.iter().map(|now| match reports.handle(*now) {
            Report::Tell { untold } => Some(untold),
            Report::Pass => None,
        });
        handled.collect()
    }

    #[test]
    fn so_many_a_second_are_told_and_the_next_one_says_how_many_were_not() {
        let mut reports = Reports::new(2);
        assert_eq!(told(&mut reports, &[0, 1, 2, 999]), [Some(0), Some(0), None, None]);
        assert_eq!(told(&mut reports, &[1000, 1001, 1002]), [Some(2), Some(0), None]);
    }

    #[test]
    fn what_was_not_told_is_summed_up_once_when_its_second_is_over() {
        let mut reports = Reports::new(1);
        assert_eq!(reports.poll_untold(0), None);
        assert_eq!(told(&mut reports, &[0, 1, 2]), [Some(0), None, None]);
        assert_eq!((reports.has_untold(), reports.poll_untold(999)), (true, None));
        assert_eq!(reports.poll_untold(1000), Some(2));
        assert_eq!((reports.has_untold(), reports.poll_untold(5000)), (false, None));
        assert_eq!(told(&mut reports, &[5000]), [Some(0)]);
    }
}
