//! What becomes of an attempt to connect while many others do, or are connected.

/// How many may be connected and connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingPolicy {
    /// Connections at a time, those that are in their handshake too.
    pub max_connections: usize,
    /// Handshakes at a time.
    pub max_handshakes: usize,
    /// With more handshakes than this at a time, that of the attempt counted, an attempt must show first that
    /// its address is its own.
    pub retry_above_handshakes: usize,
}

/// What stands when an attempt comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingLoad {
    /// Connections, those that are in their handshake too.
    pub connections: usize,
    /// Handshakes.
    pub handshakes: usize,
}

/// An attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it has shown that what is sent to its address comes to it.
    pub is_validated: bool,
    /// Whether it can be asked to show that.
    pub may_retry: bool,
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingAction {
    /// Its handshake begins.
    Accept,
    /// It is to come again with a token that was sent to its address.
    Retry,
    /// It is told that there is no room.
    Refuse,
    /// It is not answered. Who means it sends again, and finds room once other handshakes have ended.
    Ignore,
}

impl IncomingPolicy {
    /// What becomes of an attempt under this load.
    ///
    /// An attempt that gave a wrong address costs one packet at most: nothing is kept of it, and the answer
    /// is no larger than the attempt. So the limits hold for those who have shown their address, as soon
    /// as there are so many attempts that it matters.
    #[must_use]
    pub fn action(&self, load: IncomingLoad, attempt: Attempt) -> IncomingAction {
        let handshakes = load.handshakes.saturating_add(1);
        if load.connections >= self.max_connections {
            IncomingAction::Refuse
        } else if handshakes > self.retry_above_handshakes
            && !attempt.is_validated
            && attempt.may_retry
        {
            IncomingAction::Retry
        } else if handshakes > self.max_handshakes {
            IncomingAction::Ignore
        } else {
            IncomingAction::Accept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: IncomingPolicy =
        IncomingPolicy { max_connections: 10, max_handshakes: 4, retry_above_handshakes: 2 };
    const STRANGER: Attempt = Attempt { is_validated: false, may_retry: true };
    const VALIDATED: Attempt = Attempt { is_validated: true, may_retry: false };

    fn check(
        policy: IncomingPolicy,
        (connections, handshakes): (usize, usize),
        attempt: Attempt,
        expected: IncomingAction,
    ) {
        let load = IncomingLoad { connections, handshakes };
        assert_eq!(policy.action(load, attempt), expected, "{load:?} {attempt:?}");
    }

    #[test]
    fn few_at_a_time_are_accepted_at_once() {
        check(POLICY, (0, 0), STRANGER, IncomingAction::Accept);
        check(POLICY, (9, 1), STRANGER, IncomingAction::Accept);
    }

    #[test]
    fn above_the_threshold_an_address_is_validated_first() {
        check(POLICY, (2, 2), STRANGER, IncomingAction::Retry);
        check(POLICY, (2, 2), VALIDATED, IncomingAction::Accept);
        check(POLICY, (4, 4), STRANGER, IncomingAction::Retry);
    }

    #[test]
    fn who_was_validated_waits_without_an_answer_for_a_handshake_to_end() {
        check(POLICY, (4, 4), VALIDATED, IncomingAction::Ignore);
        check(POLICY, (4, 3), VALIDATED, IncomingAction::Accept);
    }

    #[test]
    fn whoever_comes_when_all_connections_stand_is_told_so() {
        check(POLICY, (10, 0), STRANGER, IncomingAction::Refuse);
        check(POLICY, (10, 4), VALIDATED, IncomingAction::Refuse);
    }

    #[test]
    fn a_threshold_of_zero_validates_every_address() {
        let policy = IncomingPolicy { retry_above_handshakes: 0, ..POLICY };
        check(policy, (0, 0), STRANGER, IncomingAction::Retry);
        check(policy, (0, 0), VALIDATED, IncomingAction::Accept);
    }

    #[test]
    fn a_threshold_at_the_limit_of_handshakes_validates_none() {
        let policy = IncomingPolicy { retry_above_handshakes: 4, ..POLICY };
        check(policy, (3, 3), STRANGER, IncomingAction::Accept);
        check(policy, (4, 4), VALIDATED, IncomingAction::Ignore);
    }
}
