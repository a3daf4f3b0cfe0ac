//! Publishes on their way into storage, and the producers that they come from.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    pin::Pin,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    task::Poll,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waypost_core::{Misplaced, Partition};
use waypost_protocol::{Batch, Envelope, Epoch, ErrorCode, Producer, ProducerId, Sequence};
use waypost_storage::{Append, Appended, CommitError, OpenedProducer};

use super::{Speaking, Streams};
use crate::time::now_ms;

/// How many producers are forgotten at once to make room: all are looked through for that.
const FORGOTTEN_AT_ONCE: usize = 256;

/// Where a publisher puts a batch.
#[derive(Debug, Clone, Copy)]
pub struct StreamTarget<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// Its partition.
    pub partition: u32,
    /// The place of the batch in what the producer sends there; `None` when it was not said.
    pub sequence: Option<Sequence>,
}

/// Why a batch is certainly not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why, as a number.
    pub code: ErrorCode,
    /// Why, in words.
    pub message: String,
}

/// A publish stream that speaks for a producer.
#[derive(Debug)]
pub struct ProducerSession {
    streams: Streams,
    producer: ProducerId,
    epoch: Epoch,
    number: u64,
}

/// A batch that storage has taken, and its answer.
pub struct Appending {
    streams: Streams,
    partition: Partition,
    messages: u64,
    bytes: u64,
    answer: Answer,
}

type Answering = Pin<Box<dyn Future<Output = Result<Appended, CommitError>> + Send>>;

enum Answer {
    Ready(Result<Appended, CommitError>),
    Awaited(Answering),
}

impl Streams {
    /// Lets a publish stream speak for a producer, alone from now on. Gives whether this life of it goes on.
    ///
    /// # Errors
    ///
    /// A newer life was opened, too many are open, storage is not to be written.
    pub async fn open_producer(
        &self,
        producer: ProducerId,
        epoch: Epoch,
    ) -> Result<(ProducerSession, bool), Refused> {
        self.check_taking()?;
        // Whoever asks last speaks, whoever is answered last.
        let number = self.0.next_session.fetch_add(1, Ordering::Relaxed);
        let _place = permits(&self.0.requests, 1).await?;
        let seen_ms = now_ms();
        let mut opened = self.0.storage.open_producer(producer, epoch, seen_ms).await;
        if matches!(opened, Err(CommitError::TooManyProducers { .. }))
            && self.forget_some().await.is_ok_and(|forgotten| forgotten > 0)
        {
            opened = self.0.storage.open_producer(producer, epoch, seen_ms).await;
        }
        // Where it is unknown, the publisher asks again just as when it was not stored.
        let opened = opened.map_err(|error| {
            let code = error.code().unwrap_or(ErrorCode::StorageFenced);
            Refused { code, message: error.to_string() }
        })?;
        let mut sessions = self.sessions();
        let newer = sessions
            .get(&producer)
            .is_some_and(|speaking| (speaking.epoch, speaking.number) > (epoch, number));
        if !newer {
            sessions.insert(producer, Speaking { number, epoch, seen_ms });
        }
        drop(sessions);
        let session = ProducerSession { streams: self.clone(), producer, epoch, number };
        Ok((session, opened == OpenedProducer::Resumed))
    }

    /// Makes room for producers: whoever is away for longest is forgotten before its time.
    async fn forget_some(&self) -> Result<u64, CommitError> {
        let present: HashSet<ProducerId> = self.sessions().keys().copied().collect();
        let forgotten = self.0.storage.forget_longest_unseen(FORGOTTEN_AT_ONCE, present).await?;
        self.0.metrics.forgotten.inc_by(forgotten);
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                "as many producers are known as may be; those that were away longest are forgotten"
            );
        }
        Ok(forgotten)
    }

    /// Hands a batch to storage, awaiting room. Batches that are handed over one after another are decided in
    /// that order.
    ///
    /// # Errors
    ///
    /// The batch does not belong there, its producer is not the one that speaks, or the router is stopping.
    pub async fn append(
        &self,
        session: Option<&ProducerSession>,
        target: StreamTarget<'_>,
        batch: Batch,
    ) -> Result<Appending, Refused> {
        self.check_taking()?;
        let StreamTarget { stream, partition, sequence } = target;
        let definition = self.0.table.check_stream(stream, partition, &batch)?;
        let partition = Partition::new(definition.name.clone(), partition);
        // What is held at most is the whole budget, so that the largest batch passes.
        let most = self.0.queue_bytes.max(1);
        let bytes = u32::try_from(batch.byte_len().min(most)).unwrap_or(u32::MAX);
        let room = permits(&self.0.bytes, bytes).await?;
        let place = permits(&self.0.requests, 1).await?;
        let producer = match (session, sequence) {
            (None, None) => None,
            (Some(session), Some(first_sequence)) => {
                session.check_speaking()?;
                Some(Producer { id: session.producer, epoch: session.epoch, first_sequence })
            }
            (None, Some(_)) => return Err(Refused::of(ErrorCode::UnknownProducer)),
            (Some(_), None) => {
                let message = "the frame has no sequence of the producer that its stream opened";
                return Err(Refused { code: ErrorCode::OutOfSequence, message: message.into() });
            }
        };
        let (messages, bytes) = (batch.len() as u64, batch.byte_len() as u64);
        let envelope = Envelope { ingest_ms: now_ms(), producer, ..Envelope::default() };
        let append = Append { partition: partition.clone(), batch, envelope, origin: None };
        let storage = self.0.storage.clone();
        // A task that has used up its turn would be told to come again, and the next batch would be there first.
        let mut answering: Answering = Box::pin(tokio::task::unconstrained(async move {
            let answer = storage.append(append).await;
            drop((room, place));
            answer
        }));
        // The first look takes its place in the queue, where there is always one.
        let looked = poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await;
        let answer = match looked {
            Poll::Ready(answer) => Answer::Ready(answer),
            Poll::Pending => Answer::Awaited(answering),
        };
        Ok(Appending { streams: self.clone(), partition, messages, bytes, answer })
    }

    fn check_taking(&self) -> Result<(), Refused> {
        match self.0.stopping.load(Ordering::Acquire) {
            true => Err(Refused::of(ErrorCode::ShuttingDown)),
            false => Ok(()),
        }
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, HashMap<ProducerId, Speaking>> {
        // No code under the lock panics, so a poisoned map is a whole one.
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn permits(semaphore: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Refused> {
    // It is never closed.
    let permit = semaphore.clone().acquire_many_owned(count).await;
    permit.map_err(|_| Refused::of(ErrorCode::ShuttingDown))
}

impl Appending {
    /// Waits for the answer. `Ok` is what came of the batch. `None` leaves open whether it was stored: the
    /// publisher is told nothing, and asks again with the same identity.
    ///
    /// # Errors
    ///
    /// Nothing of it was stored.
    pub async fn outcome(self) -> Option<Result<Appended, Refused>> {
        let Self { streams, partition, messages, bytes, answer } = self;
        let answer = match answer {
            Answer::Ready(answer) => answer,
            Answer::Awaited(answering) => answering.await,
        };
        streams.0.metrics.answered(&partition.stream, messages, bytes, &answer);
        match answer {
            Ok(appended) => Some(Ok(appended)),
            Err(error) => {
                let code = error.code()?;
                Some(Err(Refused { code, message: error.to_string() }))
            }
        }
    }
}

impl ProducerSession {
    fn is_speaking(&self, sessions: &HashMap<ProducerId, Speaking>) -> bool {
        sessions.get(&self.producer).is_some_and(|speaking| speaking.number == self.number)
    }

    /// A publish stream that was overtaken takes nothing more: what it still holds may have been sent again
    /// on the newer one.
    fn check_speaking(&self) -> Result<(), Refused> {
        if self.is_speaking(&self.streams.sessions()) {
            return Ok(());
        }
        let message = "another publish stream was opened for this producer";
        Err(Refused { code: ErrorCode::ProducerFenced, message: message.to_owned() })
    }
}

impl Drop for ProducerSession {
    fn drop(&mut self) {
        let mut sessions = self.streams.sessions();
        if self.is_speaking(&sessions) {
            sessions.remove(&self.producer);
        }
    }
}

impl Refused {
    pub(crate) fn of(code: ErrorCode) -> Self {
        Self { code, message: code.meaning().to_owned() }
    }
}

impl From<Misplaced> for Refused {
    fn from(misplaced: Misplaced) -> Self {
        let code = match misplaced {
            Misplaced::Stream(_) | Misplaced::Partition { .. } => ErrorCode::UnknownPartition,
            Misplaced::Topic { .. } | Misplaced::NoStream { .. } | Misplaced::Key { .. } => {
                ErrorCode::Misplaced
            }
        };
        Self { code, message: misplaced.to_string() }
    }
}
