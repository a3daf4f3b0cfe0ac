//! A filter that says neither yes nor no.

use waypost_sdk::prelude::*;

#[filter]
fn length(message: &Message) -> Result<usize> {
    Ok(message.payload().len())
}

fn main() {}
