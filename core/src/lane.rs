//! Which lane of a route a message belongs to.

use std::num::NonZeroU16;

use waypost_protocol::{ConnectionId, key_hash};

/// The lane of a message from a memory topic: messages of one publisher with one key share a lane,
/// and so keep their order; those without a key share one as well.
#[must_use]
pub fn lane_of(publisher: ConnectionId, key: Option<&[u8]>, lanes: NonZeroU16) -> u16 {
    // A publisher's number only shifts its keys to other lanes, which spreads keyless publishers.
    let hash = key.map_or(0, key_hash).wrapping_add(key_hash(&publisher.0.to_le_bytes()));
    u16::try_from(hash % u64::from(lanes.get())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_within_the_lanes_and_the_same_each_time() {
        let lanes = NonZeroU16::new(7).expect("seven is not zero");
        for number in 0..1000_u64 {
            let key = number.to_le_bytes();
            let lane = lane_of(ConnectionId(number % 3), Some(&key), lanes);
            assert!(lane < 7);
            assert_eq!(lane, lane_of(ConnectionId(number % 3), Some(&key), lanes));
        }
    }

    #[test]
    fn keys_spread_over_all_lanes() {
        let lanes = NonZeroU16::new(4).expect("four is not zero");
        let lane = |key: u64| lane_of(ConnectionId(1), Some(&key.to_le_bytes()), lanes);
        let used: std::collections::BTreeSet<u16> = (0..100).map(lane).collect();
        assert_eq!(used.len(), 4);
    }
}
