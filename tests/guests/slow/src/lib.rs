//! Keeps every message, after computing for a while; what a plugin that cannot follow does to a router.
#![forbid(unsafe_code)]

use std::hint::black_box;

use waypost_sdk::prelude::*;

/// How slow to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rounds of computation for each message.
    rounds: u64,
}

/// Always true, and never soon.
///
/// # Errors
///
/// None.
#[filter(reads(payloads))]
pub fn slow(message: &Message<'_>, config: &Config) -> Result<bool> {
    let mut state = message.payload().len() as u64;
    for round in 0..config.rounds {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round));
    }
    Ok(black_box(state) != 1 || config.rounds > 0)
}
