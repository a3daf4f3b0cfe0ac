//! The simulated network: connections whose two directions keep their order, as the streams of QUIC do.
//!
//! A connection that is lost loses what is on its way from some message on, in each direction by itself; either side
//! hears of it later. Connections overtake each other.

use std::collections::{BTreeMap, VecDeque};

use waypost_core::LeaseId;
use waypost_protocol::{Batch, Epoch, ErrorCode, Offset, ProducerId, Sequence};

use crate::{message::Content, random::Random};

/// A connection, unique in its story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection(pub(crate) u64);

/// Who speaks from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    Producer(usize),
    Member(usize),
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Router,
    Client,
}

/// What members say of what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Ack(Vec<Offset>),
    AckThrough(Offset),
    Nack(Vec<Offset>, Option<u64>),
    Reject(Vec<Offset>),
    Extend,
}

#[derive(Debug, Clone)]
pub(crate) enum ToRouter {
    Open(ProducerId, Epoch),
    Publish { request: u64, partition: u32, sequence: Sequence, batch: Batch },
    Join { credit: u64 },
    Grant(u64),
    Settle { request: Option<u64>, lease: LeaseId, said: Said },
    Leave,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Committed { offset: Option<Offset>, is_duplicate: bool },
    Rejected(ErrorCode),
}

/// A message as a member is given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenMessage {
    pub(crate) offset: Offset,
    pub(crate) attempt: u32,
    pub(crate) key: Option<u8>,
    pub(crate) content: Content,
}

/// Messages under a lease.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) lease: LeaseId,
    pub(crate) partition: u32,
    pub(crate) messages: Vec<GivenMessage>,
}

#[derive(Debug, Clone)]
pub(crate) enum ToClient {
    Opened { resumed: bool },
    Result { request: u64, published: Published },
    Joined,
    Given(Given),
    Settled { request: u64, is_refused: bool },
    Closed,
}

#[derive(Debug, Clone)]
pub(crate) enum Frame {
    ToRouter(ToRouter),
    ToClient(ToClient),
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    frames: VecDeque<Frame>,
    /// When the last of them arrives.
    last_ms: u64,
    /// How many still arrive, once the connection is lost.
    left: Option<usize>,
    /// The end has gone, or has heard of the loss.
    is_deaf: bool,
}

#[derive(Debug)]
struct Pair {
    client: Client,
    to_router: Way,
    to_client: Way,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pairs: BTreeMap<Connection, Pair>,
    next: u64,
}

impl Pair {
    fn to(&mut self, side: Side) -> &mut Way {
        match side {
            Side::Router => &mut self.to_router,
            Side::Client => &mut self.to_client,
        }
    }
}

impl Network {
    pub(crate) fn connect(&mut self, client: Client) -> Connection {
        self.next += 1;
        let connection = Connection(self.next);
        let (to_router, to_client) = (Way::default(), Way::default());
        self.pairs.insert(connection, Pair { client, to_router, to_client });
        connection
    }

    pub(crate) fn client(&self, connection: Connection) -> Option<Client> {
        self.pairs.get(&connection).map(|pair| pair.client)
    }

    /// Sends a frame that would arrive then; gives when it does.
    pub(crate) fn send(&mut self, connection: Connection, frame: Frame, at_ms: u64) -> Option<u64> {
        let side = match frame {
            Frame::ToRouter(_) => Side::Router,
            Frame::ToClient(_) => Side::Client,
        };
        let way = self.pairs.get_mut(&connection)?.to(side);
        if way.left.is_some() || way.is_deaf {
            return None;
        }
        way.last_ms = way.last_ms.max(at_ms);
        way.frames.push_back(frame);
        Some(way.last_ms)
    }

    /// The next frame that arrives at a side, if it does.
    pub(crate) fn arrive(&mut self, connection: Connection, side: Side) -> Option<Frame> {
        let way = self.pairs.get_mut(&connection)?.to(side);
        let frame = way.frames.pop_front()?;
        match &mut way.left {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        (!way.is_deaf).then_some(frame)
    }

    /// Loses the connection. Says whether it was there.
    pub(crate) fn lose(&mut self, connection: Connection, random: &mut Random) -> bool {
        let Some(pair) = self.pairs.get_mut(&connection) else { return false };
        for way in [&mut pair.to_router, &mut pair.to_client] {
            let left = random.pick(way.frames.len() + 1);
            way.left.get_or_insert(left);
        }
        true
    }

    /// An end has gone, or has heard of the loss: nothing arrives there any more. Says whether it is news.
    pub(crate) fn close(&mut self, connection: Connection, side: Side) -> bool {
        let Some(pair) = self.pairs.get_mut(&connection) else { return false };
        let is_news = !std::mem::replace(&mut pair.to(side).is_deaf, true);
        if pair.to_router.is_deaf && pair.to_client.is_deaf {
            self.pairs.remove(&connection);
        }
        is_news
    }

    /// The connections that are not lost.
    pub(crate) fn alive(&self) -> Vec<Connection> {
        let alive = self.pairs.iter().filter(|(_, pair)| pair.to_router.left.is_none());
        alive.map(|(connection, _)| *connection).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Connection> {
        self.pairs.keys().copied().collect()
    }
}
