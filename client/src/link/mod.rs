//! The link to the router: one connection at a time, made again when it is lost.
//!
//! [`driver`] owns the connection and its control stream. Publishers and subscriptions follow the
//! link's state with a [`Follower`], hold conversations on a [`Session`], and carry them over to the
//! next one. The link ends when the last handle to it is dropped.

mod dial;
mod driver;
mod frames;
mod session;
mod transport;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::AbortHandle};

pub(crate) use self::{
    frames::{Broken, FrameReader, FrameWriter},
    session::{Phase, Session},
    transport::STREAM_WINDOW_BYTES,
};
use crate::{ClientOptions, ConnectError, Disconnected, Reconnect, backoff::Backoff};

/// `Up => (Waiting | Down)`, `Waiting => (Up | Down)`.
#[derive(Debug, Clone)]
pub(crate) enum LinkState {
    /// There is a connection.
    Up(Arc<Session>),
    /// The next connection is being made.
    Waiting,
    /// There will be none any more.
    Down(Disconnected),
}

/// What every handle holds.
#[derive(Debug)]
pub(crate) struct Link {
    state: watch::Receiver<LinkState>,
    closing: watch::Sender<bool>,
    driver: AbortHandle,
    reconnect: Reconnect,
}

impl Link {
    /// Makes the first connection and spawns what keeps it.
    pub(crate) async fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let dialer = dial::Dialer::new(options)?;
        let reconnect = dialer.options().reconnect;
        let established = dialer.dial().await?;
        let (closing, wanted) = watch::channel(false);
        let (driver, state) = driver::Driver::new(dialer, established, wanted);
        let driver = tokio::spawn(driver.run()).abort_handle();
        Ok(Self { state, closing, driver, reconnect })
    }

    pub(crate) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Lets a conversation follow the link from session to session.
    pub(crate) fn follow(&self) -> Follower {
        Follower { state: self.state.clone(), backoff: Backoff::new(self.reconnect) }
    }

    /// Ends every conversation in good order, then the connection.
    pub(crate) async fn close(&self) {
        let session = match self.state() {
            LinkState::Up(session) => Some(session),
            LinkState::Waiting | LinkState::Down(_) => None,
        };
        self.closing.send_replace(true);
        let mut state = self.state.clone();
        // An error says that the driver is gone, which is what is waited for.
        let _ = state.wait_for(|state| matches!(state, LinkState::Down(_))).await;
        if let Some(session) = session {
            // The close is on its way; a router that does not answer is not waited for.
            let _ = tokio::time::timeout(Duration::from_secs(1), session.is_gone()).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Follows the link for one conversation after another.
#[derive(Debug)]
pub(crate) struct Follower {
    state: watch::Receiver<LinkState>,
    backoff: Backoff,
}

impl Follower {
    /// The current session, or the next one.
    pub(crate) async fn session(&mut self) -> Result<Arc<Session>, Disconnected> {
        self.session_after(0).await
    }

    /// A session for the next conversation, the last one having broken: another session, or after a
    /// while the same, when it was only the stream that was lost.
    pub(crate) async fn next(&mut self, last: &Session) -> Result<Arc<Session>, Disconnected> {
        let number = last.number;
        if !last.is_usable() {
            self.backoff.reset();
            return self.session_after(number).await;
        }
        let Some(delay) = self.backoff.next(rand::random()) else {
            return Err(last.lost());
        };
        tokio::select! {
            session = self.session_after(number) => session,
            () = tokio::time::sleep(delay) => self.session().await,
        }
    }

    /// Says that a conversation bore fruit.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    async fn session_after(&mut self, number: u64) -> Result<Arc<Session>, Disconnected> {
        let fits = |state: &LinkState| match state {
            LinkState::Up(session) => session.number > number,
            LinkState::Waiting => false,
            LinkState::Down(_) => true,
        };
        match self.state.wait_for(fits).await.map(|state| state.clone()) {
            Ok(LinkState::Up(session)) => Ok(session),
            Ok(LinkState::Down(reason)) => Err(reason),
            // The driver was aborted with the last handle.
            Ok(LinkState::Waiting) | Err(_) => Err(Disconnected::Closed),
        }
    }
}
