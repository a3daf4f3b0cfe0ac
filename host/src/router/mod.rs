//! The router of memory topics: who gets a batch, the lanes of the routes, subscriptions.
//!
//! It knows nothing of the network, and of plugins only what [`stage`] says. Waits point one way:
//! a publisher awaits room in the lanes, a lane awaits room in the queues of subscriptions and the end of
//! what it handed on to other routes.

mod chain;
mod durable;
mod fanout;
mod gate;
mod instances;
mod lane;
mod metrics;
mod outlet;
mod parked;
mod pipeline;
mod plans;
mod publish;
mod queue;
mod routes;
pub mod stage;
mod status;
mod tail;
mod tap;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub use durable::{LaneMetrics, RoutePartition};
pub(crate) use durable::{ReturnError, Returned, ReturnedMessage};
use fanout::{Fanout, Target};
use futures_util::future::{join, join_all, try_join_all};
pub use lane::LaneLimits;
pub use metrics::RouterMetrics;
pub use plans::{Plan, Plans};
pub use publish::{Origin, Pending, Published};
pub use queue::{Delivery, Received};
use queue::{QueueReceiver, QueueSender};
use routes::Routes;
pub use status::{
    BreakerStatus, ExplainedGroup, ExplainedRoute, ExplainedStream, ExplainedSubscription,
    Explanation, RouteStage, RouteStatus, StageStatus, SubscriptionStatus, TopicStatus,
};
pub use tail::Tails;
pub(crate) use tap::shown_verdict;
pub use tap::{
    ShownHeader, ShownKey, ShownPayload, ShownValue, ShownVerdict, Sight, Tap, TapEvent, TapFilter,
};
use tokio::sync::{RwLock, mpsc, watch};
pub use waypost_core::QueueLimits;
use waypost_core::{EntryId, RouteName, TopicRule};
use waypost_protocol::{Batch, ConnectionId, Envelope, ErrorCode, Pattern, SubscriptionId};

use crate::{streams::Streams, time::now_ms};

/// What a router is made with.
#[derive(Debug, Clone)]
pub struct RouterSettings {
    /// What each lane's inlet holds.
    pub lane: LaneLimits,
    /// How long a subscription may take nothing while something waits for it.
    pub block_max: Duration,
    /// What holds for topics instead, the first that matches.
    pub topics: Vec<TopicRule>,
}

/// The router; cheap to clone.
#[derive(Debug, Clone)]
pub struct Router(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fanout: Arc<Fanout>,
    plans: Arc<Plans>,
    routes: Mutex<Routes>,
    listeners: Mutex<HashMap<EntryId, Listener>>,
    /// Ends when no lane has anything left that comes from a publisher, or that it gives up on.
    published: tokio::sync::Mutex<mpsc::Receiver<()>>,
    draining: AtomicBool,
    /// Set when publishes that wait for room are to wait no longer.
    abandoning: watch::Sender<bool>,
    /// Held for reading by whoever admits a batch: what was admitted in part is admitted whole before the
    /// lanes close, so that a rejection is true.
    admitting: RwLock<()>,
}

/// What the router keeps of a subscription.
#[derive(Debug)]
struct Listener {
    connection: ConnectionId,
    pattern: Pattern,
    queue: QueueSender,
}

/// A subscription; dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    router: Router,
    id: EntryId,
    receiver: QueueReceiver,
}

impl Router {
    /// Starts the lanes of the routes that there are plans for on the current runtime. They look at the plan of
    /// their route for each batch. Those over streams miss nothing that is stored once they have
    /// [begun](Self::begun).
    #[must_use]
    pub fn start(plans: Arc<Plans>, settings: RouterSettings, streams: Streams) -> Self {
        let RouterSettings { topics, block_max, .. } = settings;
        let fanout = Arc::new(Fanout::new(topics, streams, block_max, plans.metrics().clone()));
        let (publishing, published) = mpsc::channel(1);
        let router = Self(Arc::new(Inner {
            fanout,
            plans,
            routes: Mutex::new(Routes::new(settings.lane, publishing)),
            listeners: Mutex::default(),
            published: tokio::sync::Mutex::new(published),
            draining: AtomicBool::new(false),
            abandoning: watch::Sender::new(false),
            admitting: RwLock::default(),
        }));
        router.follow_plans();
        router
    }

    /// Resolves when each route has stored where it begins in the streams that it takes.
    pub async fn begun(&self) {
        let lanes = self.routes().lanes();
        join_all(lanes.iter().map(|lane| lane.begun())).await;
    }

    /// How the routes run.
    #[must_use]
    pub fn plans(&self) -> &Arc<Plans> {
        &self.0.plans
    }

    /// Lets the routes be those that there are plans for by now. One that is there no more gets nothing from now
    /// on and ends once it has done what it has; what waits there for a plugin that works, or for another try,
    /// becomes dead letters. So it is for one whose number of lanes is another, which then begins anew.
    pub fn follow_plans(&self) {
        self.routes().follow(&self.0.plans, &self.0.fanout);
    }

    /// How long a subscription may take nothing from now on while something waits for it.
    pub fn set_block_max(&self, block_max: Duration) {
        self.0.fanout.set_block_max(block_max);
    }

    /// How many routes and subscriptions take a topic.
    pub(crate) fn takers_of(&self, topic: &str) -> usize {
        let (routes, subscriptions) = self.0.fanout.takers(topic);
        routes.len() + subscriptions
    }

    /// What holds for topics from now on, the first that matches.
    pub fn set_topics(&self, topics: Vec<TopicRule>) {
        self.0.fanout.set_rules(topics);
    }

    /// Admits a batch, awaiting room wherever it goes. What it gives resolves once everything that
    /// came of the batch is in the queues of its subscriptions.
    ///
    /// A publish that waits for room when the router stops may get no outcome at all.
    ///
    /// # Errors
    ///
    /// The router is stopping, or all of the batch is for inboxes that nobody listens on.
    pub async fn publish(&self, origin: Origin, batch: &Batch) -> Result<Pending, Published> {
        let admitting = self.0.admitting.read().await;
        if self.0.draining.load(Ordering::Acquire) {
            return Err(Published::rejected(ErrorCode::ShuttingDown));
        }
        self.count_received(batch);
        let (shares, unmatched) = self.0.fanout.shares(batch);
        self.0.fanout.metrics.unrouted.inc_by(unmatched.messages as u64);
        if unmatched.replies == batch.len() {
            return Err(Published::rejected(ErrorCode::NoResponder));
        }
        self.0.fanout.taps.published(batch, |topic| self.0.fanout.takers(topic));
        let ingest_ms = now_ms();
        let envelope = Arc::new(Envelope { ingest_ms, ..Envelope::default() });
        let (mut submissions, mut admissions) = (Vec::new(), Vec::new());
        for share in &shares {
            let Some(part) = share.of(batch) else {
                continue;
            };
            match &share.target {
                Target::Route(inlet) => {
                    submissions.push(inlet.submit(origin.connection, part, ingest_ms));
                }
                Target::Subscription(queue) => {
                    let delivery = Delivery { batch: part, envelope: envelope.clone() };
                    admissions.push(self.0.fanout.admit(queue, delivery));
                }
            }
        }
        // All at once: several that have no room are waited for no longer than the slowest of them.
        let admitted = join(try_join_all(submissions), join_all(admissions));
        let mut abandoning = self.0.abandoning.subscribe();
        let abandoned = async { drop(abandoning.wait_for(|is_abandoning| *is_abandoning).await) };
        let admitted = tokio::select! {
            (submitted, _) = admitted => Some(submitted),
            () = abandoned => None,
        };
        drop(admitting);
        let Some(submitted) = admitted else {
            // Parts of it may have gone on: nobody can say what became of it.
            return std::future::pending().await;
        };
        let lanes = submitted?.into_iter().flatten().collect();
        Ok(Pending { lanes, unrouted: unmatched.messages > 0 })
    }

    /// Puts what a stream stored into the queues of its subscriptions, awaiting room there. Routes read it by
    /// themselves. Says whether the router goes on.
    async fn hand_on(&self, batch: &Batch, envelope: Envelope) -> bool {
        let _admitting = self.0.admitting.read().await;
        if self.0.draining.load(Ordering::Acquire) {
            return false;
        }
        // What came out of a route was counted there.
        if envelope.route.is_none() {
            self.count_received(batch);
            self.0.fanout.taps.published(batch, |topic| self.0.fanout.takers(topic));
        }
        let (shares, _) = self.0.fanout.shares(batch);
        let envelope = Arc::new(envelope);
        let admissions = shares.iter().filter_map(|share| match &share.target {
            Target::Route(_) => None,
            Target::Subscription(queue) => {
                let delivery =
                    Delivery { batch: share.of(batch)?, envelope: share.envelope(&envelope) };
                Some(self.0.fanout.admit(queue, delivery))
            }
        });
        let mut abandoning = self.0.abandoning.subscribe();
        tokio::select! {
            _ = join_all(admissions) => true,
            _ = abandoning.wait_for(|is_abandoning| *is_abandoning) => false,
        }
    }

    fn count_received(&self, batch: &Batch) {
        let metrics = &self.0.fanout.metrics;
        metrics.received.inc_by(batch.len() as u64);
        metrics.received_bytes.inc_by(batch.byte_len() as u64);
    }

    /// Subscribes a connection to a pattern.
    #[must_use]
    pub fn subscribe(
        &self,
        connection: ConnectionId,
        pattern: &Pattern,
        limits: QueueLimits,
    ) -> Subscription {
        let (sender, receiver) = queue::queue(limits);
        let id = self.0.fanout.insert(pattern, Target::Subscription(sender.clone()));
        if self.0.draining.load(Ordering::Acquire) {
            sender.end(ErrorCode::ShuttingDown);
        }
        let listener = Listener { connection, pattern: pattern.clone(), queue: sender };
        self.listeners().insert(id, listener);
        self.0.fanout.metrics.subscriptions.inc();
        Subscription { router: self.clone(), id, receiver }
    }

    /// Whether there is such a route, or lanes of one that have not ended.
    #[must_use]
    pub fn has_route(&self, route: &RouteName) -> bool {
        self.0.plans.of(route).is_some() || self.routes().is_running(route)
    }

    /// Watches messages as they pass, unless as many watch already as may.
    #[must_use]
    pub fn tap(&self, filter: TapFilter) -> Option<Tap> {
        self.0.fanout.taps.open(filter)
    }

    /// Takes no more publishes, does what is queued, then ends the subscriptions. A publish that finds no room
    /// within `patience` is left without an outcome.
    pub async fn drain(&self, patience: Duration) {
        self.0.draining.store(true, Ordering::Release);
        if tokio::time::timeout(patience, self.0.admitting.write()).await.is_err() {
            self.0.abandoning.send_replace(true);
            drop(self.0.admitting.write().await);
        }
        let mut running = self.routes().stop();
        // A lane ends only when none is left that could hand something on to it.
        while self.0.published.lock().await.recv().await.is_some() {}
        self.routes().inlets().for_each(|inlet| inlet.close_chain());
        while running.join_next().await.is_some() {}
        let queues: Vec<QueueSender> =
            self.listeners().values().map(|listener| listener.queue.clone()).collect();
        self.0.fanout.end_subscriptions(&queues);
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.0.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<EntryId, Listener>> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        SubscriptionId(self.id.number())
    }

    /// Takes note that the subscriber got something on of what it took before.
    pub fn progress(&self) {
        self.receiver.progress();
    }

    /// Resolves when the subscription has ended because it took nothing for too long. Dropping the future
    /// loses nothing.
    pub async fn slow(&self) {
        self.receiver.slow().await;
    }

    /// The next delivery, or why there is none. Messages whose time to live is over are passed over.
    pub async fn recv(&mut self) -> Received {
        loop {
            let Delivery { batch, envelope } = match self.receiver.recv().await {
                Received::Delivery(delivery) => delivery,
                ended @ Received::Ended(_) => return ended,
            };
            let streams = &self.router.0.fanout.streams;
            let Some(living) = streams.living(&batch, envelope.ingest_ms) else {
                return Received::Delivery(Delivery { batch, envelope });
            };
            if let Some(batch) = batch.gather(&living) {
                let envelope = match envelope.base_offset {
                    Some(_) => Arc::new(envelope.gather(&living)),
                    None => envelope,
                };
                return Received::Delivery(Delivery { batch, envelope });
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.router.0.fanout.remove(self.id);
        self.router.listeners().remove(&self.id);
        self.router.0.fanout.metrics.subscriptions.dec();
    }
}
