//! How far a subscriber of streams has come in each partition, so that it goes on there. Pure.

use std::collections::BTreeMap;

use waypost_protocol::{
    Envelope, Offset,
    frame::{Position, ReadFrom, Start},
};

use super::From;

/// Where a subscriber began, and where it goes on.
#[derive(Debug)]
pub(super) struct Reading {
    from: From,
    partition: Option<u32>,
    /// The offset behind the last delivered message of each partition, by stream.
    next: BTreeMap<(String, u32), Offset>,
}

impl Reading {
    pub(super) fn new(from: From, partition: Option<u32>) -> Self {
        Self { from, partition, next: BTreeMap::new() }
    }

    /// What the router is asked for.
    pub(super) fn ask(&self) -> ReadFrom {
        let start = match self.from {
            From::Beginning => Start::Beginning(true),
            From::Offset(offset) => Start::Offset(offset.0),
            From::Time(ms) => Start::TimeMs(ms),
        };
        let position = |((stream, partition), offset): (&(String, u32), &Offset)| Position {
            stream: stream.clone(),
            partition: *partition,
            offset: offset.0,
        };
        ReadFrom {
            start: Some(start),
            partition: self.partition,
            positions: self.next.iter().map(position).collect(),
        }
    }

    /// Takes note of a delivery of so many messages.
    pub(super) fn delivered(&mut self, envelope: &Envelope, messages: usize) {
        let last = messages.checked_sub(1).and_then(|last| envelope.offset_of(last));
        if let (Some(stream), Some(last)) = (&envelope.stream, last) {
            let key = (stream.clone(), envelope.partition);
            self.next.insert(key, Offset(last.0.saturating_add(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_behind_what_was_delivered_of_each_partition() {
        let mut reading = Reading::new(From::Beginning, None);
        let envelope = |partition, base, positions: &[u32]| Envelope {
            base_offset: Some(Offset(base)),
            stream: Some("orders".into()),
            partition,
            positions: positions.to_vec(),
            ..Envelope::default()
        };
        assert!(reading.ask().positions.is_empty());
        reading.delivered(&envelope(1, 10, &[]), 5);
        reading.delivered(&envelope(0, 70, &[0, 2, 3]), 3);
        reading.delivered(&envelope(1, 15, &[]), 1);
        let asked = reading.ask();
        assert_eq!(asked.start, Some(Start::Beginning(true)));
        let positions: Vec<_> =
            asked.positions.iter().map(|each| (each.partition, each.offset)).collect();
        assert_eq!(positions, [(0, 74), (1, 16)]);
    }
}
