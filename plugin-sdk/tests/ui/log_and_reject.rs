//! A line without a level, and a rejection without a reason.

use waypost_sdk::prelude::*;

fn say(count: u64) -> Result<bool> {
    log!("{count} seen");
    log!(notice, "{count} seen");
    reject!();
}

fn main() {}
