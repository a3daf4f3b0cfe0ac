//! An upcast that cannot fail.

use waypost_sdk::prelude::*;

#[upcast(from = 1, to = 2)]
fn same(old: Value) -> Value {
    old
}

fn main() {}
