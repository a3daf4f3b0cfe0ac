//! A configuration that nothing can read.

use waypost_sdk::prelude::*;

struct Config {
    minimum: usize,
}

#[filter]
fn significant(message: &Message, config: &Config) -> Result<bool> {
    Ok(message.payload().len() >= config.minimum)
}

fn main() {}
