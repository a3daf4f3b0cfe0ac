//! The Waypost router as a library; `waypost` is the binary over it.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod dlq;
pub mod groups;
pub mod logging;
pub mod net;
pub mod reload;
pub mod router;
pub mod server;
pub mod streams;
mod time;
pub mod wasm;
pub mod watch;
