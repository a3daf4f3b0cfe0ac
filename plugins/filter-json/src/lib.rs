//! `filter-json`: keeps the messages whose JSON payload meets a condition.
//!
//! The payload is read in one pass, without a tree; README.md has the configuration.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use waypost_sdk::{
    json::{Condition, Pointers},
    prelude::*,
};

/// The condition, which stands alone in the stage's configuration.
#[derive(Debug, Deserialize)]
#[serde(from = "Condition")]
pub struct Config {
    condition: Condition,
    pointers: Pointers,
}

impl From<Condition> for Config {
    fn from(condition: Condition) -> Self {
        Self { pointers: Pointers::new([condition.pointer()]), condition }
    }
}

/// Keeps what meets the condition and drops the rest. A payload that is not JSON is an error.
#[filter(name = "filter-json", reads(payloads))]
pub fn filter_json(message: &Message, config: &Config) -> Result<bool> {
    Ok(config.condition.holds(&config.pointers.read(message.payload())?))
}
