//! A transformation that cannot fail.

use waypost_sdk::prelude::*;

#[transform]
fn same(_: &Message) -> Outgoing {
    Outgoing::new()
}

fn main() {}
