//! The door: who a peer is, and the one function that decides what it may do.

use waypost_protocol::{Batch, ConnectionId, ErrorCode, Inbox, Pattern, frame::Hello};

/// Who a peer proved to be. Everything behind the handshake is handed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// It proved nothing; its name is what it calls itself.
    Anonymous {
        /// For logs alone.
        name: String,
    },
}

/// What a peer wants to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action<'a> {
    Publish(&'a Batch),
    Subscribe { connection: ConnectionId, pattern: &'a Pattern },
}

/// Why a peer may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: &'static str,
}

impl Identity {
    /// Who the sender of a hello is.
    pub(super) fn of(hello: &Hello) -> Self {
        Self::Anonymous { name: hello.client_name.chars().take(64).collect() }
    }
}

/// Whether a peer may do this.
pub(super) fn permit(identity: &Identity, action: Action<'_>) -> Result<(), Refusal> {
    let Identity::Anonymous { .. } = identity;
    match action {
        Action::Publish(batch) => {
            // Whoever was handed an inbox may reply to it; whether it lives the router finds out.
            let system = |topic: &str| topic.starts_with('$') && !Inbox::covers(topic);
            let breach = match batch.single_topic() {
                Some(topic) => system(topic),
                None => batch.iter().any(|message| system(message.topic())),
            };
            if breach { Err(Refusal::of(ErrorCode::SystemTopic)) } else { Ok(()) }
        }
        Action::Subscribe { connection, pattern } if Inbox::covers(pattern.as_str()) => {
            // A wildcard makes it no inbox, so nobody listens on those of others.
            match Inbox::parse(pattern.as_str()) {
                Ok(inbox) if inbox.owner == connection => Ok(()),
                _ => Err(Refusal {
                    code: ErrorCode::Forbidden,
                    message: "a connection subscribes to inboxes that bear its own number, and without \
                              wildcards",
                }),
            }
        }
        // Whoever is connected may read everything else, the dead letters included.
        Action::Subscribe { .. } => Ok(()),
    }
}

impl Refusal {
    fn of(code: ErrorCode) -> Self {
        Self { code, message: code.meaning() }
    }
}

#[cfg(test)]
mod tests {
    use waypost_protocol::BatchBuilder;

    use super::*;

    const OWN: &str = "$inbox.7-000000000000000000000000000000ff";

    fn anonymous() -> Identity {
        Identity::Anonymous { name: String::new() }
    }

    fn check_subscribe(pattern: &str, expected: Option<ErrorCode>) {
        let parsed = Pattern::parse(pattern).expect("a pattern");
        let action = Action::Subscribe { connection: ConnectionId(7), pattern: &parsed };
        let refused = permit(&anonymous(), action).err().map(|refusal| refusal.code);
        assert_eq!(refused, expected, "{pattern}");
    }

    #[test]
    fn only_the_owner_of_an_inbox_subscribes_to_it() {
        check_subscribe(OWN, None);
        let others = OWN.replace('7', "8");
        for pattern in [&others, "$inbox", "$inbox.>", "$inbox.*", "$inbox.7-ff", "$inbox.*.a"] {
            check_subscribe(pattern, Some(ErrorCode::Forbidden));
        }
        for pattern in ["a.>", ">", "$dead.>", "$inboxes.>"] {
            check_subscribe(pattern, None);
        }
    }

    #[test]
    fn of_the_routers_topics_only_inboxes_are_published_to() {
        for (topic, expected) in [
            (OWN, None),
            ("a", None),
            ("$dead.a", Some(ErrorCode::SystemTopic)),
            ("$inboxes.a", Some(ErrorCode::SystemTopic)),
        ] {
            let mut builder = BatchBuilder::new();
            for topic in ["a", topic] {
                builder.push(topic, None, &[], b"", 0).expect("it fits");
            }
            let batch = builder.finish().expect("there are messages");
            let refused = permit(&anonymous(), Action::Publish(&batch)).err();
            assert_eq!(refused.map(|refusal| refusal.code), expected, "{topic}");
        }
    }
}
