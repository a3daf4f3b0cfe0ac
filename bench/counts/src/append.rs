//! A batch into a stream on disk, with its commit, however many streams there are.

use std::num::NonZeroU32;

use anyhow::ensure;
use waypost_core::{Partition, StreamName};
use waypost_protocol::Envelope;
use waypost_storage::{Append, Appended, EmbeddedConfig, EmbeddedStorage, Storage as _};

use crate::{Piece, batches::batch};

pub(crate) fn pieces() -> [Piece; 2] {
    let piece =
        |name, flat_with, run| Piece { name, iterations: 200, messages: 64, flat_with, run };
    [
        piece("append", None, |iterations| append(iterations, 0)),
        piece("append-beside-1000", Some("append"), |iterations| append(iterations, 1000)),
    ]
}

fn append(iterations: u64, others: u32) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let config = EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::new(folder.path()) };
        let storage = EmbeddedStorage::open(config)?;
        let bench = StreamName::parse("bench")?;
        for stream in (0..others).map(|number| StreamName::parse(&format!("other-{number}"))) {
            storage.declare(stream?, NonZeroU32::MIN).await?;
        }
        storage.declare(bench.clone(), NonZeroU32::MIN).await?;
        let (partition, batch) = (Partition::new(bench, 0), batch("bench.in")?);
        for number in 0..iterations {
            let envelope =
                Envelope { ingest_ms: 1_700_000_000_000 + number, ..Envelope::default() };
            let (partition, batch) = (partition.clone(), batch.clone());
            let appended =
                storage.append(Append { partition, batch, envelope, origin: None }).await?;
            ensure!(matches!(appended, Appended::Stored { .. }), "{appended:?}");
        }
        storage.close().await;
        Ok(())
    })
}
