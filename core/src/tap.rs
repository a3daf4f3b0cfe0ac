//! How much of the traffic a tap shows: so many messages a second, however many pass.

/// A budget for each second.
#[derive(Debug, Clone)]
pub struct TapBudget {
    per_second: u32,
    left: u32,
    second: u64,
}

impl TapBudget {
    /// So many messages a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, left: 0, second: u64::MAX }
    }

    /// Whether one more may be shown at this time, in milliseconds since any fixed moment; it is then counted.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        if second != self.second {
            (self.second, self.left) = (second, self.per_second);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_budget() {
        let mut budget = TapBudget::new(2);
        let taken: Vec<bool> =
            [0, 1, 999, 1000, 1500, 1999, 5000].map(|now| budget.take(now)).into();
        assert_eq!(taken, [true, true, false, true, true, false, true]);
    }

    #[test]
    fn nothing_is_shown_without_a_budget() {
        assert!(!TapBudget::new(0).take(0));
    }
}
