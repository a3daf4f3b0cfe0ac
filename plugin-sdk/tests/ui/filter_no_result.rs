//! A filter that cannot fail.

use waypost_sdk::prelude::*;

#[filter]
fn empty(message: &Message) -> bool {
    message.payload().is_empty()
}

fn main() {}
