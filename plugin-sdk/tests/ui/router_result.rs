//! A router that returns something else than a topic.

use waypost_sdk::prelude::*;

#[router]
fn by_length(message: &Message) -> Result<usize> {
    Ok(message.payload().len())
}

fn main() {}
