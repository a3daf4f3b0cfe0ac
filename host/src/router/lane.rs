//! Lanes: each owns one part of a route's work and does it in order.
//!
//! A lane's inlet is bounded in batches and in bytes; whoever publishes awaits room there. The bytes
//! of a batch stay taken until what came of it is in the queues behind the route, so what a route
//! holds in all is bounded, and pressure from behind reaches the publisher.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use waypost_core::{BatchPolicy, RouteDefinition, StageDefinition, lane_of};
use waypost_protocol::{Batch, BatchBuilder, ConnectionId, ErrorCode};

use super::{
    fanout::Fanout, gate::Gate, pipeline::Pipeline, publish::Published, stage_set::StageSet,
};

/// How much a lane's inlet holds.
#[derive(Debug, Clone, Copy)]
pub struct LaneLimits {
    /// Batches as they were published.
    pub batches: usize,
    /// Their bytes, and those in work.
    pub bytes: usize,
}

/// Where batches enter a route.
#[derive(Debug)]
pub(super) struct RouteInlet {
    pub(super) definition: RouteDefinition,
    limits: LaneLimits,
    // Emptied when the router drains: the lanes end once they have done what is queued.
    lanes: RwLock<Vec<LaneInlet>>,
}

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
    pub(super) fn start(
        definition: RouteDefinition,
        stages: &Arc<StageSet>,
        fanout: &Arc<Fanout>,
        limits: LaneLimits,
        tasks: &mut tokio::task::JoinSet<()>,
    ) -> Self {
        let mut lanes = Vec::new();
        let (name, policy) = (&definition.name, definition.breaker);
        let gate = |stage: &StageDefinition| {
            Gate::new(name.clone(), stage.name.clone(), policy, fanout.metrics.clone())
        };
        let gates: Arc<[Gate]> = definition.stages.iter().map(gate).collect();
        for _ in 0..definition.lanes.get() {
            let (jobs, inlet) = mpsc::channel(limits.batches.max(1));
            // A semaphore's permits are bounded; a batch is bounded by a u32.
            let room = Arc::new(Semaphore::new(limits.bytes.clamp(1, Semaphore::MAX_PERMITS)));
            let pipeline =
                Pipeline::new(&definition, stages.clone(), gates.clone(), fanout.clone());
            let policy = definition.batch;
            tasks.spawn(async move { Lane { inlet, held: None, policy, pipeline }.run().await });
            lanes.push(LaneInlet { jobs, room });
        }
        Self { definition, limits, lanes: RwLock::new(lanes) }
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
        for (lane, batch) in self.split(publisher, &batch) {
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

    /// Takes no more; the lanes end when they have done what is queued.
    pub(super) fn close(&self) {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn split(&self, publisher: ConnectionId, batch: &Batch) -> Vec<(u16, Batch)> {
        let lanes = self.definition.lanes;
        if lanes.get() == 1 {
            return vec![(0, batch.clone())];
        }
        let mut indices = vec![Vec::new(); usize::from(lanes.get())];
        for (index, message) in (0_u32..).zip(batch.iter()) {
            let lane = lane_of(publisher, message.key(), lanes);
            if let Some(indices) = indices.get_mut(usize::from(lane)) {
                indices.push(index);
            }
        }
        let parts = (0..).zip(indices).filter(|(_, indices)| !indices.is_empty());
        parts.filter_map(|(lane, indices)| Some((lane, batch.gather(&indices)?))).collect()
    }
}

struct Lane {
    inlet: mpsc::Receiver<Job>,
    /// A job that did not fit the batch before it.
    held: Option<Job>,
    policy: BatchPolicy,
    pipeline: Pipeline,
}

/// What a lane does next.
enum Next {
    /// These jobs, as one batch.
    Jobs(Vec<Job>),
    /// Messages that were parked.
    Due,
    /// Nothing: the inlet is closed and empty.
    Closed,
}

impl Lane {
    async fn run(mut self) {
        loop {
            let jobs = match self.next().await {
                Next::Jobs(jobs) => jobs,
                Next::Due => {
                    self.pipeline.run_due().await;
                    continue;
                }
                Next::Closed => return self.pipeline.give_up().await,
            };
            let Some(first) = jobs.first() else {
                continue;
            };
            let ingest_ms = first.ingest_ms;
            if let Some(batch) = joined(&jobs) {
                self.pipeline.run(batch, ingest_ms).await;
            }
            for job in jobs {
                // A publisher that went away is not interested; its message was routed all the same.
                let _ = job.done.send(());
            }
        }
    }

    /// Awaits what is to be done. Parked messages go before new ones.
    async fn next(&mut self) -> Next {
        let due = self.pipeline.next_due();
        match due {
            Some(due) if due <= Instant::now() => return Next::Due,
            Some(due) if self.pipeline.is_full() => {
                tokio::time::sleep_until(due).await;
                return Next::Due;
            }
            _ => {}
        }
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let first = match self.held.take() {
            Some(held) => held,
            None => tokio::select! {
                () = due => return Next::Due,
                job = self.inlet.recv() => match job {
                    Some(job) => job,
                    None => return Next::Closed,
                },
            },
        };
        Next::Jobs(self.joined_by(first).await)
    }

    /// The jobs of the next batch after its first, by the policy's bounds.
    async fn joined_by(&mut self, first: Job) -> Vec<Job> {
        let deadline = Instant::now() + Duration::from_millis(self.policy.linger_ms.into());
        let (mut messages, mut bytes) = (first.batch.len(), first.batch.byte_len());
        let mut jobs = vec![first];
        while messages < self.policy.max_messages as usize && bytes < self.policy.max_bytes as usize
        {
            let next = match self.inlet.try_recv() {
                Ok(job) => job,
                Err(_) if self.policy.linger_ms == 0 => break,
                Err(_) => match tokio::time::timeout_at(deadline, self.inlet.recv()).await {
                    Ok(Some(job)) => job,
                    Ok(None) | Err(_) => break,
                },
            };
            messages += next.batch.len();
            bytes += next.batch.byte_len();
            if messages > self.policy.max_messages as usize
                || bytes > self.policy.max_bytes as usize
            {
                self.held = Some(next);
                break;
            }
            jobs.push(next);
        }
        jobs
    }
}

/// One batch of all jobs; the publisher's own buffer when there is one job.
fn joined(jobs: &[Job]) -> Option<Batch> {
    if let [job] = jobs {
        return Some(job.batch.clone());
    }
    let mut builder = BatchBuilder::new();
    for job in jobs {
        if let Err(error) = builder.push_batch(&job.batch) {
            // The policy is checked against the protocol's limits when the router starts.
            tracing::error!(%error, "a lane's batch outgrew the protocol's limits");
        }
    }
    builder.finish()
}
