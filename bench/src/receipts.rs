//! What became of what was published, and how long publishers waited for word of it.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::mpsc, task::JoinHandle};
use waypost_client::{Outcome, Receipt};

use crate::{
    clock,
    load::Load,
    measure::Sent,
    span::{Span, Together},
};

/// Batches whose receipts are held at once, for each connection. A publisher allows fewer in flight.
const MOST_BATCHES: usize = 256;

/// A batch that was published.
pub(crate) struct Published {
    pub(crate) receipt: Receipt,
    pub(crate) due: u64,
    pub(crate) messages: u64,
}

/// Awaits the receipts of all connections as they come, so that each is timed when it came.
pub(crate) struct Receipts {
    queue: mpsc::Sender<Published>,
    task: JoinHandle<Account>,
}

/// What became of everything.
struct Account {
    span: Span,
    rejected: u64,
    unknown: u64,
}

impl Receipts {
    /// With so many receipts for each batch.
    pub(crate) fn new(load: &Load, a_batch: usize) -> anyhow::Result<Self> {
        let most = MOST_BATCHES * a_batch * usize::from(load.connections);
        let (queue, published) = mpsc::channel(most);
        let account = Account { span: Span::new(load)?, rejected: 0, unknown: 0 };
        Ok(Self { queue, task: tokio::spawn(account.settle(published, most)) })
    }

    /// Where each connection's pusher puts what it published.
    pub(crate) fn queue(&self) -> mpsc::Sender<Published> {
        self.queue.clone()
    }

    /// Waits until everything has its result, once nobody publishes any more.
    pub(crate) async fn settled(self, messages: Vec<u64>) -> anyhow::Result<Sent> {
        drop(self.queue);
        let Account { span, rejected, unknown } = self.task.await?;
        Ok(Sent { messages, rejected, unknown, acknowledged: span.so_far() })
    }
}

impl Account {
    async fn settle(mut self, mut published: mpsc::Receiver<Published>, most: usize) -> Self {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((outcome, due, messages)) = waiting.next() => self.take(outcome, due, messages),
                Some(Published { receipt, due, messages }) = published.recv(), if waiting.len() < most => {
                    waiting.push(async move { (receipt.await, due, messages) });
                }
                else => return self,
            }
        }
    }

    fn take(&mut self, outcome: Outcome, due: u64, messages: u64) {
        match outcome {
            Outcome::Committed { .. } => {
                let now = clock::now();
                self.span.record(now.saturating_sub(due), messages);
                self.span.pass(now, Together { messages, ..Together::default() });
            }
            Outcome::Rejected { code, message } => {
                if self.rejected == 0 {
                    eprintln!("rejected: {code}: {message}");
                }
                self.rejected += messages;
            }
            Outcome::Unknown { reason } => {
                if self.unknown == 0 {
                    eprintln!("unknown: {reason}");
                }
                self.unknown += messages;
            }
        }
    }
}
