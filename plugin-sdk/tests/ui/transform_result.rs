//! A transformation that returns the payload instead of a message.

use waypost_sdk::prelude::*;

#[transform]
fn upper(message: &Message) -> Result<String> {
    Ok(message.payload_str()?.to_uppercase())
}

fn main() {}
