//! One guest in its store: instantiate, configure, and a call for each batch.

use std::{sync::Arc, time::Instant};

use wasmtime::{Store, UpdateDeadline};
use waypost_core::{Change, ChangeColumn, Emitted, StageOutput, Verdict};
use waypost_protocol::{Batch, Column};

use super::{
    Manifest, PluginError, Reads, SandboxMetrics,
    bindings::{Plugin, waypost::plugin::types as wit},
    error::failure,
    imports::Guest,
    meter::{CallClock, metered},
    version::Offer,
};
use crate::router::stage::StageFailure;

/// A guest that stands, and the buffers that its columns are lowered from.
pub(super) struct Standing {
    store: Store<Guest>,
    plugin: Plugin,
    reads: Reads,
    ends: Ends,
    fuel: usize,
    metrics: Arc<SandboxMetrics>,
    name: String,
}

/// End offsets of the columns at hand, kept from batch to batch.
#[derive(Debug, Default)]
struct Ends {
    topics: Vec<u32>,
    keys: Vec<u32>,
    headers: Vec<u32>,
    payloads: Vec<u32>,
    created: Vec<u64>,
}

/// Runs one export of the guest under its limits; evaluates to the export's result.
macro_rules! call {
    ($instance:ident, $method:ident $(, $argument:expr)*) => {{
        let clock = begin(&mut $instance.store, $instance.fuel);
        let called = metered(clock, $instance.plugin.$method(&mut $instance.store $(, $argument)*));
        match called.await {
            Ok(result) => Ok(result),
            Err(error) => Err(failure(&error, $instance.store.data_mut().panicked.take())),
        }
    }};
}

/// Prepares the store for a call that begins now.
fn begin(store: &mut Store<Guest>, fuel: usize) -> Arc<CallClock> {
    store.set_hostcall_fuel(fuel);
    store.set_epoch_deadline(1);
    let guest = store.data_mut();
    guest.started = Instant::now();
    guest.panicked = None;
    guest.meter.begin()
}

impl Standing {
    /// Bytes of linear memory that the guest has, which is the most that it ever had: memory never shrinks.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().meter.memory_bytes()
    }

    /// Instantiates the artefact and runs what it runs at its start.
    pub(super) async fn start(offer: &Offer) -> Result<Self, PluginError> {
        let linked = &offer.artefact.linked;
        let stage = offer.stage.as_str().to_owned();
        let guest = Guest::new(offer.plugin.clone(), stage, offer.policy.limits);
        let mut store = Store::new(linked.engine(), guest);
        store.limiter(|guest| &mut guest.meter);
        store.epoch_deadline_callback(|mut store| {
            let guest = store.data_mut();
            let started = guest.started;
            guest.meter.tick(started)?;
            // The runtime looks at its sockets before it comes back here.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        let fuel = offer.policy.limits.output_bytes;
        let clock = begin(&mut store, fuel);
        let started = metered(clock, linked.instantiate_async(&mut store)).await;
        let plugin = started.map_err(|error| {
            let failure = failure(&error, store.data_mut().panicked.take());
            PluginError::Call { call: "its start", failure }
        })?;
        let metrics = offer.metrics.clone();
        let name = offer.plugin.as_str().to_owned();
        metrics.instances.inc();
        metrics.instantiated.with_label_values(&[&name]).inc();
        let (reads, ends) = (Reads::default(), Ends::default());
        Ok(Self { store, plugin, reads, ends, fuel, metrics, name })
    }

    /// Asks the guest what it is.
    pub(super) async fn manifest(&mut self, offer: &Offer) -> Result<Manifest, PluginError> {
        let raw = call!(self, call_manifest)
            .map_err(|failure| PluginError::Call { call: "manifest", failure })?;
        Manifest::check(raw, &offer.artefact.imports)
    }

    /// Hands the guest the stage's configuration, and notes which columns it is to get.
    pub(super) async fn configure(
        &mut self,
        offer: &Offer,
        reads: Reads,
    ) -> Result<(), PluginError> {
        self.reads = reads;
        call!(self, call_configure, &offer.configuration)
            .map_err(|failure| PluginError::Call { call: "configure", failure })?
            .map_err(PluginError::Configuration)
    }

    /// The running time of the call at hand.
    pub(super) fn clock(&self) -> Arc<CallClock> {
        self.store.data().meter.clock()
    }

    /// What the guest makes of a batch.
    pub(super) async fn process(&mut self, batch: &Batch) -> Result<StageOutput, StageFailure> {
        let columns = self.ends.lower(batch, self.reads);
        let output = call!(self, call_process, columns);
        let guest = self.store.data_mut();
        let dropped = guest.take_dropped_lines();
        if dropped > 0 {
            self.metrics.log_lines_dropped.with_label_values(&[&self.name]).inc_by(dropped);
        }
        Ok(lift(output?))
    }

    /// The answer of the last call was found good.
    pub(super) fn commit(&mut self) {
        self.store.data_mut().commit_counters(&self.metrics);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.metrics.instances.dec();
    }
}

impl Ends {
    /// The columns that the plugin reads, as the guest's bindings want them. Regions are borrowed from
    /// the batch; offsets are copied once, because a batch does not align them.
    fn lower<'a>(&'a mut self, batch: &'a Batch, reads: Reads) -> wit::Batch<'a> {
        let keys = batch.keys();
        if reads.created {
            self.created.clear();
            self.created.extend(batch.created().iter());
        }
        wit::Batch {
            // A batch holds at most as many messages as its u32 count says.
            count: u32::try_from(batch.len()).unwrap_or(u32::MAX),
            topics: reads.topics.then(|| column(batch.topics(), &mut self.topics)),
            keys: reads.keys.then(|| {
                let wit::Column { ends, bytes } = column(keys.column(), &mut self.keys);
                wit::KeyColumn { present: keys.present(), ends, bytes }
            }),
            headers: reads.headers.then(|| column(batch.headers(), &mut self.headers)),
            payloads: reads.payloads.then(|| column(batch.payloads(), &mut self.payloads)),
            created: reads.created.then_some(self.created.as_slice()),
        }
    }
}

fn column<'a>(column: Column<'a>, ends: &'a mut Vec<u32>) -> wit::Column<'a> {
    column.ends_to_vec(ends);
    wit::Column { ends, bytes: column.bytes() }
}

/// A guest's answer in the core's words.
fn lift(output: wit::Output) -> StageOutput {
    StageOutput {
        verdicts: output.verdicts.into_iter().map(verdict).collect(),
        emitted: output.emitted.map(|emitted| Emitted {
            sources: emitted.sources,
            topics: emitted.topics.map(changes),
            keys: emitted.keys.map(changes),
            headers: emitted.headers.map(changes),
            payloads: emitted.payloads.map(changes),
        }),
    }
}

fn verdict(verdict: wit::Verdict) -> Verdict {
    match verdict {
        wit::Verdict::Forward => Verdict::Forward,
        wit::Verdict::Drop => Verdict::Drop,
        wit::Verdict::Emit(count) => Verdict::Emit(count),
        wit::Verdict::Retry(after_ms) => Verdict::Retry(after_ms),
        wit::Verdict::Reject(reason) => Verdict::Reject(reason),
    }
}

fn changes(column: wit::ChangeColumn) -> ChangeColumn {
    let change = |change| match change {
        wit::Change::Inherit => Change::Inherit,
        wit::Change::Set => Change::Set,
        wit::Change::Clear => Change::Clear,
    };
    ChangeColumn {
        changes: column.changes.into_iter().map(change).collect(),
        ends: column.ends,
        bytes: column.bytes,
    }
}
