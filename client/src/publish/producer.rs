//! The identity under which batches are stored, and their sequences in each partition. Pure.
//!
//! A batch has its sequence from the first time that it is sent, and keeps it however often it is sent again,
//! so that it is stored once. When a batch is certainly not stored, those behind it in its partition are
//! refused as out of sequence: they are held until the router has answered all of them, and then take the
//! sequences from the refused one on.

use std::collections::HashMap;

use waypost_protocol::{Epoch, ProducerId};

use super::{outbox::Sealed, placement::Destination};
use crate::Disconnected;

/// Who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer. Two that live at the same time have two identities.
    pub id: ProducerId,
    /// Which life of it: a greater one fences those before it. A publisher that is given one under which another
    /// publisher has spoken before ends with [`Disconnected::EpochUsed`].
    pub epoch: Epoch,
}

/// The place of a batch in what the producer sends to its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Sequences of different lives have nothing to do with each other.
    life: u64,
    pub(super) sequence: u64,
}

/// The producer as the outbox has it.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) identity: ProducerIdentity,
    pub(super) opened: Opened,
    /// How often the router was asked to open this epoch.
    asks: u64,
    life: u64,
    lanes: HashMap<Destination, Lane>,
}

/// Whether the router knows who publishes on this stream. `No => Asked => (Yes | No)`, and `No` on the next stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    No,
    Asked,
    Yes,
}

/// What is sent to one partition.
#[derive(Debug, Default)]
struct Lane {
    next: u64,
    /// Batches without an answer on this stream.
    unanswered: usize,
    /// The least sequence that certainly holds nothing.
    hole: Option<u64>,
    /// Those that were refused because of what came before them, with the words of the router.
    held: Vec<(Sealed, String)>,
    /// The router takes nothing any more: what is held goes to the next one.
    until_next_stream: bool,
}

/// What follows from an answer.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// To be sent again, in any order.
    pub(super) again: Vec<Sealed>,
    /// Out of sequence on its own account.
    pub(super) refused: Option<(Sealed, String)>,
}

impl Producer {
    pub(super) fn new(identity: ProducerIdentity) -> Self {
        Self { identity, opened: Opened::No, asks: 0, life: 0, lanes: HashMap::new() }
    }

    /// The router is to be asked to open this life.
    pub(super) fn ask(&mut self) -> ProducerIdentity {
        self.opened = Opened::Asked;
        self.asks += 1;
        self.identity
    }

    /// The router knows who publishes. When it did not know this life of the producer before, it cannot tell
    /// what became of what was sent, and sequences begin anew.
    ///
    /// # Errors
    ///
    /// It knows the life from another publisher, for it was never asked by this one: it would take the first
    /// messages of this one for those of the other, and store none of them.
    pub(super) fn opened(&mut self, resumed: bool) -> Result<(), Disconnected> {
        let ProducerIdentity { id, epoch } = self.identity;
        if resumed && self.asks == 1 {
            return Err(Disconnected::EpochUsed { producer: id, epoch });
        }
        self.opened = Opened::Yes;
        if !resumed && self.has_sent() {
            self.begin_life();
        }
        Ok(())
    }

    /// The router did not open this life, which it would have done had it known the producer: what became of what
    /// was sent cannot be learned any more.
    pub(super) fn not_opened(&mut self) {
        self.opened = Opened::No;
        self.asks = self.asks.saturating_sub(1);
        if self.has_sent() {
            self.begin_life();
        }
    }

    /// Whether a batch may go there now.
    pub(super) fn may_send(&self, destination: Destination) -> bool {
        let lane = self.lanes.get(&destination);
        lane.is_none_or(|lane| lane.hole.is_none() && lane.held.is_empty())
    }

    /// Gives a batch that is sent its place, unless it has one.
    pub(super) fn place(&mut self, sealed: &mut Sealed) -> Place {
        let lane = self.lanes.entry(sealed.destination).or_default();
        lane.unanswered += 1;
        *sealed.place.get_or_insert_with(|| {
            let place = Place { life: self.life, sequence: lane.next };
            lane.next += sealed.batch.len() as u64;
            place
        })
    }

    /// Whether it is not to be known any more whether a batch was stored.
    pub(super) fn has_lost(&self, sealed: &Sealed) -> bool {
        sealed.place.is_some_and(|place| place.life != self.life)
    }

    /// Whether something was ever sent.
    fn has_sent(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// The next epoch speaks, in which all sequences begin anew. It is to be opened, on a stream that has no producer yet.
    pub(super) fn begin_epoch(&mut self) {
        // Whoever opened it meanwhile is found out, for it was not asked for yet.
        self.asks = 0;
        self.identity.epoch.0 = self.identity.epoch.0.saturating_add(1);
        self.begin_life();
    }

    /// All sequences begin anew.
    fn begin_life(&mut self) {
        self.life += 1;
        self.lanes.clear();
    }

    /// How many batches are held.
    pub(super) fn held(&self) -> impl Iterator<Item = &Sealed> {
        self.lanes.values().flat_map(|lane| &lane.held).map(|(sealed, _)| sealed)
    }

    /// A batch was stored.
    pub(super) fn stored(&mut self, destination: Destination) -> Followed {
        self.answered(destination)
    }

    /// A batch is certainly not stored, and its publisher is told so.
    pub(super) fn refused(&mut self, destination: Destination, place: Place) -> Followed {
        let lane = self.lanes.entry(destination).or_default();
        lane.hole = Some(lane.hole.map_or(place.sequence, |hole| hole.min(place.sequence)));
        self.answered(destination)
    }

    /// A batch does not follow what is stored. Whether another one is to blame is known once all are answered.
    pub(super) fn out_of_sequence(&mut self, sealed: Sealed, message: String) -> Followed {
        let destination = sealed.destination;
        let lane = self.lanes.entry(destination).or_default();
        lane.held.push((sealed, message));
        self.answered(destination)
    }

    /// A batch is not stored because the router stores nothing any more: it is kept for the next one.
    pub(super) fn postponed(&mut self, sealed: Sealed) {
        let lane = self.lanes.entry(sealed.destination).or_default();
        lane.unanswered = lane.unanswered.saturating_sub(1);
        lane.until_next_stream = true;
        let first = sealed.place.map_or(0, |place| place.sequence);
        lane.hole = Some(lane.hole.map_or(first, |hole| hole.min(first)));
        lane.held.push((sealed, String::new()));
    }

    fn answered(&mut self, destination: Destination) -> Followed {
        let Some(lane) = self.lanes.get_mut(&destination) else {
            return Followed::default();
        };
        lane.unanswered = lane.unanswered.saturating_sub(1);
        if lane.unanswered > 0 || lane.until_next_stream {
            return Followed::default();
        }
        let mut held = std::mem::take(&mut lane.held);
        held.sort_unstable_by_key(|(sealed, _)| sealed.ordinal);
        let mut followed = Followed::default();
        let mut held = held.into_iter();
        if lane.hole.is_none()
            && let Some((sealed, message)) = held.next()
        {
            lane.hole = sealed.place.map(|place| place.sequence);
            followed.refused = Some((sealed, message));
        }
        if let Some(hole) = lane.hole.take() {
            lane.next = hole;
        }
        followed.again = held.map(|(sealed, _)| Sealed { place: None, ..sealed }).collect();
        followed
    }

    /// The stream is lost. Gives what is to be sent on the next one, of what was sent and what is held.
    pub(super) fn lost(&mut self, sent: Vec<Sealed>) -> Vec<Sealed> {
        self.opened = Opened::No;
        let mut again = sent;
        for lane in self.lanes.values_mut() {
            again.extend(lane.held.drain(..).map(|(sealed, _)| sealed));
        }
        for sealed in &mut again {
            let lane = self.lanes.get(&sealed.destination);
            let hole = lane.and_then(|lane| lane.hole);
            // What stands behind something that is not stored is not stored either.
            if sealed.place.zip(hole).is_some_and(|(place, hole)| place.sequence >= hole) {
                (sealed.place, sealed.is_again) = (None, false);
            }
        }
        for lane in self.lanes.values_mut() {
            lane.next = lane.hole.take().unwrap_or(lane.next);
            (lane.unanswered, lane.until_next_stream) = (0, false);
        }
        again
    }

    /// Gives up everything that is held.
    pub(super) fn fail(&mut self) -> Vec<Sealed> {
        let lanes = std::mem::take(&mut self.lanes);
        lanes.into_values().flat_map(|lane| lane.held).map(|(sealed, _)| sealed).collect()
    }
}
