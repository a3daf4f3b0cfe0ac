//! What serves the requests of a client: a publisher, an inbox, and a task that hands out replies.

use std::sync::Arc;

use waypost_protocol::{ErrorCode, request};

use super::{Mailbox, RequestError, table::Table};
use crate::{
    Delivered, Disconnected, Message, Outcome, Publisher, PublisherOptions, Receipt, Subscriber,
    link::Link, task::Task,
};

#[derive(Debug)]
pub(super) struct Requester {
    publisher: Publisher,
    mailbox: Arc<Mailbox>,
    table: Arc<Table>,
    _reader: Task,
}

impl Requester {
    pub(super) async fn open(
        link: Arc<Link>,
        most: usize,
        table: Arc<Table>,
    ) -> Result<Self, RequestError> {
        // Each request is a batch of its own, and a reply may come before the publish's result.
        let options = PublisherOptions::default();
        let max_in_flight_batches = options.max_in_flight_batches.max(most);
        let options = PublisherOptions { max_in_flight_batches, ..options };
        let mailbox = Arc::new(Mailbox::new(rand::random()));
        let replies = Subscriber::open_inbox(link.clone(), mailbox.clone()).await?;
        let publisher = Publisher::open(link, options).await?;
        let reader = Task::spawn(read(replies, mailbox.clone(), table.clone()));
        Ok(Self { publisher, mailbox, table, _reader: reader })
    }

    /// Whether it can still serve, perhaps once there is a connection again.
    pub(super) fn serves(&self) -> bool {
        !self.mailbox.has_ended() && self.publisher.is_open()
    }

    /// Sends a request and awaits its reply, or that there will be none.
    pub(super) async fn ask(
        &self,
        message: Message<'_>,
        deadline_ms: u64,
    ) -> Result<Delivered, RequestError> {
        let mut standing = self.mailbox.standing().await?;
        let mut ticket = self.table.open();
        let topic = message.topic().to_owned();
        let message = message.replace_headers(&[
            (request::REPLY_TO, &standing.inbox.to_string()),
            (request::CORRELATION, &ticket.correlation().to_string()),
            (request::DEADLINE, &deadline_ms.to_string()),
        ])?;
        let receipt = self.publisher.publish_alone(&message).await?;
        tokio::select! {
            // A reply that is there counts, whatever else happened.
            biased;
            reply = ticket.reply() => Ok(reply),
            error = refused(receipt, topic) => Err(error),
            reason = standing.lost() => Err(RequestError::Unknown { reason }),
        }
    }
}

/// Why there will be no reply, as the result of the publish says; waits for ever when it does not.
async fn refused(receipt: Receipt, topic: String) -> RequestError {
    match receipt.await {
        Outcome::Committed { unrouted: true, .. } => RequestError::NoResponder { topic },
        Outcome::Committed { .. } => std::future::pending().await,
        Outcome::Rejected { code, .. } if code == ErrorCode::NoResponder => {
            RequestError::NoResponder { topic }
        }
        Outcome::Rejected { code, message } => RequestError::Rejected { code, message },
        Outcome::Unknown { reason } => RequestError::Unknown { reason },
    }
}

async fn read(mut replies: Subscriber, mailbox: Arc<Mailbox>, table: Arc<Table>) {
    let reason = loop {
        match replies.recv().await {
            Some(Ok(reply)) => table.handle_reply(reply),
            Some(Err(error)) => break error,
            None => break Disconnected::Closed.into(),
        }
    };
    mailbox.end(reason);
}
