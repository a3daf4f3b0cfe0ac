//! `transform-json`: changes JSON payloads step by step.
//!
//! Topic, key and headers stay as they are; README.md has the configuration.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use waypost_sdk::{json::Edits, prelude::*};

/// The stage's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What happens, in order.
    step: Edits,
}

/// Replaces the payload by what the steps make of it.
#[transform(name = "transform-json", reads(payloads))]
pub fn transform_json(message: &Message, config: &Config) -> Result<Outgoing> {
    Outgoing::new().json(&config.step.apply(message.payload())?)
}
