//! Publishes: each resolves once; what is acknowledged is stored where it was said, what is rejected is not, nothing is
//! stored twice, and each producer's messages stand in their order.

use std::collections::BTreeMap;

use waypost_protocol::{Epoch, Offset, ProducerId};
use waypost_storage::Stored;

use super::Resolution;
use crate::message::{Content, Fate, Number};

/// A message, as it was published.
#[derive(Debug)]
pub(super) struct Publish {
    identity: (ProducerId, Epoch),
    partition: u32,
    key: Option<u8>,
    pub(super) fate: Fate,
    resolution: Option<Resolution>,
    /// Where it stands.
    pub(super) stored: Option<Offset>,
    /// When its time to live ends.
    over_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Publishes {
    messages: Vec<Publish>,
    /// What stands at each offset of each partition.
    logs: Vec<Vec<Number>>,
    /// The last of each producer in each partition.
    last: BTreeMap<(ProducerId, u32), (Epoch, Number)>,
    /// The latest time that the wall's clock has shown.
    latest_ms: u64,
}

impl Publishes {
    pub(super) fn new(partitions: usize) -> Self {
        let logs = vec![Vec::new(); partitions];
        Self { messages: Vec::new(), logs, last: BTreeMap::new(), latest_ms: 0 }
    }

    pub(super) fn publish(
        &mut self,
        identity: (ProducerId, Epoch),
        partition: u32,
        key: Option<u8>,
        fate: Fate,
    ) -> Number {
        let (resolution, stored, over_ms) = (None, None, None);
        let publish = Publish { identity, partition, key, fate, resolution, stored, over_ms };
        self.messages.push(publish);
        Number(self.messages.len() as u64 - 1)
    }

    pub(super) fn clock(&mut self, wall_ms: u64) {
        self.latest_ms = self.latest_ms.max(wall_ms);
    }

    /// Whether a message may be taken for over: the clock has shown such a time, and may have gone back since.
    pub(super) fn may_be_over(&self, publish: &Publish) -> bool {
        publish.over_ms.is_some_and(|over_ms| over_ms <= self.latest_ms)
    }

    pub(super) fn of(&self, number: Number) -> Result<&Publish, String> {
        let index = usize::try_from(number.0).unwrap_or(usize::MAX);
        self.messages.get(index).ok_or_else(|| format!("{number:?} was never published"))
    }

    fn of_mut(&mut self, number: Number) -> Result<&mut Publish, String> {
        let index = usize::try_from(number.0).unwrap_or(usize::MAX);
        self.messages.get_mut(index).ok_or_else(|| format!("{number:?} was never published"))
    }

    /// What stands in a partition, by offset.
    pub(super) fn log(&self, partition: u32) -> &[Number] {
        self.logs.get(partition as usize).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn resolved(
        &mut self,
        number: Number,
        resolution: Resolution,
    ) -> Result<(), String> {
        let publish = self.of_mut(number)?;
        if let Some(before) = publish.resolution {
            return Err(format!("{number:?} is resolved twice: {before:?}, then {resolution:?}"));
        }
        publish.resolution = Some(resolution);
        if resolution == Resolution::Rejected && publish.stored.is_some() {
            return Err(format!("{number:?} was rejected, and is stored: {publish:?}"));
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, number: Number, at: Option<Offset>) -> Result<(), String> {
        self.resolved(number, Resolution::Committed)?;
        let publish = self.of(number)?;
        match publish.stored {
            None => Err(format!("{number:?} was acknowledged, and is missing: {publish:?}")),
            Some(stored) if at.is_some_and(|at| at != stored) => {
                Err(format!("{number:?} stands at {stored}, and was acknowledged at {at:?}"))
            }
            Some(_) => Ok(()),
        }
    }

    /// A batch stands in a partition that was not there.
    pub(super) fn stored(&mut self, partition: u32, stored: &Stored) -> Result<(), String> {
        for (message, offset) in stored.batch.iter().zip(stored.base.0..) {
            let content = Content::read(message).ok_or("no publisher made this")?;
            let (number, offset) = (content.number, Offset(offset));
            let publish = self.of_mut(number)?;
            if let Some(before) = publish.stored.replace(offset) {
                return Err(format!("{number:?} is stored twice, at {before} and at {offset}"));
            }
            publish.over_ms = content.over_ms(stored.envelope.ingest_ms);
            if publish.resolution == Some(Resolution::Rejected) {
                return Err(format!("{number:?} is stored at {offset} after it was rejected"));
            }
            let key = message.key().and_then(|key| key.first().copied());
            if (publish.partition, publish.key, publish.fate) != (partition, key, content.fate) {
                return Err(format!("{number:?} is stored otherwise than it was published"));
            }
            let (producer, epoch) = publish.identity;
            let place = (epoch, number);
            let before = self.last.insert((producer, partition), place);
            if let Some(before) = before.filter(|before| *before >= place) {
                return Err(format!("{number:?} stands behind {before:?} of its producer"));
            }
            if let Some(log) = self.logs.get_mut(partition as usize) {
                log.push(number);
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), String> {
        let open = self.messages.iter().position(|publish| publish.resolution.is_none());
        match open {
            Some(number) => Err(format!("message {number} was never resolved")),
            None => Ok(()),
        }
    }
}
