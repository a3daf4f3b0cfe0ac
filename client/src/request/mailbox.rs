//! Where replies go just now. `Away => (Standing | Ended)`, `Standing => (Leaving | Away | Ended)`,
//! `Leaving => (Away | Ended)`.

use tokio::sync::watch;
use waypost_protocol::{ConnectionId, Inbox};

use crate::{Disconnected, SubscribeError};

/// The inbox of a client over all of its connections, on each of which it has another name.
#[derive(Debug)]
pub(crate) struct Mailbox {
    secret: u128,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// Counts the subscriptions, so that one that was lost and taken up again is seen to be another.
    number: u64,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Standing(Inbox),
    /// Replies still come, but the router goes away and takes no further requests.
    Leaving,
    Away(Disconnected),
    Ended(SubscribeError),
}

/// An inbox as long as one subscription to it stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) inbox: Inbox,
    number: u64,
    state: watch::Receiver<State>,
}

impl Mailbox {
    pub(super) fn new(secret: u128) -> Self {
        let place = Place::Away(Disconnected::lost("there was no inbox yet"));
        Self { secret, state: watch::Sender::new(State { number: 0, place }) }
    }

    /// The name of the inbox on a connection.
    pub(crate) fn inbox(&self, owner: ConnectionId) -> Inbox {
        Inbox { owner, secret: self.secret }
    }

    /// It is subscribed to on this connection.
    pub(crate) fn stands(&self, owner: ConnectionId) {
        self.enter(Place::Standing(self.inbox(owner)));
    }

    /// Its router goes away: what was asked is still answered, what is asked next waits for another.
    pub(crate) fn leaves(&self) {
        self.enter(Place::Leaving);
    }

    /// The subscription is lost; another may follow.
    pub(crate) fn lost(&self, reason: Disconnected) {
        self.enter(Place::Away(reason));
    }

    /// No subscription follows.
    pub(super) fn end(&self, reason: SubscribeError) {
        self.enter(Place::Ended(reason));
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state.borrow().place, Place::Ended(_))
    }

    /// The inbox, once it stands.
    pub(super) async fn standing(&self) -> Result<Standing, SubscribeError> {
        let mut state = self.state.subscribe();
        let settled = |state: &State| !matches!(state.place, Place::Leaving | Place::Away(_));
        let found = state.wait_for(settled).await.map(|state| state.clone());
        match found {
            Ok(State { number, place: Place::Standing(inbox) }) => {
                Ok(Standing { inbox, number, state })
            }
            Ok(State { place: Place::Ended(error), .. }) => Err(error),
            // Nothing else was waited for, and the sender is ours, so it cannot be gone.
            Ok(_) | Err(_) => Err(Disconnected::Closed.into()),
        }
    }

    fn enter(&self, place: Place) {
        self.state.send_modify(|state| {
            state.number += u64::from(matches!(place, Place::Standing(_)));
            state.place = place;
        });
    }
}

impl Standing {
    /// Resolves with the reason when the inbox no longer stands, even if it does so again.
    pub(super) async fn lost(&mut self) -> Disconnected {
        let number = self.number;
        let another = |state: &State| {
            state.number != number || !matches!(state.place, Place::Standing(_) | Place::Leaving)
        };
        match self.state.wait_for(another).await.map(|state| state.place.clone()) {
            Ok(Place::Away(reason) | Place::Ended(SubscribeError::Disconnected(reason))) => reason,
            Ok(Place::Ended(other)) => Disconnected::lost(other.to_string()),
            Ok(Place::Standing(_) | Place::Leaving) => {
                Disconnected::lost("the inbox was lost and made again")
            }
            Err(_) => Disconnected::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const OWNER: ConnectionId = ConnectionId(7);

    #[test]
    fn an_inbox_that_was_lost_and_taken_up_again_is_another() {
        let mailbox = Mailbox::new(1);
        assert!(mailbox.standing().now_or_never().is_none());
        mailbox.stands(OWNER);
        let standing = || mailbox.standing().now_or_never().expect("it stands");
        let mut first = standing().expect("it stands");
        assert!(first.lost().now_or_never().is_none());
        mailbox.lost(Disconnected::lost("gone"));
        mailbox.stands(OWNER);
        assert!(first.lost().now_or_never().is_some());
        let mut second = standing().expect("it stands");
        assert_eq!(second.inbox, first.inbox);
        assert!(second.lost().now_or_never().is_none());
        mailbox.lost(Disconnected::lost("gone"));
        let reason = second.lost().now_or_never().expect("it is lost");
        assert!(reason.to_string().contains("gone"), "{reason}");
    }

    #[test]
    fn a_leaving_inbox_is_not_lost_and_takes_no_more() {
        let mailbox = Mailbox::new(1);
        mailbox.stands(OWNER);
        let mut standing =
            mailbox.standing().now_or_never().expect("it stands").expect("it stands");
        mailbox.leaves();
        assert!(standing.lost().now_or_never().is_none());
        assert!(mailbox.standing().now_or_never().is_none());
        mailbox.lost(Disconnected::lost("gone"));
        assert!(standing.lost().now_or_never().is_some());
    }

    #[test]
    fn an_ended_mailbox_says_why() {
        let mailbox = Mailbox::new(1);
        mailbox.end(Disconnected::Closed.into());
        assert!(mailbox.has_ended());
        mailbox.standing().now_or_never().expect("it has ended").expect_err("for good");
    }
}
