//! The time. The manifest's `imports` must name `clock`, and the router's configuration grant it.

/// Milliseconds since the Unix epoch. In a test's [harness](crate::testing::Harness) it is the time that
/// was set there, if any.
#[must_use]
pub fn now_ms() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::waypost::plugin::clock::now();
    #[cfg(not(target_arch = "wasm32"))]
    super::native::now_ms().unwrap_or_else(|| {
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    })
}
