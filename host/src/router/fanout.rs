//! Hands batches to whoever is interested: the table of routes and subscriptions, and delivery.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use waypost_core::{Dropped, EntryId, Lineage, OnFull, RouteTable, TopicRule, TopicRules};
use waypost_protocol::{Batch, Envelope, ErrorCode, Inbox, MessageView, Pattern, request};

use super::{
    chain::Step,
    lane::RouteInlet,
    metrics::RouterMetrics,
    queue::{Admission, Delivery, QueueSender, WhenFull},
    tap::Taps,
};
use crate::streams::Streams;

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
    rules: ArcSwap<TopicRules>,
    pub(super) streams: Streams,
    block_max_ms: AtomicU64,
    pub(super) metrics: Arc<RouterMetrics>,
    pub(super) taps: Arc<Taps>,
}

/// Messages that nobody gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unmatched {
    pub(super) messages: usize,
    /// How many of them are replies to an inbox that nobody listens on.
    pub(super) replies: usize,
    /// How many of them want a reply.
    pub(super) requests: usize,
}

/// The messages of a batch that one target gets, in order; all of them when `None`.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) target: Target,
    pub(super) indices: Option<Vec<u32>>,
}

/// How what came out of a route goes on into others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Onward<'a> {
    /// How it comes there; `None` when it may not go on.
    pub(super) lineage: Option<Lineage>,
    /// The lane that it comes from.
    pub(super) lane: u16,
    pub(super) step: &'a Step,
}

/// What became of a batch that came out of a route.
#[derive(Debug)]
pub(super) struct Delivered {
    /// Messages that nobody gets.
    pub(super) unseen: usize,
    /// Messages that a route would have taken had they been allowed to go on, in order.
    pub(super) barred: Vec<u32>,
}

impl Delivered {
    fn bar(&mut self, share: &Share, batch: &Batch) {
        match &share.indices {
            Some(indices) => self.barred.extend(indices),
            None => self.barred.extend((0_u32..).take(batch.len())),
        }
        self.barred.sort_unstable();
        self.barred.dedup();
    }
}

impl Share {
    /// The share as a batch of its own; the same buffer when it is all of it.
    pub(super) fn of(&self, batch: &Batch) -> Option<Batch> {
        match &self.indices {
            None => Some(batch.clone()),
            Some(indices) => batch.gather(indices),
        }
    }

    /// What is said of the share: where its messages stand, when the batch has offsets.
    pub(super) fn envelope(&self, whole: &Arc<Envelope>) -> Arc<Envelope> {
        match &self.indices {
            Some(indices) if whole.base_offset.is_some() => Arc::new(whole.gather(indices)),
            _ => whole.clone(),
        }
    }
}

impl Unmatched {
    fn count(&mut self, message: MessageView<'_>) {
        let topic = message.topic();
        self.messages += 1;
        if Inbox::covers(topic) {
            self.replies += 1;
        } else if !topic.starts_with('$') && message.headers().get(request::REPLY_TO).is_some() {
            self.requests += 1;
        }
    }
}

impl Fanout {
    pub(super) fn new(
        rules: Vec<TopicRule>,
        streams: Streams,
        block_max: Duration,
        metrics: Arc<RouterMetrics>,
    ) -> Self {
        streams.set_topic_rules(&rules);
        let rules = TopicRules::new(rules);
        metrics.announce_rules(&rules);
        let fanout = Self {
            table: RwLock::default(),
            rules: ArcSwap::from_pointee(rules),
            streams,
            block_max_ms: AtomicU64::default(),
            metrics,
            taps: Arc::default(),
        };
        fanout.set_block_max(block_max);
        fanout
    }

    /// How long a subscription may take nothing from now on, where no rule for a topic says otherwise.
    pub(super) fn set_block_max(&self, block_max: Duration) {
        let ms = u64::try_from(block_max.as_millis()).unwrap_or(u64::MAX);
        self.block_max_ms.store(ms, Ordering::Relaxed);
    }

    /// What holds for topics from now on. What waits in a queue stays under the rule that it came under.
    pub(super) fn set_rules(&self, rules: Vec<TopicRule>) {
        self.streams.set_topic_rules(&rules);
        let next = Arc::new(TopicRules::new(rules));
        self.metrics.announce_rules(&next);
        let before = self.rules.swap(next.clone());
        self.metrics.forget_rules(&before, &next);
    }

    fn block_max(&self) -> Duration {
        Duration::from_millis(self.block_max_ms.load(Ordering::Relaxed))
    }

    /// Changes the table in one step.
    pub(super) fn with_table<T>(&self, change: impl FnOnce(&mut RouteTable<Target>) -> T) -> T {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn insert(&self, pattern: &Pattern, target: Target) -> EntryId {
        self.with_table(|table| table.insert(pattern, target))
    }

    pub(super) fn remove(&self, id: EntryId) -> bool {
        self.with_table(|table| table.remove(id))
    }

    /// Who gets which messages, and how many messages nobody gets, which are counted.
    pub(super) fn shares(&self, batch: &Batch) -> (Vec<Share>, Unmatched) {
        let (shares, unmatched) = self.find_shares(batch);
        self.metrics.dead_inbox_replies.inc_by(unmatched.replies as u64);
        self.metrics.unanswerable_requests.inc_by(unmatched.requests as u64);
        (shares, unmatched)
    }

    fn find_shares(&self, batch: &Batch) -> (Vec<Share>, Unmatched) {
        let mut unmatched = Unmatched::default();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = batch.single_topic() {
            let mut shares = Vec::new();
            for_each_target(&table, topic, |_, target| {
                shares.push(Share { target: target.clone(), indices: None });
            });
            if shares.is_empty() {
                batch.iter().for_each(|message| unmatched.count(message));
            }
            return (shares, unmatched);
        }
        let mut shares: Vec<Share> = Vec::new();
        let mut places: HashMap<EntryId, usize> = HashMap::new();
        for (index, message) in (0..).zip(batch.iter()) {
            let mut matched = false;
            for_each_target(&table, message.topic(), |id, target| {
                matched = true;
                let place = *places.entry(id).or_insert_with(|| {
                    shares.push(Share { target: target.clone(), indices: Some(Vec::new()) });
                    shares.len() - 1
                });
                if let Some(Share { indices: Some(indices), .. }) = shares.get_mut(place) {
                    indices.push(index);
                }
            });
            if !matched {
                unmatched.count(message);
            }
        }
        (shares, unmatched)
    }

    /// Hands what came out of a route to the routes that take it, and puts it into the queues of its
    /// subscriptions, awaiting room there.
    pub(super) async fn deliver(
        &self,
        batch: &Batch,
        envelope: &Arc<Envelope>,
        onward: Onward<'_>,
    ) -> Delivered {
        let (shares, unmatched) = self.shares(batch);
        let mut delivered = Delivered { unseen: unmatched.messages, barred: Vec::new() };
        let mut admissions = Vec::new();
        for share in &shares {
            match (&share.target, onward.lineage) {
                (Target::Subscription(queue), _) => {
                    let Some(batch) = share.of(batch) else { continue };
                    let delivery = Delivery { batch, envelope: envelope.clone() };
                    admissions.push(self.admit(queue, delivery));
                }
                (Target::Route(inlet), Some(lineage)) => {
                    let Some(batch) = share.of(batch) else { continue };
                    inlet.hand_over(onward.lane, &batch, lineage, onward.step);
                }
                (Target::Route(_), None) => delivered.bar(share, batch),
            }
        }
        // All at once: several that take nothing are waited for no longer than one.
        join_all(admissions).await;
        delivered
    }

    /// Puts a delivery into a queue, awaiting room where no rule for a topic says otherwise.
    pub(super) async fn admit(&self, queue: &QueueSender, delivery: Delivery) {
        let rules = self.rules.load_full();
        if rules.is_empty() {
            self.admit_under(None, queue, delivery).await;
            return;
        }
        let Delivery { batch, envelope } = delivery;
        for (rule, range) in rules.parts(&batch) {
            let Some(batch) = batch.part(range) else {
                continue;
            };
            let delivery = Delivery { batch, envelope: envelope.clone() };
            if !self.admit_under(rule.cloned(), queue, delivery).await {
                return;
            }
        }
    }

    /// Says whether the subscription goes on.
    async fn admit_under(
        &self,
        rule: Option<Arc<TopicRule>>,
        queue: &QueueSender,
        delivery: Delivery,
    ) -> bool {
        let (on_full, block_max) = match &rule {
            Some(rule) => (rule.on_full, Duration::from_millis(rule.block_max_ms)),
            None => (OnFull::Block, self.block_max()),
        };
        let when_full = WhenFull { on_full, block_max, rule };
        match queue.admit(delivery, when_full).await {
            Admission::Admitted { messages, dropped } => {
                self.metrics.delivered.inc_by(messages as u64);
                dropped.iter().for_each(|each| self.count_dropped(each));
                return true;
            }
            Admission::Ended => self.metrics.slow_consumers.inc(),
            Admission::Gone => {}
        }
        false
    }

    fn count_dropped(&self, dropped: &Dropped) {
        if let Some(rule) = &dropped.rule {
            let labels = [rule.pattern.as_str(), rule.on_full.name()];
            let counter = self.metrics.topic_dropped.with_label_values(&labels);
            counter.inc_by(dropped.messages as u64);
        }
    }

    /// The routes that take a topic, and how many subscriptions get it.
    pub(super) fn takers(&self, topic: &str) -> (Vec<String>, usize) {
        let (mut routes, mut subscriptions) = (Vec::new(), 0);
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        for_each_target(&table, topic, |_, target| match target {
            Target::Route(inlet) => routes.push(inlet.name.as_str().to_owned()),
            Target::Subscription(_) => subscriptions += 1,
        });
        (routes, subscriptions)
    }

    /// Ends every subscription; what is queued is still delivered.
    pub(super) fn end_subscriptions(&self, queues: &[QueueSender]) {
        for queue in queues {
            queue.end(ErrorCode::ShuttingDown);
        }
    }
}

/// Calls `found` for everything that gets a topic's messages. An inbox leads to its subscription alone,
/// whatever a route names as its source.
fn for_each_target<'a>(
    table: &'a RouteTable<Target>,
    topic: &str,
    mut found: impl FnMut(EntryId, &'a Target),
) {
    let inbox = Inbox::covers(topic);
    table.for_each_match(topic, |id, target| match target {
        Target::Route(_) if inbox => {}
        target => found(id, target),
    });
}
