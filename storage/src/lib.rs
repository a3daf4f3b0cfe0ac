//! Durable streams: the trait over storage engines, the embedded engine, and one in memory.
//!
//! [`Storage`] is what the router works with. [`EmbeddedStorage`] keeps streams on the local disk,
//! [`MemoryStorage`] keeps them nowhere, for tests and the simulator; [`conformance`](self#conformance) holds
//! both to the same promises, and any further engine. A [`Unit`] is what happens at once; a [`Cursor`]
//! reads, and waits for more.
//!
//! ```
//! # use std::{num::NonZeroU32, sync::Arc};
//! # use waypost_core::{Partition, StreamName};
//! # use waypost_protocol::{BatchBuilder, Envelope, Offset};
//! use waypost_storage::{Append, Appended, Cursor, MemoryStorage, ReadLimit, Storage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let storage = Arc::new(MemoryStorage::new(1000));
//! let partition = Partition::new(StreamName::parse("orders")?, 0);
//! storage.declare(partition.stream.clone(), NonZeroU32::MIN).await?;
//!
//! let mut builder = BatchBuilder::new();
//! builder.push("orders.eu", Some(b"4711"), &[], b"{}", 1_700_000_000_000)?;
//! let batch = builder.finish().ok_or("it has a message")?;
//! let envelope = Envelope { ingest_ms: 1_700_000_000_001, ..Envelope::default() };
//! let append = Append { partition: partition.clone(), batch, envelope, origin: None };
//! let appended = storage.append(append).await?;
//! assert_eq!(appended, Appended::Stored { first_offset: Offset(0) });
//!
//! let mut cursor = Cursor::new(storage, partition, Offset(0))?;
//! let chunk = cursor.next(ReadLimit::default()).await?.ok_or("storage is open")?;
//! assert_eq!(chunk.next, Offset(1));
//! # Ok(())
//! # }
//! ```
//!
//! # Conformance
//!
//! With the feature `conformance` the module of that name has the suite: an engine's own tests call it.
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cursor;
mod embedded;
mod error;
mod fence;
mod ledger;
mod memory;
mod read;
mod storage;
#[cfg(any(test, feature = "conformance"))]
mod testing;
mod unit;

pub use cursor::Cursor;
pub use embedded::{EmbeddedConfig, EmbeddedStorage, OpenError};
pub use error::{CommitError, DeclareError, ReadError};
pub use fence::Fence;
pub use memory::MemoryStorage;
pub use read::{Bounds, Chunk, Head, ReadLimit, Seek, Stored};
pub use storage::{AtomicScope, DiskUse, OpenedProducer, Promises, Storage, TrimReport};
pub use unit::{
    Append, Appended, CommitNumber, Committed, GroupState, GroupStep, KeptGroup, KeptRoute,
    MessageId, MovedBack, Origin, ParkedMessage, Reader, Revision, Step, Unit,
};
