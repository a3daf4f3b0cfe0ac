//! A crate with two plugins, of which a router could call only one.

use waypost_sdk::prelude::*;

#[filter]
fn first(message: &Message) -> Result<bool> {
    Ok(message.payload().is_empty())
}

mod elsewhere {
    use waypost_sdk::prelude::*;

    #[transform]
    fn second(_: &Message) -> Result<Outgoing> {
        Ok(Outgoing::new())
    }
}

fn main() {}
