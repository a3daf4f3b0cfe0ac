//! A publisher with an identity: what is sent is sent again with its sequence until it has its outcome.
//!
//! It decides as the client library's outbox and producer do, one batch a frame, over one publish stream.

use std::{collections::VecDeque, num::NonZeroU32};

use waypost_protocol::{Batch, Epoch, ErrorCode, ProducerId, Sequence, partition_of};

use crate::{
    check::Resolution,
    message::{self, Content, Fate, Number, WHOLE},
    network::{Client, Connection, Published, ToClient, ToRouter},
    shared::Shared,
};

/// Batches of a partition that have no outcome at most.
const MOST_UNRESOLVED: usize = 4;

/// One life of a producer.
#[derive(Debug)]
pub(crate) struct Producer {
    index: usize,
    identity: (ProducerId, Epoch),
    /// Messages that it is still to publish.
    left: u64,
    connection: Option<Connection>,
    opened: Opened,
    lanes: Vec<Lane>,
    next_request: u64,
    /// It takes itself for alive, although a newer life may have begun.
    is_gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    No,
    Asked,
    Yes,
}

/// What goes to one partition.
#[derive(Debug, Default)]
struct Lane {
    next: u64,
    /// Without an outcome, in order.
    batches: VecDeque<Sealed>,
    unanswered: usize,
    /// The least sequence that certainly holds nothing.
    hole: Option<u64>,
    until_next_stream: bool,
}

#[derive(Debug)]
struct Sealed {
    numbers: Vec<Number>,
    batch: Batch,
    sequence: Option<u64>,
    request: u64,
    state: State,
    /// It was sent on a stream that was lost: whoever took it may have stored it.
    is_again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    Held,
}

impl Producer {
    pub(crate) fn new(
        index: usize,
        identity: (ProducerId, Epoch),
        left: u64,
        partitions: NonZeroU32,
    ) -> Self {
        let lanes = (0..partitions.get()).map(|_| Lane::default()).collect();
        let (connection, opened) = (None, Opened::No);
        Self { index, identity, left, connection, opened, lanes, next_request: 0, is_gone: false }
    }

    pub(crate) fn identity(&self) -> (ProducerId, Epoch) {
        self.identity
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Hands what it has not published yet to another life.
    pub(crate) fn take_left(&mut self) -> u64 {
        std::mem::take(&mut self.left)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_gone || (self.left == 0 && self.lanes.iter().all(|lane| lane.batches.is_empty()))
    }

    /// Its process is killed.
    pub(crate) fn crash(&mut self, shared: &mut Shared) {
        self.end(shared, Resolution::Unknown);
        if let Some(connection) = self.connection.take() {
            shared.network.close(connection, crate::network::Side::Client);
            shared.lose(connection);
        }
    }

    fn end(&mut self, shared: &mut Shared, resolution: Resolution) {
        self.is_gone = true;
        for batch in self.lanes.iter_mut().flat_map(|lane| lane.batches.drain(..)) {
            resolve(shared, &batch.numbers, resolution);
        }
    }

    /// Does what there is to do, now and again.
    pub(crate) fn work(&mut self, shared: &mut Shared) {
        if self.is_finished() {
            return;
        }
        let again_ms = 40;
        let Some(connection) = self.connection else {
            self.connection = Some(shared.network.connect(Client::Producer(self.index)));
            return shared.wake(Client::Producer(self.index), again_ms);
        };
        if self.left > 0 {
            self.make(shared);
        }
        match self.opened {
            Opened::No => {
                self.opened = Opened::Asked;
                shared.tell_router(connection, ToRouter::Open(self.identity.0, self.identity.1));
            }
            Opened::Asked => {}
            Opened::Yes => self.send(shared, connection),
        }
        shared.wake(Client::Producer(self.index), again_ms);
    }

    /// Publishes a batch, where there is room.
    fn make(&mut self, shared: &mut Shared) {
        let count = shared.random.within(1..5).min(self.left);
        let first_key = shared.random.within(0..8);
        let partitions = NonZeroU32::new(u32::try_from(self.lanes.len()).unwrap_or(1));
        let partitions = partitions.unwrap_or(NonZeroU32::MIN);
        let place = |key: u8| match message::key(key) {
            Some(key) => partition_of(&key, partitions),
            None => u32::try_from(self.identity.0.0).unwrap_or(0) % partitions,
        };
        let partition = place(u8::try_from(first_key).unwrap_or(0));
        let Some(lane) = self.lanes.get_mut(partition as usize) else { return };
        if lane.batches.len() >= MOST_UNRESOLVED {
            return;
        }
        let mut messages = Vec::new();
        for _ in 0..count {
            let key = u8::try_from(shared.random.within(0..8)).unwrap_or(0);
            let key =
                if place(key) == partition { key } else { u8::try_from(first_key).unwrap_or(0) };
            let key = message::key(key);
            let fate = fate(shared);
            let number = shared.checker.publish(self.identity, partition, key, fate);
            let drawn = u16::try_from(shared.random.within(1..600)).unwrap_or(1);
            let ttl_ms = shared.random.chance(150).then_some(drawn);
            messages.push((key, Content { number, fate, part: WHOLE, ttl_ms }));
        }
        self.left -= count;
        let numbers = messages.iter().map(|(_, content)| content.number).collect();
        let batch = message::batch("orders.new", messages);
        let (sequence, request, state) = (None, 0, State::Waiting);
        lane.batches.push_back(Sealed {
            numbers,
            batch,
            sequence,
            request,
            state,
            is_again: false,
        });
    }

    fn send(&mut self, shared: &mut Shared, connection: Connection) {
        for (partition, lane) in (0..).zip(&mut self.lanes) {
            if lane.hole.is_some() || lane.batches.iter().any(|each| each.state == State::Held) {
                continue;
            }
            for sealed in lane.batches.iter_mut().filter(|each| each.state == State::Waiting) {
                let sequence = *sealed.sequence.get_or_insert(lane.next);
                lane.next = lane.next.max(sequence + sealed.batch.len() as u64);
                lane.unanswered += 1;
                self.next_request += 1;
                (sealed.request, sealed.state) = (self.next_request, State::Sent);
                let (request, sequence) = (sealed.request, Sequence(sequence));
                let batch = sealed.batch.clone();
                let frame = ToRouter::Publish { request, partition, sequence, batch };
                shared.tell_router(connection, frame);
            }
        }
    }

    pub(crate) fn take(&mut self, shared: &mut Shared, connection: Connection, frame: ToClient) {
        if self.connection != Some(connection) || self.is_gone {
            return;
        }
        match frame {
            ToClient::Opened { resumed } => {
                self.opened = Opened::Yes;
                let has_sent = self.lanes.iter().any(|lane| lane.next > 0);
                if !resumed && has_sent {
                    self.begin_life(shared);
                }
            }
            ToClient::Result { request, published } => self.result(shared, request, published),
            // A newer life was opened.
            ToClient::Closed => self.end(shared, Resolution::Unknown),
            _ => {}
        }
    }

    /// The router cannot tell any more what became of what was sent.
    fn begin_life(&mut self, shared: &mut Shared) {
        for lane in &mut self.lanes {
            let (lost, kept): (Vec<_>, Vec<_>) =
                lane.batches.drain(..).partition(|sealed| sealed.sequence.is_some());
            for sealed in lost {
                resolve(shared, &sealed.numbers, Resolution::Unknown);
            }
            *lane = Lane { batches: kept.into(), ..Lane::default() };
        }
    }

    fn result(&mut self, shared: &mut Shared, request: u64, published: Published) {
        let found = self.lanes.iter_mut().find_map(|lane| {
            let at = lane
                .batches
                .iter()
                .position(|sealed| sealed.state == State::Sent && sealed.request == request)?;
            Some((lane, at))
        });
        let Some((lane, at)) = found else {
            return shared.checker.fail(format!("a result for {request}, which nobody awaits"));
        };
        lane.unanswered -= 1;
        let Some(sealed) = lane.batches.get_mut(at) else { return };
        match published {
            Published::Committed { offset, is_duplicate } => {
                let numbers = sealed.numbers.clone();
                lane.batches.remove(at);
                shared.checker.committed(&shared.disk, &numbers, offset, is_duplicate);
            }
            Published::Rejected(ErrorCode::OutOfSequence) => sealed.state = State::Held,
            Published::Rejected(ErrorCode::ShuttingDown | ErrorCode::StorageFenced) => {
                sealed.state = State::Held;
                lane.until_next_stream = true;
                let first = sealed.sequence.unwrap_or(0);
                lane.hole = Some(lane.hole.map_or(first, |hole| hole.min(first)));
            }
            Published::Rejected(code) if sealed.is_again && !knows(code) => {
                let numbers = sealed.numbers.clone();
                lane.batches.remove(at);
                resolve(shared, &numbers, Resolution::Unknown);
            }
            Published::Rejected(_) => {
                let first = sealed.sequence.unwrap_or(0);
                let numbers = sealed.numbers.clone();
                lane.batches.remove(at);
                lane.hole = Some(lane.hole.map_or(first, |hole| hole.min(first)));
                resolve(shared, &numbers, Resolution::Rejected);
            }
        }
        lane.answered(shared);
        if published == Published::Rejected(ErrorCode::ProducerFenced) {
            // A newer life speaks, and this publisher ends.
            self.end(shared, Resolution::Unknown);
        }
    }

    /// The connection is lost: what has no outcome goes again on the next one.
    pub(crate) fn lost(&mut self, shared: &mut Shared, connection: Connection) {
        if self.connection != Some(connection) || self.is_gone {
            return;
        }
        (self.connection, self.opened) = (None, Opened::No);
        for lane in &mut self.lanes {
            lane.lost();
        }
        shared.wake(Client::Producer(self.index), 50);
    }
}

impl Lane {
    fn answered(&mut self, shared: &mut Shared) {
        if self.unanswered > 0 || self.until_next_stream {
            return;
        }
        if self.hole.is_none()
            && let Some(at) = self.batches.iter().position(|sealed| sealed.state == State::Held)
            && let Some(sealed) = self.batches.remove(at)
        {
            self.hole = sealed.sequence;
            resolve(shared, &sealed.numbers, Resolution::Rejected);
            shared.checker.fail("a batch is out of sequence on its own account".to_owned());
        }
        if let Some(hole) = self.hole.take() {
            self.next = hole;
        }
        for sealed in self.batches.iter_mut().filter(|sealed| sealed.state == State::Held) {
            (sealed.state, sealed.sequence) = (State::Waiting, None);
        }
    }

    fn lost(&mut self) {
        for sealed in self.batches.iter_mut().filter(|sealed| sealed.state != State::Waiting) {
            sealed.is_again |= sealed.state == State::Sent;
            sealed.state = State::Waiting;
            if sealed.sequence.zip(self.hole).is_some_and(|(sequence, hole)| sequence >= hole) {
                (sealed.sequence, sealed.is_again) = (None, false);
            }
        }
        self.next = self.hole.take().unwrap_or(self.next);
        (self.unanswered, self.until_next_stream) = (0, false);
    }
}

/// Whether a batch that is refused so was not stored before either: storage has looked.
fn knows(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::OutOfSequence | ErrorCode::StorageFull)
}

fn resolve(shared: &mut Shared, numbers: &[Number], resolution: Resolution) {
    for number in numbers {
        shared.checker.resolved(*number, resolution);
    }
}

fn fate(shared: &mut Shared) -> Fate {
    let count = u8::try_from(shared.random.within(1..4)).unwrap_or(1);
    match shared.random.within(0..20) {
        0 | 1 => Fate::Drop,
        2 | 3 => Fate::Emit(count),
        4 => Fate::Reject,
        5 => Fate::Poison,
        6..=8 => Fate::Flaky,
        9 | 10 => Fate::EmitFlaky(count),
        _ => Fate::Forward,
    }
}
