//! How long to wait before the next attempt: exponential, with full jitter. Pure: the random number
//! is an argument.
//!
//! The ceiling doubles with each failure from `initial` up to `max`; the delay is drawn evenly
//! between nothing and the ceiling, so that clients which lost the same router do not return to it
//! together ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// Whether and how a lost connection is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The ceiling of the first delay.
    pub initial: Duration,
    /// The ceiling of any delay. A connection that stood for so long is taken for sound: the count
    /// of attempts begins anew after it.
    pub max: Duration,
    /// Attempts in a row before the client gives up; `None` is for ever.
    pub attempts: Option<u32>,
}

impl Default for Reconnect {
    /// From 50 ms to 5 s, for ever.
    fn default() -> Self {
        let (initial, max) = (Duration::from_millis(50), Duration::from_secs(5));
        Self { initial, max, attempts: None }
    }
}

impl Reconnect {
    /// A lost connection stays lost.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: Some(0), ..Self::default() }
    }
}

/// The attempts since something last worked.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Reconnect,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(policy: Reconnect) -> Self {
        Self { policy, attempts: 0 }
    }

    /// The delay before one more attempt, or `None` when there were enough. `random` lies in 0..1.
    pub(crate) fn next(&mut self, random: f64) -> Option<Duration> {
        if self.policy.attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let doubled =
            2_u32.checked_pow(self.attempts).and_then(|by| self.policy.initial.checked_mul(by));
        let ceiling = doubled.map_or(self.policy.max, |ceiling| ceiling.min(self.policy.max));
        self.attempts = self.attempts.saturating_add(1);
        Some(ceiling.mul_f64(random.clamp(0.0, 1.0)))
    }

    /// The attempts that were made.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(attempts: Option<u32>) -> Reconnect {
        Reconnect { initial: Duration::from_secs(1), max: Duration::from_secs(10), attempts }
    }

    fn delays(backoff: &mut Backoff, random: f64) -> Vec<Option<u64>> {
        let next = |_| backoff.next(random).map(|delay| delay.as_secs());
        (0..6).map(next).collect()
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_largest() {
        let mut backoff = Backoff::new(policy(None));
        let expected = [1, 2, 4, 8, 10, 10].map(Some);
        assert_eq!(delays(&mut backoff, 1.0), expected);
        backoff.reset();
        assert_eq!(delays(&mut backoff, 1.0), expected);
    }

    #[test]
    fn the_delay_is_drawn_from_the_whole_range() {
        assert_eq!(delays(&mut Backoff::new(policy(None)), 0.0), [Some(0); 6]);
        assert_eq!(delays(&mut Backoff::new(policy(None)), 0.5), [0, 1, 2, 4, 5, 5].map(Some));
    }

    #[test]
    fn it_ends_after_the_allowed_attempts() {
        let mut backoff = Backoff::new(policy(Some(2)));
        assert_eq!(delays(&mut backoff, 1.0), [Some(1), Some(2), None, None, None, None]);
        assert_eq!(backoff.attempts(), 2);
        assert_eq!(Backoff::new(Reconnect::never()).next(0.5), None);
    }

    #[test]
    fn countless_attempts_overflow_nothing() {
        let mut backoff = Backoff { policy: policy(None), attempts: u32::MAX };
        assert_eq!(backoff.next(1.0), Some(Duration::from_secs(10)));
    }
}
