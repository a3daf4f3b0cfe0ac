//! The Waypost router as a library; `waypost` is the binary over it.
#![forbid(unsafe_code)]

pub mod net;
pub mod router;
