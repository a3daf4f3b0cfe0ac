//! What a plugin may ask of the router. Off Wasm each has a stand-in, for tests.

pub mod clock;
pub mod log;
pub mod metrics;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native;
pub mod random;
