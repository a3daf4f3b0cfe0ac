//! Routes over streams: a lane for each partition that reads from the progress that is stored, runs what it reads
//! through the route's pipeline, and commits everything that comes of it as one unit with the new progress.
//!
//! What a lane holds is bounded: one read, one batch in work, and the units that are on their way into storage, whose
//! bytes are. Outputs for memory topics are handed on once their unit is committed. Whatever ends a lane, nothing is
//! lost and nothing is done twice: what was not committed is read again.

mod begin;
mod commit;
mod draft;
mod lane;
mod lanes;
mod metrics;
mod parked;
mod reading;
mod returned;
mod state;
pub(super) mod store;

pub(super) use draft::{Draft, DraftSender};
pub(super) use lanes::{DurableLane, LaneParts, Stop, partitions_of};
pub use metrics::{LaneMetrics, RoutePartition};
pub(super) use parked::{KeptParked, ParkedChange, restored};
pub(super) use returned::{Leaving, Returning};
pub(crate) use returned::{ReturnError, Returned, ReturnedMessage};
pub(super) use state::LaneState;
