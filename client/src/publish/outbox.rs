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

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;
use waypost_protocol::{
    Batch, BatchBuilder, BatchError, Limits,
    frame::{Publish, PublishResult},
};

use super::{
    Message, PublishError, PublisherOptions,
    fit::{check_fits, check_owner, for_batches, is_closed, unfit},
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
    builder: BatchBuilder,
    open: Option<Open>,
    waiting: VecDeque<Sealed>,
    in_flight: VecDeque<Sent>,
    /// Of the batches in `waiting` and those without a result in `in_flight`.
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

/// The batch that is being built. Ordinals count the batches of the publisher's whole life.
#[derive(Debug)]
struct Open {
    ordinal: u64,
    resolver: Resolver,
    since: Instant,
}

#[derive(Debug)]
struct Sealed {
    ordinal: u64,
    batch: Batch,
    resolver: Resolver,
}

/// A batch that was given to the stream; empty once its result came.
#[derive(Debug)]
struct Sent {
    first_sequence: u64,
    sealed: Option<Sealed>,
}

impl Outbox {
    pub(super) fn new(options: PublisherOptions, limits: Limits) -> Self {
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
            builder: BatchBuilder::with_limits(limits),
            open: None,
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
        if !self.has_place(bytes) && !self.seal() {
            return Ok(None);
        }
        if let Err(error) = self.append(message) {
            let full = matches!(
                error,
                BatchError::TooManyBytes { .. } | BatchError::TooManyMessages { .. }
            );
            if !full || self.open.is_none() {
                return Err(PublishError::of_message(error));
            }
            if !self.seal() {
                return Ok(None);
            }
            self.append(message).map_err(PublishError::of_message)?;
        }
        let index = self.builder.len() - 1;
        let receipt = self.open_since(now).resolver.receipt(index);
        if self.is_full() {
            self.seal();
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
        if !self.seal() || !self.has_room(batch.byte_len()) {
            return Ok(None);
        }
        let (ordinal, resolver) = (self.take_ordinal(), Resolver::new());
        let receipt = resolver.receipt(0);
        self.queue(Sealed { ordinal, batch: batch.clone(), resolver });
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

    /// Begins a stream under these limits: its sequence counts from zero.
    pub(super) fn begin_stream(&mut self, limits: Limits) {
        self.next_sequence = 0;
        let limits = for_batches(limits);
        if limits != self.limits {
            self.limits = limits;
            // What was begun under the old limits is one batch over the bound, once.
            self.force_seal();
            self.builder = BatchBuilder::with_limits(limits);
        }
    }

    /// What to write next.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Transmit {
        if self.waiting.is_empty()
            && let Some(due) = self.open_due()
        {
            if due > now {
                return Transmit::Wait(Some(due));
            }
            // Without room it stays open, and a result will make some.
            self.seal();
        }
        let Some(sealed) = self.waiting.pop_front() else {
            return Transmit::Wait(None);
        };
        if let Err(error) = check_fits(&sealed.batch, &self.limits) {
            self.sealed_bytes -= sealed.batch.byte_len();
            return Transmit::Unfit((sealed.resolver, unfit(&error)));
        }
        let (first_sequence, bytes) = (self.next_sequence, sealed.batch.as_bytes().clone());
        // A batch's count is a u32.
        let count = u32::try_from(sealed.batch.len()).unwrap_or(u32::MAX);
        self.next_sequence += u64::from(count);
        self.in_flight.push_back(Sent { first_sequence, sealed: Some(sealed) });
        Transmit::Frame(Publish { first_sequence, count }, bytes)
    }

    /// Takes a result of the stream.
    ///
    /// # Errors
    ///
    /// A result that answers nothing that was sent, or says nothing; in words for the router.
    pub(super) fn handle_result(&mut self, result: PublishResult) -> Result<Resolved, String> {
        let first = result.first_sequence;
        let place = self.in_flight.binary_search_by_key(&first, |sent| sent.first_sequence);
        let found = place.ok().and_then(|place| self.in_flight.get_mut(place));
        let Some(sent) = found else {
            return Err(format!("a result for sequence {first}, at which no publish began"));
        };
        let count = sent.sealed.as_ref().map(|sealed| sealed.batch.len());
        if count != usize::try_from(result.count).ok() {
            let count = count.unwrap_or(0);
            return Err(format!("a result for {} messages, {count} wait for one", result.count));
        }
        let outcome =
            Outcome::of_result(result).ok_or("a result that is neither committed nor rejected")?;
        let sealed = sent.sealed.take().ok_or("a second result for a publish")?;
        self.sealed_bytes -= sealed.batch.byte_len();
        while self.in_flight.front().is_some_and(|sent| sent.sealed.is_none()) {
            self.in_flight.pop_front();
        }
        Ok((sealed.resolver, outcome))
    }

    /// The stream is lost: what was sent without a result is unknown, or is to be sent again.
    pub(super) fn handle_lost(&mut self, reason: &Disconnected) -> Vec<Resolved> {
        let sent = self.in_flight.drain(..).filter_map(|sent| sent.sealed);
        if self.options.resend_unknown {
            sent.rev().for_each(|sealed| self.waiting.push_front(sealed));
            return Vec::new();
        }
        let mut resolved = Vec::new();
        for Sealed { batch, resolver, .. } in sent {
            self.sealed_bytes -= batch.byte_len();
            resolved.push((resolver, Outcome::Unknown { reason: reason.clone() }));
        }
        resolved
    }

    /// No stream will follow: everything is unknown, and nothing more is taken.
    pub(super) fn fail(&mut self, reason: &Disconnected) -> Vec<Resolved> {
        if !matches!(self.state, State::Dead(_)) {
            self.state = State::Dead(reason.clone());
        }
        self.builder = BatchBuilder::with_limits(self.limits);
        self.sealed_bytes = 0;
        let sent = self.in_flight.drain(..).filter_map(|sent| sent.sealed);
        let resolvers = sent.chain(self.waiting.drain(..)).map(|sealed| sealed.resolver);
        let resolvers = resolvers.chain(self.open.take().map(|open| open.resolver));
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
        let mut ordinals = sent.chain(&self.waiting).map(|sealed| sealed.ordinal);
        // In order of their ordinals, so the first is the oldest.
        let oldest = ordinals.next().or(self.open.as_ref().map(|open| open.ordinal));
        oldest.is_none_or(|oldest| oldest >= mark)
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

    fn append(&mut self, message: &Message<'_>) -> Result<(), BatchError> {
        append(&mut self.builder, message)
    }

    fn open_since(&mut self, now: Instant) -> &Open {
        let ordinal = self.next_ordinal;
        self.open.get_or_insert_with(|| {
            self.next_ordinal += 1;
            self.news.opened = true;
            Open { ordinal, resolver: Resolver::new(), since: now }
        })
    }

    /// Whether the open batch may grow by so much; a message of any size may open one.
    fn has_place(&self, bytes: usize) -> bool {
        self.open.is_none()
            || (!self.is_full()
                && self.builder.byte_len() + bytes + MESSAGE_OVERHEAD_BYTES
                    <= self.options.max_batch_bytes)
    }

    fn is_full(&self) -> bool {
        self.builder.len() >= self.options.max_batch_messages
            || self.builder.byte_len() >= self.options.max_batch_bytes
    }

    fn has_room(&self, bytes: usize) -> bool {
        let sealed = self.waiting.len() + self.in_flight.len();
        sealed == 0
            || (sealed < self.options.max_in_flight_batches
                && self.sealed_bytes + bytes <= self.options.max_in_flight_bytes)
    }

    /// When the open batch has lingered enough; `None` when there is none, or it waits for a result.
    fn open_due(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        if self.is_full() || open.ordinal < self.hurry_before {
            return Some(open.since);
        }
        let unanswered = self.in_flight.iter().filter(|sent| sent.sealed.is_some());
        if self.options.linger.is_zero() && unanswered.take(EAGER_BATCHES).count() == EAGER_BATCHES
        {
            return None;
        }
        Some(open.since + self.options.linger)
    }

    /// Seals the open batch, if there is one. Says whether there is none any more.
    fn seal(&mut self) -> bool {
        if self.open.is_some() && !self.has_room(self.builder.byte_len()) {
            return false;
        }
        self.force_seal();
        true
    }

    fn force_seal(&mut self) {
        if let Some(Open { ordinal, resolver, .. }) = self.open.take()
            && let Some(batch) = self.builder.finish()
        {
            self.queue(Sealed { ordinal, batch, resolver });
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
