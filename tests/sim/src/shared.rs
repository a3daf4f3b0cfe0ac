//! What everything in the simulation has in common: time, chance, the network, the disk, and the checker.

use std::{collections::BTreeMap, fmt, num::NonZeroU32};

use waypost_core::{
    Fsync, GroupName, Lifetimes, Partition, Retention, RouteName, StageName, StreamDefinition,
    StreamName, StreamTable,
};
use waypost_protocol::{Epoch, Offset, Pattern, ProducerId, Topic};

use crate::{
    check::Checker,
    disk::{Disk, Request},
    network::{Client, Connection, Frame, Network, Side, ToClient, ToRouter},
    random::Random,
};

/// The wall's time when a story begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// What happens at a time.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The router starts.
    Start,
    /// A frame arrives at a side.
    Arrive(Connection, Side),
    /// A side hears that the connection is lost.
    Lost(Connection, Side),
    /// The disk begins to write what waits.
    Write,
    /// It has synced.
    Synced,
    /// The disk has room again.
    Room,
    /// It is time for a lane.
    Lane(usize),
    /// It is time for the group.
    Group,
    /// A read of the group is done.
    GroupRead { task: u64, partition: usize, wanted: Option<Offset> },
    /// It is time for a client.
    Client(Client),
}

/// Who asked storage.
#[derive(Debug, Clone)]
pub(crate) enum Asking {
    Open { connection: Connection, producer: ProducerId, epoch: Epoch },
    Publish { connection: Connection, request: u64 },
    LaneBegins(usize),
    Lane(usize),
    GroupBegins,
    GroupKeeps,
    Replay,
    Upkeep,
}

/// The streams, the route and the group of a story.
pub(crate) struct Layout {
    pub(crate) source: StreamDefinition,
    pub(crate) outputs: StreamDefinition,
    pub(crate) letters: StreamDefinition,
    pub(crate) table: StreamTable,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) route: RouteName,
    pub(crate) stages: [StageName; 2],
    /// Where the route's outputs go.
    pub(crate) destination: Topic,
    pub(crate) group: GroupName,
    pub(crate) pattern: Pattern,
    /// Where the group's dead letters go.
    pub(crate) group_letters: Topic,
}

/// What all parts of a story work with.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) random: Random,
    /// The time that does not go back.
    pub(crate) now_ms: u64,
    /// How far the wall's clock is from it.
    pub(crate) skew_ms: i64,
    pub(crate) network: Network,
    pub(crate) disk: Disk<Asking>,
    pub(crate) checker: Checker,
    /// Whether faults are over.
    pub(crate) is_calm: bool,
    /// When they were.
    pub(crate) calm_since_ms: u64,
    /// The story, if it is to be told.
    pub(crate) story: Option<Vec<String>>,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
}

impl Layout {
    pub(crate) fn new(partitions: [u32; 3]) -> Self {
        let stream = |name: &str, topics: &str, partitions: u32| StreamDefinition {
            name: StreamName::parse(name).expect("a name"),
            topics: vec![Pattern::parse(topics).expect("a pattern")],
            partitions: NonZeroU32::new(partitions).unwrap_or(NonZeroU32::MIN),
            retention: Retention::default(),
            ttl: None,
            fsync: Fsync::default(),
        };
        let source = stream("orders", "orders.>", partitions[0]);
        let outputs = stream("made", "made.>", partitions[1]);
        let letters = stream("letters", "$dead.>", partitions[2]);
        let table = StreamTable::new(vec![source.clone(), outputs.clone(), letters.clone()]);
        Self {
            source,
            outputs,
            letters,
            table,
            lifetimes: Lifetimes::default(),
            route: RouteName::parse("make").expect("a name"),
            stages: ["split", "check"].map(|name| StageName::parse(name).expect("a name")),
            destination: Topic::parse("made.all").expect("a topic"),
            group: GroupName::parse("workers").expect("a name"),
            pattern: Pattern::parse("made.>").expect("a pattern"),
            group_letters: Topic::parse("$dead.workers").expect("a topic"),
        }
    }

    pub(crate) fn partitions(definition: &StreamDefinition) -> Vec<Partition> {
        let partition = |index| Partition { stream: definition.name.clone(), index };
        definition.partition_indices().map(partition).collect()
    }
}

impl Shared {
    pub(crate) fn new(layout: Layout, random: Random, is_told: bool) -> Self {
        let mut disk = Disk::new();
        for stream in layout.table.all() {
            for partition in Layout::partitions(stream) {
                disk.declare(&partition, stream.partitions);
            }
        }
        Self {
            checker: Checker::new(&layout),
            layout,
            random,
            now_ms: 0,
            skew_ms: 0,
            network: Network::default(),
            disk,
            is_calm: false,
            calm_since_ms: 0,
            story: is_told.then(Vec::new),
            events: BTreeMap::new(),
            next_event: 0,
        }
    }

    /// The wall's time, which may go back.
    pub(crate) fn wall_ms(&self) -> u64 {
        BEGIN_MS.saturating_add(self.now_ms).saturating_add_signed(self.skew_ms)
    }

    /// A number that nothing else in the story has.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_event += 1;
        self.next_event
    }

    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        let number = self.number();
        self.events.insert((at_ms.max(self.now_ms), number), event);
    }

    /// Something happens within so many milliseconds.
    pub(crate) fn within(&mut self, most_ms: u64, event: Event) {
        let at_ms = self.now_ms + self.random.within(0..most_ms.max(1));
        self.at(at_ms, event);
    }

    /// A client is to do what there is to do within so many milliseconds. The longer nothing goes wrong, the rarer that
    /// is, so that what waits for a day because a clock was wrong comes to its end too.
    pub(crate) fn wake(&mut self, client: Client, most_ms: u64) {
        let calm_ms = if self.is_calm { self.now_ms - self.calm_since_ms } else { 0 };
        self.within(most_ms.max(calm_ms / 10), Event::Client(client));
    }

    /// What happens next; its time is now.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at_ms, _), event) = self.events.pop_first()?;
        self.now_ms = at_ms;
        let wall_ms = self.wall_ms();
        self.checker.clock(wall_ms);
        Some(event)
    }

    pub(crate) fn ask(&mut self, request: Request, asking: Asking) {
        self.disk.ask(request, asking);
        self.within(4, Event::Write);
    }

    pub(crate) fn tell_router(&mut self, connection: Connection, frame: ToRouter) {
        self.tell(|| format!("{connection:?} -> router: {frame:?}"));
        self.send(connection, Side::Router, Frame::ToRouter(frame));
    }

    pub(crate) fn tell_client(&mut self, connection: Connection, frame: ToClient) {
        self.tell(|| format!("router -> {connection:?}: {frame:?}"));
        self.send(connection, Side::Client, Frame::ToClient(frame));
    }

    fn send(&mut self, connection: Connection, side: Side, frame: Frame) {
        // Most are quick, and some take long.
        let most_ms = if self.random.chance(50) { 200 } else { 10 };
        let at_ms = self.now_ms + 1 + self.random.within(0..most_ms);
        if let Some(at_ms) = self.network.send(connection, frame, at_ms) {
            self.at(at_ms, Event::Arrive(connection, side));
        }
    }

    /// Loses a connection; both sides hear of it some time.
    pub(crate) fn lose(&mut self, connection: Connection) {
        if self.network.lose(connection, &mut self.random) {
            self.tell(|| format!("{connection:?} is lost"));
            self.within(300, Event::Lost(connection, Side::Router));
            self.within(300, Event::Lost(connection, Side::Client));
        }
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(story) = &mut self.story {
            story.push(format!("{now_ms:>7} ms  {}", what()));
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}
