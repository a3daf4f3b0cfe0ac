//! Hands batches to whoever is interested: the table of routes and subscriptions, and delivery.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use waypost_core::{EntryId, RouteTable};
use waypost_protocol::{Batch, Envelope, ErrorCode, Pattern};

use super::{
    lane::RouteInlet,
    metrics::RouterMetrics,
    queue::{Admission, Delivery, QueueSender},
};

/// Everything that a topic may lead to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Route(Arc<RouteInlet>),
    Subscription(QueueSender),
}

/// The table, and what delivery needs beside it.
#[derive(Debug)]
pub(super) struct Fanout {
    table: RwLock<RouteTable<Target>>,
    block_max: Duration,
    pub(super) metrics: Arc<RouterMetrics>,
}

/// The messages of a batch that one target gets, in order; all of them when `None`.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) target: Target,
    pub(super) indices: Option<Vec<u32>>,
}

impl Share {
    /// The share as a batch of its own; the same buffer when it is all of it.
    pub(super) fn of(&self, batch: &Batch) -> Option<Batch> {
        match &self.indices {
            None => Some(batch.clone()),
            Some(indices) => batch.gather(indices),
        }
    }
}

impl Fanout {
    pub(super) fn new(block_max: Duration, metrics: Arc<RouterMetrics>) -> Self {
        Self { table: RwLock::default(), block_max, metrics }
    }

    pub(super) fn insert(&self, pattern: &Pattern, target: Target) -> EntryId {
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(pattern, target)
    }

    pub(super) fn remove(&self, id: EntryId) -> bool {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Who gets which messages, and how many messages nobody gets.
    pub(super) fn shares(&self, batch: &Batch) -> (Vec<Share>, usize) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = batch.single_topic() {
            let mut shares = Vec::new();
            table.for_each_match(topic, |_, target| {
                shares.push(Share { target: target.clone(), indices: None });
            });
            let unmatched = if shares.is_empty() { batch.len() } else { 0 };
            return (shares, unmatched);
        }
        let mut shares: Vec<(EntryId, Share)> = Vec::new();
        let mut unmatched = 0;
        for (index, message) in (0..).zip(batch.iter()) {
            let mut matched = false;
            table.for_each_match(message.topic(), |id, target| {
                matched = true;
                match shares.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, Share { indices: Some(indices), .. })) => indices.push(index),
                    _ => {
                        let share = Share { target: target.clone(), indices: Some(vec![index]) };
                        shares.push((id, share));
                    }
                }
            });
            unmatched += usize::from(!matched);
        }
        (shares.into_iter().map(|(_, share)| share).collect(), unmatched)
    }

    /// Puts what came out of a route into the queues of its subscriptions, awaiting room. Gives the
    /// number of messages that nobody was subscribed to.
    pub(super) async fn deliver(&self, batch: &Batch, envelope: &Arc<Envelope>) -> usize {
        let (shares, unmatched) = self.shares(batch);
        for share in shares {
            if let (Target::Subscription(queue), Some(batch)) = (&share.target, share.of(batch)) {
                self.admit(queue, Delivery { batch, envelope: envelope.clone() }).await;
            }
        }
        unmatched
    }

    pub(super) async fn admit(&self, queue: &QueueSender, delivery: Delivery) {
        let messages = delivery.batch.len() as u64;
        match queue.admit(delivery, self.block_max).await {
            Admission::Admitted => self.metrics.delivered.inc_by(messages),
            Admission::Ended => self.metrics.slow_consumers.inc(),
            Admission::Gone => {}
        }
    }

    /// Whether a route takes this topic.
    pub(super) fn is_source(&self, topic: &str) -> bool {
        let mut found = false;
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.for_each_match(topic, |_, target| found |= matches!(target, Target::Route(_)));
        found
    }

    /// Ends every subscription; what is queued is still delivered.
    pub(super) fn end_subscriptions(&self, queues: &[QueueSender]) {
        for queue in queues {
            queue.end(ErrorCode::ShuttingDown);
        }
    }
}
