//! How much a subscription may still be sent, in messages and in bytes.
//!
//! The subscriber grants, the router takes; what is taken never exceeds what was granted.

use waypost_protocol::Batch;

/// A subscription's account. Grants add up; an overflow is kept at the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credit {
    messages: u64,
    bytes: u64,
}

/// More was to be taken than is left; nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{messages} messages of {bytes} bytes are over the credit of {left:?}")]
pub struct CreditExceeded {
    /// The messages that were to be taken.
    pub messages: u64,
    /// The bytes that were to be taken.
    pub bytes: u64,
    /// What is left.
    pub left: Credit,
}

impl Credit {
    /// An account with a first grant.
    #[must_use]
    pub fn new(messages: u64, bytes: u64) -> Self {
        Self { messages, bytes }
    }

    /// Messages that may still be sent.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes that may still be sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a grant.
    pub fn grant(&mut self, messages: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(messages);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes a delivery's messages and bytes.
    ///
    /// # Errors
    ///
    /// One of the two is not covered; the account is then unchanged.
    pub fn take(&mut self, messages: u64, bytes: u64) -> Result<(), CreditExceeded> {
        let exceeded = CreditExceeded { messages, bytes, left: *self };
        let left = self.messages.checked_sub(messages).zip(self.bytes.checked_sub(bytes));
        let (messages, bytes) = left.ok_or(exceeded)?;
        *self = Self { messages, bytes };
        Ok(())
    }

    /// Takes a whole batch.
    ///
    /// # Errors
    ///
    /// It is not covered; the account is then unchanged.
    pub fn take_batch(&mut self, batch: &Batch) -> Result<(), CreditExceeded> {
        self.take(batch.len() as u64, batch.byte_len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_take_over_either_measure_changes_nothing() {
        let mut credit = Credit::new(2, 100);
        assert!(credit.take(3, 1).is_err() && credit.take(1, 101).is_err());
        assert_eq!(credit, Credit::new(2, 100));
        credit.take(2, 100).expect("it is covered to the last byte");
        assert_eq!(credit, Credit::default());
    }

    proptest! {
        #[test]
        fn what_is_taken_never_exceeds_what_was_granted(
            steps in prop::collection::vec((any::<bool>(), 0..50_u64, 0..5000_u64), 0..100),
        ) {
            let (mut credit, mut granted, mut taken) = (Credit::default(), (0, 0), (0, 0));
            for (grants, messages, bytes) in steps {
                if grants {
                    credit.grant(messages, bytes);
                    granted = (granted.0 + messages, granted.1 + bytes);
                } else if credit.take(messages, bytes).is_ok() {
                    taken = (taken.0 + messages, taken.1 + bytes);
                }
                prop_assert_eq!(granted, (taken.0 + credit.messages(), taken.1 + credit.bytes()));
            }
        }
    }
}
