//! Who waits for which reply. The first reply is handed out; what else comes is counted and dropped.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;
use waypost_protocol::request;

use crate::Delivered;

/// Requests by their correlation. Their number is bounded by who opens them.
#[derive(Debug, Default)]
pub(super) struct Table {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Delivered>>>,
    next: AtomicU64,
    late: AtomicU64,
}

/// A request that waits; it leaves the table when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    table: Arc<Table>,
    correlation: u64,
    reply: oneshot::Receiver<Delivered>,
}

impl Table {
    /// A place for a request under a correlation that the client never used before.
    pub(super) fn open(self: &Arc<Self>) -> Ticket {
        let (sender, reply) = oneshot::channel();
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(correlation, sender);
        Ticket { table: self.clone(), correlation, reply }
    }

    /// Hands a reply to the request that waits for it.
    pub(super) fn handle_reply(&self, reply: Delivered) {
        let waiting = correlation_of(&reply).and_then(|number| self.waiting().remove(&number));
        // Whoever waited may give up at this very moment.
        let handed = waiting.is_some_and(|waiting| waiting.send(reply).is_ok());
        if !handed {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Replies for which nobody waited.
    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Delivered>>> {
        // Nothing panics while it is held, and what it guards is sound at every step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(super) fn correlation(&self) -> u64 {
        self.correlation
    }

    /// The reply. Waits for ever when there is none.
    pub(super) async fn reply(&mut self) -> Delivered {
        match (&mut self.reply).await {
            Ok(reply) => reply,
            // The sender stays in the table until there is a reply or this is dropped.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.waiting().remove(&self.correlation);
    }
}

fn correlation_of(reply: &Delivered) -> Option<u64> {
    std::str::from_utf8(reply.headers().get(request::CORRELATION)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use waypost_protocol::{BatchBuilder, HeadersBuilder};

    use super::*;
    use crate::DeliveredBatch;

    fn reply(correlation: &str, payload: &str) -> Delivered {
        let mut headers = HeadersBuilder::new();
        headers.push(request::CORRELATION, correlation.as_bytes()).expect("a good header");
        let mut builder = BatchBuilder::new();
        builder.push("a", None, headers.as_bytes(), payload.as_bytes(), 0).expect("it fits");
        let batch = builder.finish().expect("there is a message");
        Delivered::new(Arc::new(DeliveredBatch { batch, envelope: Arc::default() }), 0)
    }

    #[test]
    fn each_reply_goes_to_its_request_and_the_first_one_counts() {
        let table = Arc::new(Table::default());
        let (mut first, mut second) = (table.open(), table.open());
        for (correlation, payload) in [("1", "b"), ("0", "a"), ("0", "again"), ("x", "?")] {
            table.handle_reply(reply(correlation, payload));
        }
        for (ticket, expected) in [(&mut first, "a"), (&mut second, "b")] {
            let reply = ticket.reply().now_or_never().expect("it came");
            assert_eq!(reply.payload(), expected.as_bytes());
        }
        assert_eq!(table.late(), 2);
    }

    #[test]
    fn a_request_that_was_given_up_leaves_nothing_behind() {
        let table = Arc::new(Table::default());
        drop(table.open());
        assert!(table.waiting().is_empty());
        table.handle_reply(reply("0", "too late"));
        assert_eq!(table.late(), 1);
        assert_eq!(table.open().correlation(), 1, "a correlation is never used twice");
    }
}
