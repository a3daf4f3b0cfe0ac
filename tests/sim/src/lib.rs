//! A simulator: publishers, a router with a durable route and a group, its storage and all clocks in one thread, over the
//! pure core, from a seed.
//!
//! Each [`seed`](run) tells one story. What happens and when, which connections are lost, when the router and its clients
//! are killed, when a sync fails or the disk is full, how far a clock jumps: all of it is drawn from the seed, and which
//! of these happen at all. The decisions are those of `waypost-core` and of storage in memory; around them stands in
//! thin form what the host's tasks and the client do. After each step that changed the disk a checker looks whether
//! every promise of the delivery contract holds, from what clients were told and what the disk holds.
//! When faults are over everything must come to its end.
//!
//! A story that breaks a promise is told again by its seed, word for word.
#![forbid(unsafe_code)]

mod check;
mod clients;
mod disk;
mod faults;
mod message;
mod network;
mod random;
mod router;
mod shared;
mod world;

pub use world::{Counts, Failure, Report, run, tell};
