//! What streams hold and what their storage takes, looked up when the metrics are asked for.

use prometheus::{
    IntGauge, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::Streams;

/// The series of what is held.
pub struct StreamGauges {
    streams: Streams,
    messages: IntGaugeVec,
    bytes: IntGaugeVec,
    disk: IntGauge,
    free: IntGauge,
    reserve: IntGauge,
}

impl StreamGauges {
    /// The series of a router's streams.
    ///
    /// # Errors
    ///
    /// None, as long as their names are right.
    pub fn new(streams: Streams) -> Result<Self, prometheus::Error> {
        let by_stream = |name, help| IntGaugeVec::new(Opts::new(name, help), &["stream"]);
        Ok(Self {
            streams,
            messages: by_stream("waypost_stream_held_messages", "Messages that a stream keeps")?,
            bytes: by_stream(
                "waypost_stream_held_bytes",
                "Bytes of the batches that a stream keeps",
            )?,
            disk: IntGauge::new(
                "waypost_storage_disk_bytes",
                "Bytes that the folder of storage takes on its disk, with journals and what is not rewritten yet",
            )?,
            free: IntGauge::new(
                "waypost_storage_free_bytes",
                "Bytes that are free on the disk of storage",
            )?,
            reserve: IntGauge::new(
                "waypost_storage_reserve_bytes",
                "Publishes to streams are refused with STORAGE_FULL while fewer bytes are free",
            )?,
        })
    }

    fn by_stream(&self) -> [&IntGaugeVec; 2] {
        [&self.messages, &self.bytes]
    }

    fn of_disk(&self) -> [&IntGauge; 3] {
        [&self.disk, &self.free, &self.reserve]
    }
}

impl Collector for StreamGauges {
    fn desc(&self) -> Vec<&Desc> {
        let by_stream = self.by_stream().into_iter().flat_map(Collector::desc);
        by_stream.chain(self.of_disk().into_iter().flat_map(Collector::desc)).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for stream in self.streams.status() {
            let held = [stream.held_messages(), stream.held_bytes()];
            for (gauge, value) in self.by_stream().into_iter().zip(held) {
                gauge.with_label_values(&[&stream.name]).set(signed(value));
            }
        }
        let by_stream = self.by_stream().into_iter().flat_map(Collector::collect);
        // Without a disk of its own there is nothing to tell.
        let Some(disk) = self.streams.last_disk_use() else { return by_stream.collect() };
        let values = [disk.stored_bytes, disk.free_bytes, disk.reserve_bytes];
        for (gauge, value) in self.of_disk().into_iter().zip(values) {
            gauge.set(signed(value));
        }
        by_stream.chain(self.of_disk().into_iter().flat_map(Collector::collect)).collect()
    }
}
