//! Keeps messages by the first byte of their payload; what the smallest useful filter costs.
#![forbid(unsafe_code)]

use waypost_sdk::prelude::*;

/// Which messages to keep.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Payloads that begin with this byte are dropped.
    #[serde(default)]
    drop: u8,
}

/// Whether the payload begins with another byte.
///
/// # Errors
///
/// None.
#[filter(reads(payloads))]
pub fn byte_filter(message: &Message<'_>, config: &Config) -> Result<bool> {
    Ok(message.payload().first() != Some(&config.drop))
}
