//! The circuit breaker of a stage: while it is open, messages wait instead of failing one by one.
//!
//! Closed, calls go. After so many failures in a row, or when it is tripped, it opens for a while; then
//! one call may try (half open). If that succeeds the breaker closes, otherwise it opens for twice as
//! long, up to a bound. A new version of the stage closes it. Time is an argument, in milliseconds of any
//! clock that does not go back.

/// When a stage's breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Messages in a row that the plugin failed on, each found guilty alone, with no call between them
    /// that succeeded.
    pub failures: u32,
    /// Calls that may fail on one batch while its guilty messages are looked for.
    pub failed_calls: u32,
    /// How long it is open at first, in milliseconds.
    pub open_ms: u32,
    /// How long it is open at most.
    pub max_open_ms: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            failed_calls: crate::isolation::DEFAULT_FAILED_CALLS,
            open_ms: 1000,
            max_open_ms: 60_000,
        }
    }
}

/// Whether a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// Not before this time; ask again then.
    WaitUntil(u64),
}

/// What an operator is told of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go.
    Closed,
    /// Messages wait.
    Open,
    /// One call tries.
    HalfOpen,
}

/// The breaker of one stage, shared by its lanes.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until_ms: u64, open_ms: u32 },
    // A call that never ends, because its lane did, must not keep the others waiting for ever.
    HalfOpen { until_ms: u64, open_ms: u32 },
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// What it is now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks whether a call may go now.
    pub fn admit(&mut self, now_ms: u64) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Go,
            State::Open { until_ms, open_ms } | State::HalfOpen { until_ms, open_ms } => {
                if now_ms < until_ms {
                    return Admission::WaitUntil(until_ms);
                }
                let until_ms = now_ms.saturating_add(u64::from(self.policy.max_open_ms.max(1)));
                self.state = State::HalfOpen { until_ms, open_ms };
                Admission::Go
            }
        }
    }

    /// A call succeeded. Whether that closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        let was_closed = matches!(self.state, State::Closed { .. });
        self.state = State::Closed { failures: 0 };
        !was_closed
    }

    /// A message failed alone. Whether that opened the breaker.
    pub fn failed(&mut self, now_ms: u64) -> bool {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                *failures >= self.policy.failures && self.trip(now_ms)
            }
            State::HalfOpen { .. } => self.trip(now_ms),
            State::Open { .. } => false,
        }
    }

    /// Opens it, for twice as long as before if it was half open. Whether it was not open yet.
    pub fn trip(&mut self, now_ms: u64) -> bool {
        let open_ms = match self.state {
            State::Open { .. } => return false,
            State::Closed { .. } => self.policy.open_ms,
            State::HalfOpen { open_ms, .. } => open_ms.saturating_mul(2),
        };
        let open_ms = open_ms.min(self.policy.max_open_ms);
        self.state = State::Open { until_ms: now_ms.saturating_add(u64::from(open_ms)), open_ms };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { failures: 3, failed_calls: 16, open_ms: 100, max_open_ms: 300 };

    fn open_at(now_ms: u64) -> Breaker {
        let mut breaker = Breaker::new(POLICY);
        assert!(breaker.trip(now_ms));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_alone() {
        let mut breaker = Breaker::new(POLICY);
        assert!(!breaker.failed(0) && !breaker.failed(0) && !breaker.succeeded());
        assert!(!breaker.failed(0) && !breaker.failed(0));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.failed(0));
        assert_eq!(breaker.admit(0), Admission::WaitUntil(100));
    }

    #[test]
    fn one_call_tries_after_the_wait_and_the_others_wait_for_it() {
        let mut breaker = open_at(0);
        assert_eq!(breaker.admit(99), Admission::WaitUntil(100));
        assert_eq!(breaker.admit(100), Admission::Go);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(101), Admission::WaitUntil(400));
        assert!(breaker.succeeded());
        assert_eq!(breaker.admit(102), Admission::Go);
    }

    #[test]
    fn a_try_that_never_ends_is_followed_by_another() {
        let mut breaker = open_at(0);
        assert_eq!(breaker.admit(100), Admission::Go);
        assert_eq!(breaker.admit(400), Admission::Go);
    }

    #[test]
    fn each_try_that_fails_doubles_the_wait_up_to_the_bound() {
        let mut breaker = open_at(0);
        let mut now = 100;
        for wait in [200, 300, 300] {
            assert_eq!(breaker.admit(now), Admission::Go);
            assert!(breaker.failed(now));
            assert_eq!(breaker.admit(now), Admission::WaitUntil(now + wait));
            now += wait;
        }
        assert_eq!(breaker.admit(now), Admission::Go);
        assert!(breaker.succeeded() && breaker.trip(now));
        assert_eq!(breaker.admit(now), Admission::WaitUntil(now + 100), "it forgot");
    }

    #[test]
    fn what_is_open_does_not_open_again() {
        let mut breaker = open_at(0);
        assert!(!breaker.trip(50) && !breaker.failed(50));
        assert_eq!(breaker.admit(60), Admission::WaitUntil(100));
    }
}
