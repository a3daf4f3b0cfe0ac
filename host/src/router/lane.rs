//! Lanes: each owns one part of a route's work and does it in order.
//!
//! A lane's inlet is bounded in batches and in bytes; whoever publishes awaits room there. The bytes
//! of a batch stay taken until what came of it is in the queues behind the route, so what a route
//! holds in all is bounded, and pressure from behind reaches the publisher. What comes out of other
//! routes waits in the lane's [`ChainInbox`].

use std::{
    num::NonZeroU16,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use waypost_core::{Lineage, RouteName, Traced, chained_lane_of, lane_of};
use waypost_protocol::{Batch, ConnectionId, ErrorCode};

use super::{
    chain::{ChainInbox, ChainedJob, Step},
    fanout::Fanout,
    outlet::Outlet,
    pipeline::Pipeline,
    plans::{Plan, Plans},
    publish::Published,
};

/// How much a lane's inlet holds.
#[derive(Debug, Clone, Copy)]
pub struct LaneLimits {
    /// Batches as they were published.
    pub batches: usize,
    /// Their bytes, and those in work.
    pub bytes: usize,
}

/// Where batches enter a route. When the last hold of it is dropped, nothing comes to its lanes any more: they do
/// what they have and end.
#[derive(Debug)]
pub(super) struct RouteInlet {
    pub(super) name: RouteName,
    lane_count: NonZeroU16,
    limits: LaneLimits,
    // Emptied when the router drains: the lanes end once they have done what is queued.
    lanes: RwLock<Vec<LaneInlet>>,
    /// One for each lane.
    inboxes: Vec<ChainInbox>,
    /// Whether publishers send nothing more; so it is when it is dropped, too.
    closing: watch::Sender<bool>,
    ended: Ended,
}

/// Tells when all lanes of an inlet have ended.
#[derive(Debug, Clone)]
pub(super) struct Ended(watch::Receiver<()>);

/// What batches that wait for lanes or are in their work take, also once nothing more comes in.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// What each lane may hold.
    most: usize,
    rooms: Vec<Arc<Semaphore>>,
}

/// Held by each lane that may still get something from a publisher, or give up on something.
pub(super) type Publishing = mpsc::Sender<()>;

#[derive(Debug, Clone)]
struct LaneInlet {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

/// A publisher's batch, or the part of it that belongs to this lane.
#[derive(Debug)]
struct Job {
    batch: Batch,
    ingest_ms: u64,
    /// Dropped unsent when the lane goes away before it has done the job.
    done: oneshot::Sender<()>,
    _room: OwnedSemaphorePermit,
}

impl RouteInlet {
    /// Starts a route's lanes on the current runtime.
    ///
    /// They take nothing from publishers before all of `after` have ended. What comes out of routes they take at once:
    /// whoever waits for it may be among those.
    pub(super) fn start(
        plan: &Arc<Plan>,
        after: Vec<Ended>,
        plans: &Arc<Plans>,
        fanout: &Arc<Fanout>,
        limits: LaneLimits,
        publishing: &Publishing,
        tasks: &mut tokio::task::JoinSet<()>,
    ) -> Self {
        let (mut lanes, mut inboxes) = (Vec::new(), Vec::new());
        let (running, ended) = Ended::pair();
        let running = Arc::new(running);
        let (closing, closed) = watch::channel(false);
        let (name, lane_count) = (plan.definition.name.clone(), plan.definition.lanes);
        for number in 0..lane_count.get() {
            let (jobs, inlet) = mpsc::channel(limits.batches.max(1));
            // A semaphore's permits are bounded; a batch is bounded by a u32.
            let room = Arc::new(Semaphore::new(limits.bytes.clamp(1, Semaphore::MAX_PERMITS)));
            let inbox = ChainInbox::default();
            let lane = Lane {
                inlet,
                held: None,
                inbox: inbox.clone(),
                pipeline: Pipeline::new(
                    plan.clone(),
                    Outlet::handing(name.clone(), number, fanout.clone()),
                    inbox.clone(),
                    plans.clone(),
                    fanout.clone(),
                ),
                publishing: Some(publishing.clone()),
                is_publishers_turn: false,
                after: after.clone(),
                closed: closed.clone(),
                changes: plans.changes(),
                _running: running.clone(),
            };
            tasks.spawn(lane.run());
            lanes.push(LaneInlet { jobs, room });
            inboxes.push(inbox);
        }
        let lanes = RwLock::new(lanes);
        Self { name, lane_count, limits, lanes, inboxes, closing, ended }
    }

    pub(super) fn lane_count(&self) -> NonZeroU16 {
        self.lane_count
    }

    pub(super) fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// Hands a batch to its lanes, awaiting room in each. Gives one receiver for each lane.
    pub(super) async fn submit(
        &self,
        publisher: ConnectionId,
        batch: Batch,
        ingest_ms: u64,
    ) -> Result<Vec<oneshot::Receiver<()>>, Published> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut done = Vec::with_capacity(1);
        for (lane, batch) in self.split(&batch, |key, lanes| lane_of(publisher, key, lanes)) {
            let stopping = || Published::rejected(ErrorCode::ShuttingDown);
            let lane = lanes.get(usize::from(lane)).ok_or_else(stopping)?;
            let bytes = batch.byte_len().min(self.limits.bytes).max(1);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let room = lane.room.clone().acquire_many_owned(bytes).await;
            let room = room.map_err(|_| stopping())?;
            let (sender, receiver) = oneshot::channel();
            let job = Job { batch, ingest_ms, done: sender, _room: room };
            lane.jobs.send(job).await.map_err(|_| stopping())?;
            done.push(receiver);
        }
        Ok(done)
    }

    /// Hands what came out of a lane of another route, or of this one, to the lanes, without a wait.
    pub(super) fn hand_over(&self, from: u16, batch: &Batch, lineage: Lineage, step: &Step) {
        for (lane, batch) in self.split(batch, |key, lanes| chained_lane_of(from, key, lanes)) {
            if let Some(inbox) = self.inboxes.get(usize::from(lane)) {
                inbox.put(ChainedJob { batch, lineage, ticket: step.ticket() });
            }
        }
    }

    /// What its lanes hold.
    pub(super) fn held(&self) -> Held {
        let most = self.limits.bytes.clamp(1, Semaphore::MAX_PERMITS);
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        Held { most, rooms: lanes.iter().map(|lane| lane.room.clone()).collect() }
    }

    /// Takes no more from publishers; the lanes do what is queued and give up on what is parked.
    pub(super) fn close(&self) {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.closing.send_replace(true);
    }

    /// Takes nothing more from routes either; the lanes end. To be called when no lane has work of publishers.
    pub(super) fn close_chain(&self) {
        self.inboxes.iter().for_each(ChainInbox::close);
    }

    fn split(
        &self,
        batch: &Batch,
        lane_of: impl Fn(Option<&[u8]>, NonZeroU16) -> u16,
    ) -> Vec<(u16, Batch)> {
        let lanes = self.lane_count;
        if lanes.get() == 1 {
            return vec![(0, batch.clone())];
        }
        let mut indices = vec![Vec::new(); usize::from(lanes.get())];
        for (index, message) in (0_u32..).zip(batch.iter()) {
            let lane = lane_of(message.key(), lanes);
            if let Some(indices) = indices.get_mut(usize::from(lane)) {
                indices.push(index);
            }
        }
        let parts = (0..).zip(indices).filter(|(_, indices)| !indices.is_empty());
        parts.filter_map(|(lane, indices)| Some((lane, batch.gather(&indices)?))).collect()
    }
}

impl Drop for RouteInlet {
    fn drop(&mut self) {
        self.close_chain();
    }
}

impl Held {
    /// In bytes, at this moment.
    pub(super) fn bytes(&self) -> usize {
        let held = |room: &Arc<Semaphore>| self.most.saturating_sub(room.available_permits());
        self.rooms.iter().map(held).sum()
    }
}

impl Ended {
    /// One that tells when the other is dropped.
    pub(super) fn pair() -> (watch::Sender<()>, Self) {
        let (running, ended) = watch::channel(());
        (running, Self(ended))
    }

    /// Resolves when they have.
    pub(super) async fn wait(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// Whether they have.
    pub(super) fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

struct Lane {
    inlet: mpsc::Receiver<Job>,
    /// A job that did not fit the batch before it.
    held: Option<Job>,
    inbox: ChainInbox,
    pipeline: Pipeline,
    /// Let go of when nothing more comes from publishers.
    publishing: Option<Publishing>,
    /// A batch from another route was done last.
    is_publishers_turn: bool,
    /// The lanes that the route had before, of which some may still be at work.
    after: Vec<Ended>,
    /// Tells when publishers send nothing more.
    closed: watch::Receiver<bool>,
    /// Tells when routes run otherwise.
    changes: watch::Receiver<()>,
    /// Dropped with the lane.
    _running: Arc<watch::Sender<()>>,
}

/// What a lane does next.
enum Next {
    /// These jobs, as one batch.
    Jobs(Vec<Job>),
    /// A batch that came out of a route.
    Chained(ChainedJob),
    /// Messages that were parked.
    Due,
    /// It gives up on what is parked, which is as much as may be, as the lane is to end.
    MakeRoom,
    /// It gives up on what is parked: publishers send nothing more.
    GiveUp,
    /// Whatever there is by now.
    Look,
    /// Nothing more.
    End,
}

impl Lane {
    async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Jobs(jobs) => {
                    self.pipeline.catch_up().await;
                    self.do_jobs(jobs).await;
                }
                Next::Chained(job) => {
                    self.pipeline.catch_up().await;
                    self.pipeline.run_chained(job).await;
                    self.is_publishers_turn = true;
                }
                Next::Due => {
                    self.pipeline.catch_up().await;
                    self.pipeline.run_due().await;
                }
                Next::MakeRoom => self.give_up().await,
                Next::Look => {}
                Next::GiveUp => {
                    self.give_up().await;
                    self.publishing = None;
                }
                Next::End => return,
            }
        }
    }

    async fn give_up(&mut self) {
        let is_router_stopping = *self.closed.borrow();
        self.pipeline.give_up(is_router_stopping).await;
    }

    async fn do_jobs(&mut self, jobs: Vec<Job>) {
        let Some(first) = jobs.first() else {
            return;
        };
        let lineage = Lineage::published(first.ingest_ms);
        let living = jobs.iter();
        let living =
            living.filter_map(|job| self.pipeline.living_of(job.batch.clone(), job.ingest_ms));
        let living: Vec<Batch> = living.collect();
        let mut is_whole = true;
        match Batch::join(&living) {
            None if living.is_empty() => {}
            Some(batch) => is_whole = self.pipeline.run(Traced::untraced(batch), lineage).await,
            // More than a length can say, which no policy allows.
            None => {
                for batch in living {
                    is_whole &= self.pipeline.run(Traced::untraced(batch), lineage).await;
                }
            }
        }
        // Where a route behind this one lost some of it, the publisher is not told that all is well.
        for job in jobs.into_iter().filter(|_| is_whole) {
            // A publisher that went away is not interested; its message was routed all the same.
            let _ = job.done.send(());
        }
    }

    /// Awaits what is to be done. Parked messages go before new ones, and what comes out of routes before what
    /// comes from publishers, but in turns when there is always both.
    async fn next(&mut self) -> Next {
        self.changes.mark_unchanged();
        self.pipeline.look();
        self.after.retain(|ended| !ended.is_over());
        let due = self.pipeline.next_due();
        match due {
            Some(due) if due <= Instant::now() => return Next::Due,
            Some(due) if self.pipeline.is_full() => {
                return tokio::select! {
                    () = tokio::time::sleep_until(due) => Next::Due,
                    _ = self.changes.changed() => Next::Look,
                    // An error says that it was dropped.
                    _ = self.closed.wait_for(|is_closed| *is_closed) => Next::MakeRoom,
                };
            }
            _ => {}
        }
        let is_publishers_turn = std::mem::take(&mut self.is_publishers_turn);
        if !is_publishers_turn && let Some(job) = self.inbox.take_deeper_than(0) {
            return Next::Chained(job);
        }
        let waits = !self.after.is_empty();
        if !waits && let Some(first) = self.held.take().or_else(|| self.inlet.try_recv().ok()) {
            return Next::Jobs(self.joined_by(first).await);
        }
        let is_parked = due.is_some();
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let is_publishing = self.publishing.is_some();
        let chained = async {
            match self.inbox.deeper_than(0).await {
                // Nothing more comes from routes, but what publishers gave is still there.
                None if is_publishing => std::future::pending().await,
                chained => chained.map_or(Next::End, Next::Chained),
            }
        };
        let before = join_all(self.after.iter_mut().map(Ended::wait));
        let first = tokio::select! {
            () = due => return Next::Due,
            chained = chained => return chained,
            _ = before, if waits => return Next::Look,
            _ = self.changes.changed(), if is_parked => return Next::Look,
            job = self.inlet.recv(), if !waits && is_publishing => job,
        };
        match first {
            Some(first) => Next::Jobs(self.joined_by(first).await),
            None => Next::GiveUp,
        }
    }

    /// The jobs of the next batch after its first, by the policy's bounds.
    async fn joined_by(&mut self, first: Job) -> Vec<Job> {
        let policy = self.pipeline.batch_policy();
        let deadline = Instant::now() + Duration::from_millis(policy.linger_ms.into());
        let (mut messages, mut bytes) = (first.batch.len(), first.batch.byte_len());
        let mut jobs = vec![first];
        while messages < policy.max_messages as usize && bytes < policy.max_bytes as usize {
            let next = match self.inlet.try_recv() {
                Ok(job) => job,
                Err(_) if policy.linger_ms == 0 => break,
                Err(_) => {
                    let next = tokio::select! {
                        next = tokio::time::timeout_at(deadline, self.inlet.recv()) => next,
                        // Another lane waits for it.
                        () = self.inbox.filled() => break,
                    };
                    match next {
                        Ok(Some(job)) => job,
                        Ok(None) | Err(_) => break,
                    }
                }
            };
            messages += next.batch.len();
            bytes += next.batch.byte_len();
            if messages > policy.max_messages as usize || bytes > policy.max_bytes as usize {
                self.held = Some(next);
                break;
            }
            jobs.push(next);
        }
        jobs
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.inbox.abandon();
    }
}
