//! Waypost's decisions as pure functions and state machines: no IO, no clock, no randomness, no
//! task. Time and random numbers are arguments.
#![forbid(unsafe_code)]

mod credit;
mod lane;
mod table;

pub use credit::{Credit, CreditExceeded};
pub use lane::lane_of;
pub use table::{EntryId, RouteTable};
