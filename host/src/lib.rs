//! The Waypost router as a library; `waypost` is the binary over it.
#![forbid(unsafe_code)]

pub mod admin;
pub mod deploy;
pub mod net;
pub mod router;
mod time;
pub mod wasm;
