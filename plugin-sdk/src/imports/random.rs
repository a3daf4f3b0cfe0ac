//! Chance. The manifest's `imports` must name `random`, and the router's configuration grant it.

/// Eight bytes that nobody can foresee. In a test's [harness](crate::testing::Harness) they are first
/// those that were set there.
#[must_use]
pub fn next_u64() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::waypost::plugin::random::next();
    #[cfg(not(target_arch = "wasm32"))]
    super::native::random().unwrap_or_else(|| {
        use std::hash::{BuildHasher, RandomState};
        // Each state has keys of its own, drawn from the system's randomness.
        RandomState::new().hash_one(0)
    })
}
