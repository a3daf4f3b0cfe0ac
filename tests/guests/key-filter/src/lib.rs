//! Keeps messages that have a key and reads nothing else; its cost must not depend on the payloads.
#![forbid(unsafe_code)]

use waypost_sdk::prelude::*;

/// Whether the message has a key.
///
/// # Errors
///
/// None.
#[filter(reads(keys))]
pub fn key_filter(message: &Message<'_>) -> Result<bool> {
    Ok(message.key().is_some())
}
