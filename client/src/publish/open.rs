//! The batches that are being built: one for memory topics, one for each partition that something goes to. Pure.

use tokio::time::Instant;
use waypost_protocol::{Batch, BatchBuilder, Limits};

use super::{
    PublisherOptions,
    placement::Destination,
    receipt::{Receipt, Resolver},
};

/// The batches that are being built. As many are kept as there are destinations.
#[derive(Debug)]
pub(super) struct OpenBatches {
    limits: Limits,
    batches: Vec<Building>,
}

#[derive(Debug)]
struct Building {
    destination: Destination,
    builder: BatchBuilder,
    /// There while the builder has messages.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    ordinal: u64,
    resolver: Resolver,
    since: Instant,
}

/// A batch with messages, as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenBatch<'a> {
    pub(super) destination: Destination,
    builder: &'a BatchBuilder,
    begun: &'a Begun,
}

impl OpenBatches {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, batches: Vec::new() }
    }

    /// The builder of a destination.
    pub(super) fn builder(&mut self, destination: Destination) -> &mut BatchBuilder {
        &mut self.building(destination).builder
    }

    /// A receipt for the message that was appended last. Says whether it is the first of its batch, which
    /// then has this ordinal.
    pub(super) fn receipt(
        &mut self,
        destination: Destination,
        now: Instant,
        ordinal: u64,
    ) -> (Receipt, bool) {
        let Building { builder, begun, .. } = self.building(destination);
        let opened = begun.is_none();
        let begun =
            begun.get_or_insert_with(|| Begun { ordinal, resolver: Resolver::new(), since: now });
        (begun.resolver.receipt(builder.len().saturating_sub(1)), opened)
    }

    /// Whether a batch takes nothing more.
    pub(super) fn is_full(&mut self, destination: Destination, options: &PublisherOptions) -> bool {
        is_full(&self.building(destination).builder, options)
    }

    /// Ends a batch, if it has messages.
    pub(super) fn finish(&mut self, destination: Destination) -> Option<(u64, Resolver, Batch)> {
        let Building { builder, begun, .. } = self.building(destination);
        let Begun { ordinal, resolver, .. } = begun.take()?;
        builder.finish().map(|batch| (ordinal, resolver, batch))
    }

    /// The destination of the oldest batch.
    pub(super) fn oldest(&self) -> Option<Destination> {
        let oldest = self.all().min_by_key(|open| open.begun.ordinal);
        oldest.map(|open| open.destination)
    }

    /// The batches, the oldest first.
    pub(super) fn by_age(&self) -> Vec<OpenBatch<'_>> {
        let mut batches: Vec<_> = self.all().collect();
        batches.sort_unstable_by_key(|open| open.begun.ordinal);
        batches
    }

    pub(super) fn ordinals(&self) -> impl Iterator<Item = u64> {
        self.all().map(|open| open.begun.ordinal)
    }

    /// Gives up all of them.
    pub(super) fn fail(&mut self) -> Vec<Resolver> {
        let batches = std::mem::take(&mut self.batches);
        batches.into_iter().filter_map(|building| building.begun).map(|it| it.resolver).collect()
    }

    fn all(&self) -> impl Iterator<Item = OpenBatch<'_>> {
        self.batches.iter().filter_map(|Building { destination, builder, begun }| {
            let begun = begun.as_ref()?;
            Some(OpenBatch { destination: *destination, builder, begun })
        })
    }

    fn building(&mut self, destination: Destination) -> &mut Building {
        let found = self.batches.iter().position(|each| each.destination == destination);
        let place = found.unwrap_or(self.batches.len());
        if found.is_none() {
            let builder = BatchBuilder::with_limits(self.limits);
            self.batches.push(Building { destination, builder, begun: None });
        }
        // It was found there, or put there.
        &mut self.batches[place]
    }
}

impl OpenBatch<'_> {
    pub(super) fn ordinal(&self) -> u64 {
        self.begun.ordinal
    }

    /// When its first message came.
    pub(super) fn since(&self) -> Instant {
        self.begun.since
    }

    pub(super) fn is_full(&self, options: &PublisherOptions) -> bool {
        is_full(self.builder, options)
    }
}

fn is_full(builder: &BatchBuilder, options: &PublisherOptions) -> bool {
    builder.len() >= options.max_batch_messages || builder.byte_len() >= options.max_batch_bytes
}
