//! A member of the group: it acknowledges, returns, rejects, extends, stalls, leaves, and says what is stale.

use std::collections::BTreeMap;

use waypost_core::LeaseId;
use waypost_protocol::Offset;

use crate::{
    network::{Client, Connection, Given, Said, Side, ToClient, ToRouter},
    shared::{Event, Shared},
};

/// One that joins again whenever it is out.
#[derive(Debug)]
pub(crate) struct Member {
    index: usize,
    connection: Option<Connection>,
    /// What it holds and has said nothing of, by when it does.
    held: Vec<(u64, Given)>,
    /// What it asked for and waits to hear of.
    asked: BTreeMap<u64, (LeaseId, Vec<Offset>)>,
    next_request: u64,
    /// A lease that it settled already.
    old: Option<(LeaseId, Vec<Offset>)>,
    is_out_until_ms: u64,
    /// How often it is about to look what there is to do.
    wakes: usize,
}

impl Member {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            connection: None,
            held: Vec::new(),
            asked: BTreeMap::new(),
            next_request: 0,
            old: None,
            is_out_until_ms: 0,
            wakes: 1,
        }
    }

    fn client(&self) -> Client {
        Client::Member(self.index)
    }

    /// Does what there is to do, now and again.
    pub(crate) fn work(&mut self, shared: &mut Shared) {
        self.wakes -= 1;
        self.act(shared);
        if !self.held.is_empty() {
            self.wake_soon(shared);
        } else if self.wakes == 0 {
            self.wakes += 1;
            shared.wake(self.client(), 30);
        }
    }

    /// What it holds it settles in time, however seldom it looks otherwise.
    fn wake_soon(&mut self, shared: &mut Shared) {
        self.wakes += 1;
        shared.within(30, Event::Client(self.client()));
    }

    fn act(&mut self, shared: &mut Shared) {
        let Some(connection) = self.connection else {
            if shared.now_ms >= self.is_out_until_ms {
                let connection = shared.network.connect(self.client());
                self.connection = Some(connection);
                let credit = shared.random.within(3..10);
                shared.tell_router(connection, ToRouter::Join { credit });
            }
            return;
        };
        if !shared.is_calm && shared.random.chance(8) {
            shared.tell_router(connection, ToRouter::Leave);
            return self.out(shared, 400);
        }
        let now_ms = shared.now_ms;
        let (due, later) =
            std::mem::take(&mut self.held).into_iter().partition(|(at, _)| *at <= now_ms);
        self.held = later;
        let due: Vec<(u64, Given)> = due;
        for (_, given) in due {
            self.say(shared, connection, given);
        }
        if self.held.is_empty() && shared.random.chance(200) {
            // It waits, and says so: a member whose lease ran out is given nothing until it is heard of.
            shared.tell_router(connection, ToRouter::Grant(0));
        }
        if let Some((lease, offsets)) = self.old.clone().filter(|_| shared.random.chance(50)) {
            // Late, and twice.
            self.send(shared, connection, lease, Said::Ack(offsets), false);
        }
    }

    fn say(&mut self, shared: &mut Shared, connection: Connection, given: Given) {
        let Given { lease, messages, .. } = &given;
        let offsets: Vec<Offset> = messages.iter().map(|message| message.offset).collect();
        let at = *lease;
        shared.tell_router(connection, ToRouter::Grant(messages.len() as u64));
        let is_asked = shared.random.chance(600);
        let some = || offsets.iter().copied().step_by(2).collect::<Vec<_>>();
        let drawn = if shared.is_calm { 10 } else { shared.random.within(0..20) };
        let delay_ms = shared.random.chance(500).then_some(40);
        match drawn {
            0 => self.send(shared, connection, at, Said::Nack(offsets.clone(), delay_ms), is_asked),
            1 => self.send(shared, connection, at, Said::Nack(some(), delay_ms), is_asked),
            2 => self.send(shared, connection, at, Said::Reject(some()), is_asked),
            3 => {
                self.send(shared, connection, at, Said::Extend, false);
                let again_ms = shared.now_ms + shared.random.within(50..400);
                return self.held.push((again_ms, given));
            }
            // It says nothing more of them.
            4 => return,
            5 => self.send(shared, connection, at, Said::Ack(some()), is_asked),
            6 | 7 => {
                let through = shared.random.pick(offsets.len());
                let through = offsets.get(through).copied().unwrap_or_default();
                self.send(shared, connection, at, Said::AckThrough(through), is_asked);
            }
            _ => {
                self.old = Some((*lease, offsets.clone()));
                self.send(shared, connection, at, Said::Ack(offsets.clone()), is_asked);
            }
        }
        if matches!(drawn, 1 | 2 | 5 | 6 | 7) {
            // Of the rest later; what is settled already is passed over.
            let again_ms = shared.now_ms + shared.random.within(1..100);
            self.held.push((again_ms, given));
        }
    }

    fn send(
        &mut self,
        shared: &mut Shared,
        connection: Connection,
        lease: LeaseId,
        said: Said,
        is_asked: bool,
    ) {
        self.next_request += 1;
        let request = is_asked.then_some(self.next_request);
        if let (Some(request), Said::Ack(offsets)) = (request, &said) {
            self.asked.insert(request, (lease, offsets.clone()));
        }
        shared.checker.said(connection, lease, &said);
        shared.tell_router(connection, ToRouter::Settle { request, lease, said });
    }

    pub(crate) fn take(&mut self, shared: &mut Shared, connection: Connection, frame: ToClient) {
        if self.connection != Some(connection) {
            return;
        }
        match frame {
            ToClient::Given(given) => {
                shared.checker.received(&given);
                let at_ms = shared.now_ms + shared.random.within(0..80);
                self.held.push((at_ms, given));
                self.wake_soon(shared);
            }
            ToClient::Settled { request, is_refused } => {
                let asked = self.asked.remove(&request).filter(|_| !is_refused);
                if let Some((lease, offsets)) = asked {
                    shared.checker.confirmed(&shared.disk, connection, lease, &offsets);
                }
            }
            ToClient::Closed => self.lost(shared, connection),
            _ => {}
        }
    }

    /// The connection is lost: what was held comes again, to whomever.
    pub(crate) fn lost(&mut self, shared: &mut Shared, connection: Connection) {
        if self.connection == Some(connection) {
            self.out(shared, 100);
        }
    }

    /// Its process is killed.
    pub(crate) fn crash(&mut self, shared: &mut Shared) {
        if let Some(connection) = self.connection {
            shared.network.close(connection, Side::Client);
            shared.lose(connection);
            self.old = None;
            self.out(shared, 500);
        }
    }

    fn out(&mut self, shared: &mut Shared, most_ms: u64) {
        self.connection = None;
        self.held.clear();
        self.asked.clear();
        self.is_out_until_ms = shared.now_ms + shared.random.within(0..most_ms);
    }
}
