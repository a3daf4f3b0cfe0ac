//! The door: who a peer is, and the one function that decides what it may do.

use waypost_protocol::{Batch, ErrorCode, frame::Hello};

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
    Subscribe,
}

impl Identity {
    /// Who the sender of a hello is.
    pub(super) fn of(hello: &Hello) -> Self {
        Self::Anonymous { name: hello.client_name.chars().take(64).collect() }
    }
}

/// Whether a peer may do this; the code says why not.
pub(super) fn permit(identity: &Identity, action: Action<'_>) -> Result<(), ErrorCode> {
    let Identity::Anonymous { .. } = identity;
    match action {
        Action::Publish(batch) => {
            let system = |topic: &str| topic.starts_with('$');
            let breach = match batch.single_topic() {
                Some(topic) => system(topic),
                None => batch.iter().any(|message| system(message.topic())),
            };
            if breach { Err(ErrorCode::SystemTopic) } else { Ok(()) }
        }
        // Whoever is connected may read everything, the dead letters included.
        Action::Subscribe => Ok(()),
    }
}
