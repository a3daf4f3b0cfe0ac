//! Versions that can be neither read nor written.

use waypost_sdk::prelude::*;

struct Old;
struct New;

#[upcast(from = 1, to = 2)]
fn lift(_: Old) -> Result<New> {
    Ok(New)
}

fn main() {}
