//! Requests: a message out, the first reply to it back.
//!
//! One inbox and one publisher serve all requests of a client; they are opened with the first.
//! [`mailbox`] says where replies go just now, [`table`] who waits for which, and a task of the
//! [`requester`] hands replies out. An inbox belongs to one connection, so a request whose connection is lost
//! gets no reply any more, and says so at once.

mod error;
mod mailbox;
mod reply;
mod requester;
mod table;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Mutex, Semaphore};

pub use self::error::RequestError;
pub(crate) use self::mailbox::Mailbox;
use self::{requester::Requester, table::Table};
use crate::{Delivered, Message, link::Link};

/// The requests of one client.
#[derive(Debug)]
pub(crate) struct Requests {
    /// One for each request that may wait for its reply.
    slots: Semaphore,
    most: usize,
    table: Arc<Table>,
    /// Since the first request, and until it can serve no more.
    requester: Mutex<Option<Arc<Requester>>>,
}

impl Requests {
    /// So many at a time.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            slots: Semaphore::new(most),
            most,
            table: Arc::default(),
            requester: Mutex::default(),
        }
    }

    pub(crate) fn late_replies(&self) -> u64 {
        self.table.late()
    }

    pub(crate) async fn request(
        &self,
        link: &Arc<Link>,
        message: Message<'_>,
        timeout: Duration,
    ) -> Result<Delivered, RequestError> {
        let deadline_ms = deadline_ms(SystemTime::now(), timeout);
        let asked = async {
            // It is never closed, so this waits for room and nothing else.
            let _slot = self.slots.acquire().await;
            self.requester(link).await?.ask(message, deadline_ms).await
        };
        let late = |_| Err(RequestError::DeadlineExceeded { after: timeout });
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(late)
    }

    async fn requester(&self, link: &Arc<Link>) -> Result<Arc<Requester>, RequestError> {
        let mut current = self.requester.lock().await;
        if let Some(requester) = current.as_ref().filter(|requester| requester.serves()) {
            return Ok(requester.clone());
        }
        let opened = Requester::open(link.clone(), self.most, self.table.clone()).await?;
        Ok(current.insert(Arc::new(opened)).clone())
    }
}

fn deadline_ms(now: SystemTime, timeout: Duration) -> u64 {
    // A clock before 1970 is a clock that was never set.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.saturating_add(timeout).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_counted_from_the_epoch_and_never_overflows() {
        let now = UNIX_EPOCH + Duration::from_secs(10);
        assert_eq!(deadline_ms(now, Duration::from_millis(5)), 10_005);
        assert_eq!(deadline_ms(now, Duration::MAX), u64::MAX);
    }
}
