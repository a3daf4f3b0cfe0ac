//! A subscription's credit, seen from the subscriber. Pure.
//!
//! The total is always divided into what the router may still send, what was delivered and is not
//! yet consumed, and what is consumed and not yet granted again. So neither the router nor the queue
//! ever holds more than the total, over however many connections.

/// Messages and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amount {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// The account of one subscription.
///
/// For each stream: [`begin`](Self::begin) for the first grant, [`delivered`](Self::delivered) for
/// what arrives, [`consumed`](Self::consumed) for what the application took, and
/// [`grant`](Self::grant) for what to add to the credit.
#[derive(Debug)]
pub(crate) struct Window {
    total: Amount,
    /// What the router may still send.
    granted: Amount,
    /// Delivered and not consumed.
    held: Amount,
    /// What a grant must amount to, in one of the two.
    chunk: Amount,
    /// What the router must be able to send at any time.
    least: Amount,
    /// Whether a stream waits to begin.
    parked: bool,
}

impl Amount {
    pub(crate) fn new(messages: u64, bytes: u64) -> Self {
        Self { messages, bytes }
    }

    fn checked_sub(self, other: Self) -> Option<Self> {
        let messages = self.messages.checked_sub(other.messages)?;
        Some(Self { messages, bytes: self.bytes.checked_sub(other.bytes)? })
    }

    fn less(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Window {
    pub(crate) fn new(total: Amount) -> Self {
        let (granted, held, chunk) = (Amount::default(), Amount::default(), Amount::default());
        Self { total, granted, held, chunk, least: Amount::default(), parked: false }
    }

    /// What to grant a new stream, on which a batch of one message may have so many bytes. `None`
    /// while too much of the last stream's is not consumed.
    pub(crate) fn begin(&mut self, largest_message_bytes: u64) -> Option<Amount> {
        self.least = Amount::new(1, largest_message_bytes.min(self.total.bytes));
        // Half of the total keeps the router sending while the grant is on its way. But what is kept
        // back must never leave it with less than one message needs, or both sides would wait.
        self.chunk = Amount {
            messages: (self.total.messages / 2).max(1),
            bytes: (self.total.bytes / 2).min(self.total.bytes - self.least.bytes).max(1),
        };
        self.granted = Amount::default();
        let first = self.total.less(self.held);
        self.parked = first.checked_sub(self.least).is_none() && self.held != Amount::default();
        if self.parked {
            return None;
        }
        self.granted = first;
        Some(first)
    }

    /// Takes note of a delivery. Says whether it was within the credit.
    #[must_use]
    pub(crate) fn delivered(&mut self, amount: Amount) -> bool {
        let Some(left) = self.granted.checked_sub(amount) else {
            return false;
        };
        self.granted = left;
        self.held = self.held.plus(amount);
        true
    }

    /// Takes note of what the application took. Says whether there is something to do about it.
    #[must_use]
    pub(crate) fn consumed(&mut self, amount: Amount) -> bool {
        self.held = self.held.less(amount);
        self.parked || self.is_due(self.free())
    }

    /// What to add to the router's credit, once it is worth a frame.
    pub(crate) fn grant(&mut self) -> Option<Amount> {
        self.is_due(self.free()).then(|| self.grant_rest()).flatten()
    }

    /// What to add to the router's credit although it is little, so that a slow application is not taken
    /// for one that stands still.
    pub(crate) fn grant_rest(&mut self) -> Option<Amount> {
        let free = self.free();
        if self.parked || free == Amount::default() {
            return None;
        }
        self.granted = self.granted.plus(free);
        Some(free)
    }

    /// Consumed, and not granted again.
    fn free(&self) -> Amount {
        self.total.less(self.held.plus(self.granted))
    }

    fn is_due(&self, free: Amount) -> bool {
        free.messages >= self.chunk.messages || free.bytes >= self.chunk.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_of_the_credit_is_granted_at_once() {
        let mut window = Window::new(Amount::new(10, 1000));
        assert_eq!(window.begin(100), Some(Amount::new(10, 1000)));
        assert!(window.delivered(Amount::new(5, 100)));
        assert!(!window.consumed(Amount::new(4, 80)));
        assert_eq!(window.grant(), None);
        assert!(window.consumed(Amount::new(1, 20)));
        assert_eq!(window.grant(), Some(Amount::new(5, 100)));
        assert_eq!(window.grant(), None);
    }

    #[test]
    fn what_is_less_is_granted_when_asked_for() {
        let mut window = Window::new(Amount::new(10, 1000));
        window.begin(100);
        assert_eq!(window.grant_rest(), None);
        assert!(window.delivered(Amount::new(2, 100)));
        assert_eq!(window.grant_rest(), None, "nothing is consumed");
        assert!(!window.consumed(Amount::new(1, 20)));
        assert_eq!(window.grant_rest(), Some(Amount::new(1, 20)));
        assert_eq!(window.grant_rest(), None);
    }

    #[test]
    fn bytes_are_granted_early_where_the_rest_could_not_carry_a_message() {
        let mut window = Window::new(Amount::new(10, 1000));
        assert_eq!(window.begin(900), Some(Amount::new(10, 1000)));
        assert!(window.delivered(Amount::new(1, 100)));
        assert!(window.consumed(Amount::new(1, 100)));
        assert_eq!(window.grant(), Some(Amount::new(1, 100)));
    }

    #[test]
    fn a_delivery_beyond_the_credit_is_seen() {
        let mut window = Window::new(Amount::new(2, 1000));
        assert_eq!(window.begin(100), Some(Amount::new(2, 1000)));
        assert!(!window.delivered(Amount::new(3, 10)));
        assert!(!window.delivered(Amount::new(1, 1001)));
        assert!(window.delivered(Amount::new(2, 1000)));
        assert!(!window.delivered(Amount::new(1, 1)));
    }

    #[test]
    fn a_new_stream_is_granted_what_the_last_one_does_not_hold() {
        let mut window = Window::new(Amount::new(10, 1000));
        window.begin(100);
        assert!(window.delivered(Amount::new(4, 950)));
        assert_eq!(window.begin(100), None, "50 bytes carry no message of 100");
        assert!(window.consumed(Amount::new(1, 50)));
        assert_eq!(window.begin(100), Some(Amount::new(7, 100)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deliver(u64, u64),
        Consume,
        Reconnect,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1..20_u64, 1..120_u64).prop_map(|(messages, bytes)| Step::Deliver(messages, bytes)),
            4 => Just(Step::Consume),
            1 => Just(Step::Reconnect),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// A router that knows only the grants never holds more than the total together with the
        /// queue, and can always send a message once everything is consumed.
        #[test]
        fn credit_is_bounded_and_never_runs_dry(
            messages in 1..50_u64, bytes in 100..2000_u64, steps in steps(),
        ) {
            let least = 100;
            let mut window = Window::new(Amount::new(messages, bytes));
            let mut credit = window.begin(least).expect("nothing is held");
            let mut queue = std::collections::VecDeque::new();
            for step in steps {
                match step {
                    Step::Deliver(messages, bytes) => {
                        let amount = Amount::new(messages.min(credit.messages), bytes.min(credit.bytes));
                        if amount.messages > 0 {
                            credit = credit.less(amount);
                            prop_assert!(window.delivered(amount));
                            queue.push_back(amount);
                        }
                    }
                    Step::Consume => if let Some(amount) = queue.pop_front()
                        && window.consumed(amount)
                        && let Some(grant) = window.grant()
                    {
                        credit = credit.plus(grant);
                    },
                    Step::Reconnect => loop {
                        if let Some(first) = window.begin(least) {
                            credit = first;
                            break;
                        }
                        let amount = queue.pop_front().expect("an empty queue would let it begin");
                        prop_assert!(window.consumed(amount), "the parked stream is told");
                    },
                }
                let held = queue.iter().fold(credit, |sum, amount| sum.plus(*amount));
                prop_assert!(held.messages <= messages && held.bytes <= bytes);
                if queue.is_empty() {
                    prop_assert!(credit.messages >= 1 && credit.bytes >= least);
                }
            }
        }
    }
}
