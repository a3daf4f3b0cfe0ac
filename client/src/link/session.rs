//! One welcomed connection, as its conversations see it.

use std::{sync::OnceLock, time::Duration};

use quinn::{Connection, Endpoint, VarInt};
use tokio::sync::watch;
use waypost_protocol::{ErrorCode, Limits, frame::Welcome};

use super::{
    dial::describe,
    frames::{Broken, FrameReader, FrameWriter},
};
use crate::Disconnected;

/// What may still be done on a connection. `Open => (Draining | Closing)`, `Draining => Closing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everything.
    Open,
    /// The router is going away: what is in flight ends, nothing new begins.
    Draining,
    /// The client is closing: everything ends in good order.
    Closing,
}

/// A connection with what was agreed on it.
#[derive(Debug)]
pub(crate) struct Session {
    /// Which one of the client's life, from one.
    pub(crate) number: u64,
    pub(crate) connection: Connection,
    pub(crate) limits: Limits,
    pub(crate) welcome: Welcome,
    endpoint: Endpoint,
    open_timeout: Duration,
    phase: watch::Sender<Phase>,
    conversations: watch::Sender<usize>,
    violation: OnceLock<Disconnected>,
}

/// Counts a conversation while it goes on.
#[derive(Debug)]
pub(crate) struct Conversing<'a>(&'a Session);

impl Session {
    pub(super) fn new(
        number: u64,
        established: super::dial::Established,
        open_timeout: Duration,
    ) -> (Self, FrameReader, FrameWriter) {
        let super::dial::Established { endpoint, connection, reader, writer, limits, welcome } =
            established;
        let session = Self {
            number,
            connection,
            limits,
            welcome,
            endpoint,
            open_timeout,
            phase: watch::Sender::new(Phase::Open),
            conversations: watch::Sender::new(0),
            violation: OnceLock::new(),
        };
        (session, reader, writer)
    }

    /// An answer of the router, unless it takes too long.
    pub(crate) async fn within_timeout<T>(
        &self,
        answer: impl Future<Output = Result<T, Broken>>,
    ) -> Result<T, Broken> {
        let late = |_| Err(Broken::Late(self.open_timeout));
        tokio::time::timeout(self.open_timeout, answer).await.unwrap_or_else(late)
    }

    /// Opens a stream for a conversation. The router bounds their number by letting this wait.
    pub(crate) async fn open(&self) -> Result<(FrameReader, FrameWriter), Broken> {
        match tokio::time::timeout(self.open_timeout, self.connection.open_bi()).await {
            Ok(Ok((send, receive))) => {
                let reader = FrameReader::new(receive, self.limits.max_frame_bytes);
                Ok((reader, FrameWriter::new(send)))
            }
            Ok(Err(_)) => Err(Broken::Lost),
            Err(_) => Err(Broken::Refused {
                code: ErrorCode::TooManyStreams.into(),
                message: "the router allows this connection no more streams".into(),
            }),
        }
    }

    /// To be held while a conversation goes on.
    pub(crate) fn converse(&self) -> Conversing<'_> {
        self.conversations.send_modify(|count| *count += 1);
        Conversing(self)
    }

    /// Resolves once no conversation goes on.
    pub(super) async fn is_quiet(&self) {
        let mut conversations = self.conversations.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = conversations.wait_for(|count| *count == 0).await;
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Resolves once this phase or a later one holds.
    pub(crate) async fn reaches(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = phases.wait_for(|current| *current >= phase).await;
    }

    /// Closes the connection because the router broke the protocol.
    pub(crate) fn break_off(&self, code: ErrorCode, message: &str) {
        let violation = Disconnected::Violation { code, message: message.into() };
        let _ = self.violation.set(violation);
        self.connection.close(VarInt::from_u32(code.number()), message.as_bytes());
    }

    pub(super) fn violation(&self) -> Option<Disconnected> {
        self.violation.get().cloned()
    }

    /// Closes the connection because nothing more is wanted of it.
    pub(super) fn close(&self, reason: &str) {
        self.connection.close(VarInt::from_u32(0), reason.as_bytes());
    }

    /// Resolves once the router knows that the connection is closed, or has had its time.
    pub(crate) async fn is_gone(&self) {
        self.endpoint.wait_idle().await;
    }

    /// Whether a further conversation could begin.
    pub(crate) fn is_usable(&self) -> bool {
        self.phase() == Phase::Open && self.connection.close_reason().is_none()
    }

    /// What a conversation that lost its stream says of it.
    pub(crate) fn lost(&self) -> Disconnected {
        if let Some(violation) = self.violation() {
            return violation;
        }
        match self.connection.close_reason() {
            Some(reason) => Disconnected::lost(describe(&reason)),
            None => Disconnected::lost("the router ended the stream"),
        }
    }
}

impl Drop for Conversing<'_> {
    fn drop(&mut self) {
        self.0.conversations.send_modify(|count| *count = count.saturating_sub(1));
    }
}
