//! What goes wrong in a story, and how often.

use crate::random::Random;

/// What may go wrong, how often of a thousand steps each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) router_dies: u64,
    pub(crate) client_dies: u64,
    pub(crate) connection_lost: u64,
    /// A producer's next life begins while this one lives.
    pub(crate) overtaken: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) disk_full: u64,
    pub(crate) sync_fails: u64,
    pub(crate) upkeep: u64,
    /// Retention gives up the oldest outputs.
    pub(crate) trims: u64,
    /// An operator replays dead letters.
    pub(crate) replays: u64,
}

impl Faults {
    /// Some stories have no fault of a kind, so that others show what they alone do.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut rate = |most: u64| if random.chance(500) { random.within(1..most + 1) } else { 0 };
        Self {
            router_dies: rate(6),
            client_dies: rate(6),
            connection_lost: rate(20),
            overtaken: rate(4),
            clock_jumps: rate(6),
            disk_full: rate(8),
            sync_fails: rate(3),
            upkeep: rate(6),
            trims: rate(4),
            replays: rate(20),
        }
    }
}
