//! A configuration whose type does not exist.

use waypost_sdk::prelude::*;

#[filter]
fn significant(message: &Message, config: &Config) -> Result<bool> {
    Ok(message.payload().len() >= config.minimum)
}

fn main() {}
