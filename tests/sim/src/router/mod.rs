//! The router's shell: what the host's tasks do around the pure core, in thin form and in one thread.
//!
//! It is gone with a crash; the next one knows what the disk does.

mod dlq;
mod draft;
mod group;
mod lane;
mod parked;
mod pipeline;
mod plugin;

use std::collections::BTreeMap;

use group::Group;
pub(crate) use group::{ATTEMPTS, LEASE_MS, MAX_IN_FLIGHT};
use lane::Lane;
use waypost_core::{LeaseId, MemberId};
use waypost_protocol::{Batch, Envelope, Epoch, ErrorCode, Producer, ProducerId, Sequence};
use waypost_storage::{Append, Appended, CommitError, OpenedProducer, Unit};

use crate::{
    disk::{Answer, Request},
    network::{Connection, Frame, Published, Side, ToClient, ToRouter},
    shared::{Asking, Event, Layout, Shared},
};

/// A router that runs.
pub(crate) struct Router {
    /// The publish stream that speaks for each producer.
    speaking: BTreeMap<ProducerId, Connection>,
    sessions: BTreeMap<Connection, (ProducerId, Epoch)>,
    lanes: Vec<Lane>,
    group: Option<Group>,
    /// Letters are leaving: no others do meanwhile.
    is_replaying: bool,
    next_member: u64,
    next_lease: u64,
}

impl Router {
    pub(crate) fn start(shared: &mut Shared) -> Self {
        let sources = Layout::partitions(&shared.layout.source);
        let lanes = sources.into_iter().enumerate().map(|(index, source)| Lane::new(index, source));
        let lanes: Vec<Lane> = lanes.collect();
        let mut router = Self {
            speaking: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lanes,
            group: None,
            is_replaying: false,
            next_member: 0,
            // As no router before it had them.
            next_lease: shared.wall_ms() << 20,
        };
        router.wake(shared);
        router
    }

    /// Something is on the disk that was not.
    pub(crate) fn wake(&mut self, shared: &mut Shared) {
        for lane in &mut self.lanes {
            lane.wake(shared, 3);
        }
        if let Some(group) = &mut self.group {
            group.look(shared);
        }
    }

    pub(crate) fn handle(&mut self, shared: &mut Shared, event: &Event) {
        match event {
            Event::Arrive(connection, _) => {
                if let Some(Frame::ToRouter(frame)) =
                    shared.network.arrive(*connection, Side::Router)
                {
                    self.take(shared, *connection, frame);
                }
            }
            Event::Lost(connection, _) => self.lost(shared, *connection),
            Event::Lane(index) => {
                if let Some(lane) = self.lanes.get_mut(*index) {
                    lane.work(shared);
                }
            }
            Event::Group => self.work_group(shared),
            Event::GroupRead { task, partition, wanted } => {
                if let Some(group) = self.group.as_mut().filter(|group| group.is_task(*task)) {
                    group.read(shared, *partition, *wanted);
                }
                self.work_group(shared);
            }
            _ => {}
        }
    }

    fn take(&mut self, shared: &mut Shared, connection: Connection, frame: ToRouter) {
        match frame {
            ToRouter::Open(producer, epoch) => {
                let request = Request::Open(producer, epoch, shared.wall_ms());
                shared.ask(request, Asking::Open { connection, producer, epoch });
            }
            ToRouter::Publish { request, partition, sequence, batch } => {
                self.publish(shared, connection, (request, partition, sequence), batch);
            }
            ToRouter::Join { credit } => {
                self.next_member += 1;
                let member = MemberId(self.next_member);
                shared.checker.granted(connection, credit);
                let group = self.group.get_or_insert_with(|| Group::begin(shared));
                group.join(shared, (member, connection, credit));
            }
            ToRouter::Grant(messages) => {
                shared.checker.granted(connection, messages);
                if let Some(group) = &mut self.group {
                    group.grant(connection, messages);
                }
            }
            ToRouter::Settle { request, lease, said } => match &mut self.group {
                Some(group) => group.settle(shared, connection, (request, lease), &said),
                None => shared.checker.fail("a member of a group that is no more".to_owned()),
            },
            ToRouter::Leave => {
                if let Some(group) = &mut self.group {
                    group.leave(shared, connection, false);
                }
                self.close(shared, connection);
            }
        }
        self.work_group(shared);
    }

    fn publish(
        &mut self,
        shared: &mut Shared,
        connection: Connection,
        (request, partition, sequence): (u64, u32, Sequence),
        batch: Batch,
    ) {
        let reject = |shared: &mut Shared, code| {
            let published = Published::Rejected(code);
            shared.tell_client(connection, ToClient::Result { request, published });
        };
        let name = shared.layout.source.name.as_str();
        if let Err(misplaced) = shared.layout.table.check_stream(name, partition, &batch) {
            return shared.checker.fail(misplaced.to_string());
        }
        let Some((producer, epoch)) = self.sessions.get(&connection).copied() else {
            return reject(shared, ErrorCode::UnknownProducer);
        };
        if self.speaking.get(&producer) != Some(&connection) {
            return reject(shared, ErrorCode::ProducerFenced);
        }
        let producer = Some(Producer { id: producer, epoch, first_sequence: sequence });
        let envelope = Envelope { ingest_ms: shared.wall_ms(), producer, ..Envelope::default() };
        let partitions = Layout::partitions(&shared.layout.source);
        let Some(partition) = partitions.get(partition as usize).cloned() else { return };
        let unit = Unit::append(Append { partition, batch, envelope, origin: None });
        shared.ask(Request::Commit(Box::new(unit)), Asking::Publish { connection, request });
    }

    fn lost(&mut self, shared: &mut Shared, connection: Connection) {
        if !shared.network.close(connection, Side::Router) {
            return;
        }
        if let Some((producer, _)) = self.sessions.remove(&connection)
            && self.speaking.get(&producer) == Some(&connection)
        {
            self.speaking.remove(&producer);
        }
        if let Some(group) = &mut self.group {
            group.leave(shared, connection, true);
        }
        self.work_group(shared);
    }

    /// Ends a conversation: the client hears of it, and nothing more is taken from it.
    fn close(&mut self, shared: &mut Shared, connection: Connection) {
        shared.tell_client(connection, ToClient::Closed);
        self.lost(shared, connection);
    }

    /// Storage has answered.
    pub(crate) fn answer(&mut self, shared: &mut Shared, asking: Asking, answer: Answer) {
        match (asking, answer) {
            (Asking::Open { connection, producer, epoch }, Answer::Opened(opened)) => {
                self.opened(shared, connection, (producer, epoch), opened);
            }
            (Asking::Publish { connection, request }, Answer::Committed(committed)) => {
                self.published(shared, connection, request, committed.map(|done| done.appends));
            }
            (Asking::LaneBegins(lane), Answer::Committed(committed)) => {
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.begun(shared, committed.is_ok());
                }
            }
            (Asking::Lane(lane), Answer::Committed(committed)) => {
                if let Some(lane) = self.lanes.get_mut(lane)
                    && lane.answered(shared, committed.err())
                {
                    self.is_replaying = false;
                }
            }
            (Asking::Replay, Answer::Committed(_)) => self.is_replaying = false,
            (Asking::GroupBegins, Answer::Committed(committed)) => {
                if let Some(group) = &mut self.group {
                    group.begun(shared, committed.is_ok());
                }
            }
            (Asking::GroupKeeps, Answer::Committed(committed)) => {
                if let Some(group) = &mut self.group {
                    group.kept(shared, committed.err());
                }
            }
            _ => {}
        }
        self.work_group(shared);
    }

    fn opened(
        &mut self,
        shared: &mut Shared,
        connection: Connection,
        session: (ProducerId, Epoch),
        opened: Result<OpenedProducer, CommitError>,
    ) {
        match opened {
            Ok(opened) => {
                if shared.network.client(connection).is_none() {
                    return;
                }
                self.speaking.insert(session.0, connection);
                self.sessions.insert(connection, session);
                let resumed = opened == OpenedProducer::Resumed;
                shared.tell_client(connection, ToClient::Opened { resumed });
            }
            Err(CommitError::ProducerFenced { .. }) => self.close(shared, connection),
            // Its connection is ended, and it asks again on the next one.
            Err(_) => shared.lose(connection),
        }
    }

    fn published(
        &mut self,
        shared: &mut Shared,
        connection: Connection,
        request: u64,
        appends: Result<Vec<Appended>, CommitError>,
    ) {
        let published = match appends.as_deref() {
            Ok([Appended::Stored { first_offset }]) => {
                Published::Committed { offset: Some(*first_offset), is_duplicate: false }
            }
            Ok([Appended::Duplicate { first_offset }]) => {
                Published::Committed { offset: *first_offset, is_duplicate: true }
            }
            Ok(_) => return shared.checker.fail("one batch has one answer".to_owned()),
            Err(error) => match error.code() {
                Some(code) => Published::Rejected(code),
                // Its publisher is told nothing, and asks again.
                None => return shared.lose(connection),
            },
        };
        shared.tell_client(connection, ToClient::Result { request, published });
    }

    /// Tells storage of the producers that have a publish stream, as upkeep does before it forgets those that are silent.
    /// None is forgotten here: stories last seconds.
    pub(crate) fn upkeep(&mut self, shared: &mut Shared) {
        for (connection, (producer, epoch)) in &self.sessions {
            if self.speaking.get(producer) == Some(connection) {
                let request = Request::Open(*producer, *epoch, shared.wall_ms());
                shared.ask(request, Asking::Upkeep);
            }
        }
    }

    /// An operator replays dead letters. One after the other.
    pub(crate) fn replay(&mut self, shared: &mut Shared) {
        if self.is_replaying {
            return;
        }
        self.is_replaying = match dlq::replay(shared) {
            Some((partition, returned)) => {
                let lane = self.lanes.iter_mut().find(|lane| lane.reads(&partition));
                lane.is_some_and(|lane| lane.take_back(shared, returned))
            }
            None => shared.disk.is_asked(|asking| matches!(asking, Asking::Replay)),
        };
    }

    fn work_group(&mut self, shared: &mut Shared) {
        let Some(group) = &mut self.group else { return };
        group.work(shared, &mut self.next_lease);
        for connection in group.take_dismissed() {
            self.close(shared, connection);
        }
        if self.group.as_ref().is_some_and(Group::is_over) {
            shared.tell(|| "the group's task ends".to_owned());
            self.group = None;
            shared.checker.group_ended(&shared.disk);
        }
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_idle(&self, shared: &Shared) -> bool {
        self.lanes.iter().all(|lane| lane.is_idle(shared))
    }

    /// Messages that a lane may have parked at most.
    pub(crate) fn most_parked() -> usize {
        lane::most_parked() + dlq::AT_ONCE
    }
}

/// The next lease of the router's life.
fn lease(next: &mut u64) -> LeaseId {
    *next += 1;
    LeaseId(*next)
}
