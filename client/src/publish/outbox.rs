//! What a publisher has not yet had a result for. Pure: time is an argument, and nothing is awaited.
//!
//! A message goes through `open => waiting => in flight => resolved`: into the open batch, which is
//! sealed when it is full or has lingered; into the queue of sealed batches, from which
//! [`poll_transmit`](Outbox::poll_transmit) takes them; and out with
//! [`handle_result`](Outbox::handle_result). Sealed batches are bounded in number and bytes, so that
//! all memory is: at the bound the open batch stays open, and once it is full nothing is taken.
//!
//! For each stream of the publisher: [`begin_stream`](Outbox::begin_stream), any number of transmits
//! and results, and [`handle_lost`](Outbox::handle_lost) when it broke. Outcomes are returned rather
//! than resolved here, for whoever waits on them may be woken only when the outbox is no longer
//! locked.

mod answers;

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;
use waypost_protocol::{
    Batch, BatchBuilder, BatchError, Limits,
    frame::{self, Publish},
};

use super::{
    Message, PublishError, PublisherOptions,
    fit::{check_fits, check_owner, for_batches, is_closed, unfit},
    open::OpenBatches,
    placement::{Destination, Placement},
    producer::{Opened, Place, Producer, ProducerIdentity},
    receipt::{Outcome, Receipt, Resolver},
};
use crate::Disconnected;

/// Without linger, a batch that is not full goes while fewer are in flight than these. Otherwise the
/// results of small batches would each release a further small one, for as long as there is traffic:
/// nine messages a batch where 700 fit, at four times the cost (the silly window of RFC 896). Two
/// rather than one keep the stream busy while a result is on its way.
const EAGER_BATCHES: usize = 2;
/// What a message costs in a batch beside its own bytes, at most.
const MESSAGE_OVERHEAD_BYTES: usize = 25;

/// A resolver with what it is to be resolved with.
pub(super) type Resolved = (Resolver, Outcome);

/// What to do next on the stream.
#[derive(Debug)]
pub(super) enum Transmit {
    /// Write this.
    Frame(Publish, Bytes),
    /// Say who publishes, and give the answer to [`handle_opened`](Outbox::handle_opened) or
    /// [`handle_not_opened`](Outbox::handle_not_opened).
    Open(ProducerIdentity),
    /// This batch cannot be sent; go on after resolving it.
    Unfit(Resolved),
    /// Nothing now: until a change, or until then.
    Wait(Option<Instant>),
}

/// What the writer has to be told after a push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// A batch was begun, which will be due.
    pub(super) opened: bool,
    /// A batch is ready.
    pub(super) sealed: bool,
}

#[derive(Debug)]
pub(super) struct Outbox {
    options: PublisherOptions,
    limits: Limits,
    state: State,
    placement: Placement,
    producer: Producer,
    open: OpenBatches,
    waiting: VecDeque<Sealed>,
    in_flight: VecDeque<Sent>,
    /// Of the batches in `waiting`, those that the producer holds, and those without a result in `in_flight`.
    sealed_bytes: usize,
    next_sequence: u64,
    next_ordinal: u64,
    /// Batches before this one do not linger.
    hurry_before: u64,
    news: News,
}

/// `Taking => (Closing | Dead)`, `Closing => Dead`.
#[derive(Debug)]
enum State {
    Taking,
    Closing,
    Dead(Disconnected),
}

/// A batch that is built. Ordinals count the batches of the publisher's whole life.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) ordinal: u64,
    pub(super) destination: Destination,
    /// Where it stands in its partition, once it was sent there.
    pub(super) place: Option<Place>,
    pub(super) batch: Batch,
    pub(super) resolver: Resolver,
    /// It was sent on a stream that was lost, and may have been stored by that.
    pub(super) is_again: bool,
}

/// A batch that was given to the stream; empty once its result came.
#[derive(Debug)]
struct Sent {
    first_sequence: u64,
    sealed: Option<Sealed>,
}

impl Sealed {
    fn new(ordinal: u64, destination: Destination, batch: Batch, resolver: Resolver) -> Self {
        Self { ordinal, destination, place: None, batch, resolver, is_again: false }
    }
}

impl Outbox {
    pub(super) fn new(
        options: PublisherOptions,
        limits: Limits,
        identity: ProducerIdentity,
    ) -> Self {
        let options = PublisherOptions {
            max_batch_messages: options.max_batch_messages.max(1),
            max_in_flight_batches: options.max_in_flight_batches.max(1),
            ..options
        };
        let limits = for_batches(limits);
        Self {
            options,
            limits,
            state: State::Taking,
            placement: Placement::default(),
            producer: Producer::new(identity),
            open: OpenBatches::new(limits),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            sealed_bytes: 0,
            next_sequence: 0,
            next_ordinal: 0,
            hurry_before: 0,
            news: News::default(),
        }
    }

    /// Takes a message, or gives `None` while there is no room.
    ///
    /// # Errors
    ///
    /// A message that would not be accepted, whatever room there is; a closed publisher.
    pub(super) fn push(
        &mut self,
        now: Instant,
        message: &Message<'_>,
    ) -> Result<Option<Receipt>, PublishError> {
        self.check_taking()?;
        check_topic(message)?;
        let (bytes, limit) = (message.byte_len(), self.limits.max_message_bytes);
        // Found here rather than by the builder, or the open batch would be sealed to make place for it.
        if bytes > limit as usize {
            return Err(PublishError::MessageTooLarge { bytes, limit });
        }
        let destination = self.placement.of(&message.topic, message.key.as_deref());
        if !self.has_place(destination, bytes) && !self.seal(destination) {
            return Ok(None);
        }
        if let Err(error) = append(self.open.builder(destination), message) {
            let full = matches!(
                error,
                BatchError::TooManyBytes { .. } | BatchError::TooManyMessages { .. }
            );
            if !full || self.open.builder(destination).is_empty() {
                return Err(PublishError::of_message(error));
            }
            if !self.seal(destination) {
                return Ok(None);
            }
            append(self.open.builder(destination), message).map_err(PublishError::of_message)?;
        }
        let next = self.next_ordinal;
        let (receipt, opened) = self.open.receipt(destination, now, next);
        if opened {
            self.next_ordinal += 1;
            self.news.opened = true;
        }
        if self.open.is_full(destination, &self.options) {
            self.seal(destination);
        }
        Ok(Some(receipt))
    }

    /// Takes a whole batch behind everything before it, or gives `None` while there is no room.
    ///
    /// # Errors
    ///
    /// A batch that would not be accepted; a closed publisher.
    pub(super) fn push_batch(&mut self, batch: &Batch) -> Result<Option<Receipt>, PublishError> {
        self.check_taking()?;
        check_fits(batch, &self.limits).map_err(PublishError::Batch)?;
        check_owner(batch)?;
        let destination = self.placement.of_batch(batch).ok_or(PublishError::Scattered)?;
        if !self.seal_all() || !self.has_room(batch.byte_len()) {
            return Ok(None);
        }
        let (ordinal, resolver) = (self.take_ordinal(), Resolver::new());
        let receipt = resolver.receipt(0);
        let batch = batch.clone();
        self.queue(Sealed::new(ordinal, destination, batch, resolver));
        Ok(Some(receipt))
    }

    /// A batch of this message alone, under the limits that hold now.
    ///
    /// # Errors
    ///
    /// A message that would not be accepted.
    pub(super) fn alone(&self, message: &Message<'_>) -> Result<Batch, PublishError> {
        check_topic(message)?;
        let mut builder = BatchBuilder::with_limits(self.limits);
        append(&mut builder, message).map_err(PublishError::of_message)?;
        // It was appended, so there is one.
        builder.finish().ok_or(PublishError::Closed(Disconnected::Closed))
    }

    /// Begins a stream under these limits, to a router that keeps these streams: its sequence counts from zero.
    pub(super) fn begin_stream(&mut self, limits: Limits, streams: &[frame::Stream]) {
        self.next_sequence = 0;
        self.producer.opened = Opened::No;
        self.placement.set(streams, self.producer.identity.id.0);
        let limits = for_batches(limits);
        if limits != self.limits {
            self.limits = limits;
            // What was begun under the old limits is over the bound, once.
            while let Some(destination) = self.open.oldest() {
                self.force_seal(destination);
            }
            self.open = OpenBatches::new(limits);
            self.check_sent();
        }
    }

    /// Looks whether what has its place in a partition can still be sent. What stands behind one that cannot
    /// could never follow it, so all of it begins anew, as the next epoch.
    fn check_sent(&mut self) {
        let unfit = |sealed: &Sealed| {
            sealed.place.is_some() && check_fits(&sealed.batch, &self.limits).is_err()
        };
        if self.waiting.iter().any(unfit) {
            self.producer.begin_epoch();
        }
    }

    /// The router knows who publishes, and says whether it did before it was asked.
    ///
    /// # Errors
    ///
    /// It does, from another publisher: nothing may follow.
    pub(super) fn handle_opened(&mut self, resumed: bool) -> Result<(), Disconnected> {
        self.producer.opened(resumed)
    }

    /// What to write next.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Transmit {
        if let Some(resolved) = self.take_lost() {
            return Transmit::Unfit(resolved);
        }
        if let Some(place) =
            self.waiting.iter().position(|sealed| self.may_send(sealed.destination))
        {
            return self.transmit(place);
        }
        match self.open_due(now) {
            (Some(destination), _) if self.seal(destination) => self.poll_transmit(now),
            // Without room it stays open, and a result will make some.
            (_, until) => Transmit::Wait(until),
        }
    }

    fn transmit(&mut self, place: usize) -> Transmit {
        let Some(mut sealed) = self.waiting.remove(place) else {
            return Transmit::Wait(None);
        };
        let is_stream = sealed.destination != Destination::Memory;
        if let Err(error) = check_fits(&sealed.batch, &self.limits) {
            self.sealed_bytes -= sealed.batch.byte_len();
            return Transmit::Unfit((sealed.resolver, unfit(&error)));
        }
        if is_stream && self.producer.opened == Opened::No {
            self.waiting.insert(place, sealed);
            return Transmit::Open(self.producer.ask());
        }
        let producer_sequence = is_stream.then(|| self.producer.place(&mut sealed).sequence);
        let (first_sequence, bytes) = (self.next_sequence, sealed.batch.as_bytes().clone());
        // A batch's count is a u32.
        let count = u32::try_from(sealed.batch.len()).unwrap_or(u32::MAX);
        self.next_sequence += u64::from(count);
        let (stream, partition) = self.placement.named(sealed.destination);
        let stream = stream.to_owned();
        self.in_flight.push_back(Sent { first_sequence, sealed: Some(sealed) });
        let publish = Publish { first_sequence, count, stream, partition, producer_sequence };
        Transmit::Frame(publish, bytes)
    }

    /// No stream will follow: everything is unknown, and nothing more is taken.
    pub(super) fn fail(&mut self, reason: &Disconnected) -> Vec<Resolved> {
        if !matches!(self.state, State::Dead(_)) {
            self.state = State::Dead(reason.clone());
        }
        self.sealed_bytes = 0;
        let sent = self.in_flight.drain(..).filter_map(|sent| sent.sealed);
        let sealed = sent.chain(self.waiting.drain(..)).chain(self.producer.fail());
        let resolvers = sealed.map(|sealed| sealed.resolver).chain(self.open.fail());
        let unknown = || Outcome::Unknown { reason: reason.clone() };
        resolvers.map(|resolver| (resolver, unknown())).collect()
    }

    /// Takes nothing more; what there is goes without linger.
    pub(super) fn close(&mut self) {
        if matches!(self.state, State::Taking) {
            self.state = State::Closing;
        }
        self.hurry();
    }

    /// Lets what there is go without linger. Gives the mark up to which that is.
    pub(super) fn hurry(&mut self) -> u64 {
        self.hurry_before = self.next_ordinal;
        self.next_ordinal
    }

    /// Whether every batch before a mark has its outcome.
    pub(super) fn is_settled(&self, mark: u64) -> bool {
        let sent = self.in_flight.iter().filter_map(|sent| sent.sealed.as_ref());
        let sealed = sent.chain(&self.waiting).chain(self.producer.held());
        let mut ordinals = sealed.map(|sealed| sealed.ordinal).chain(self.open.ordinals());
        ordinals.all(|ordinal| ordinal >= mark)
    }

    /// Whether it is closed and everything has its outcome.
    pub(super) fn is_finished(&self) -> bool {
        !matches!(self.state, State::Taking) && self.is_settled(self.next_ordinal)
    }

    /// What happened since the last call.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Whether messages are taken; the error says why not.
    pub(super) fn check_taking(&self) -> Result<(), PublishError> {
        match &self.state {
            State::Taking => Ok(()),
            State::Closing => Err(Disconnected::Closed.into()),
            State::Dead(reason) => Err(reason.clone().into()),
        }
    }

    fn may_send(&self, destination: Destination) -> bool {
        destination == Destination::Memory
            || (self.producer.opened != Opened::Asked && self.producer.may_send(destination))
    }

    /// Whether the open batch may grow by so much; a message of any size may open one.
    fn has_place(&mut self, destination: Destination, bytes: usize) -> bool {
        let most = self.options.max_batch_bytes;
        let builder = self.open.builder(destination);
        builder.is_empty()
            || (builder.len() < self.options.max_batch_messages
                && builder.byte_len() + bytes + MESSAGE_OVERHEAD_BYTES <= most)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let sealed = self.waiting.len() + self.in_flight.len() + self.producer.held().count();
        sealed == 0
            || (sealed < self.options.max_in_flight_batches
                && self.sealed_bytes + bytes <= self.options.max_in_flight_bytes)
    }

    /// The open batch that has lingered enough, or when the next one has; none that waits for a result. What
    /// may not be sent yet grows.
    fn open_due(&self, now: Instant) -> (Option<Destination>, Option<Instant>) {
        let mut next: Option<Instant> = None;
        for open in self.open.by_age() {
            let unanswered = self.in_flight.iter().filter_map(|sent| sent.sealed.as_ref());
            let unanswered = unanswered.filter(|sent| sent.destination == open.destination);
            if !self.may_send(open.destination) {
                continue;
            }
            let due = if open.is_full(&self.options) || open.ordinal() < self.hurry_before {
                open.since()
            } else if self.options.linger.is_zero()
                && unanswered.take(EAGER_BATCHES).count() == EAGER_BATCHES
            {
                continue;
            } else {
                open.since() + self.options.linger
            };
            if due <= now {
                return (Some(open.destination), None);
            }
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        (None, next)
    }

    /// Seals an open batch, if there is one. Says whether there is none any more.
    fn seal(&mut self, destination: Destination) -> bool {
        let bytes = self.open.builder(destination).byte_len();
        if !self.open.builder(destination).is_empty() && !self.has_room(bytes) {
            return false;
        }
        self.force_seal(destination);
        true
    }

    fn seal_all(&mut self) -> bool {
        while let Some(destination) = self.open.oldest() {
            if !self.seal(destination) {
                return false;
            }
        }
        true
    }

    fn force_seal(&mut self, destination: Destination) {
        if let Some((ordinal, resolver, batch)) = self.open.finish(destination) {
            self.placement.filled(destination);
            self.queue(Sealed::new(ordinal, destination, batch, resolver));
        }
    }

    fn queue(&mut self, sealed: Sealed) {
        self.sealed_bytes += sealed.batch.byte_len();
        self.waiting.push_back(sealed);
        self.news.sealed = true;
    }

    fn take_ordinal(&mut self) -> u64 {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        ordinal
    }
}

fn check_topic(message: &Message<'_>) -> Result<(), PublishError> {
    if is_closed(&message.topic) {
        return Err(PublishError::SystemTopic(message.topic.chars().take(255).collect()));
    }
    Ok(())
}

fn append(builder: &mut BatchBuilder, message: &Message<'_>) -> Result<(), BatchError> {
    builder.push(
        &message.topic,
        message.key.as_deref(),
        message.headers.as_bytes(),
        &message.payload,
        message.created_or_now(),
    )
}
