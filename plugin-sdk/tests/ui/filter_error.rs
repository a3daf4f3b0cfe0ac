//! A filter whose error is no error.

use waypost_sdk::prelude::*;

#[filter]
fn empty(message: &Message) -> Result<bool, String> {
    match message.payload() {
        [] => Err("it is empty".to_owned()),
        _ => Ok(true),
    }
}

fn main() {}
