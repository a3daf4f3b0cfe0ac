//! Arguments that the macros do not know, or that make no sense.
#![allow(unused)]

use waypost_sdk::prelude::*;

mod common {
    use super::*;

    #[filter(read(payloads))]
    fn misspelt(message: &Message) -> Result<bool> {
        Ok(true)
    }

    #[transform(reads(payload))]
    fn unknown_column(message: &Message) -> Result<Outgoing> {
        Ok(Outgoing::new())
    }

    #[router(imports(sockets))]
    fn unknown_module(message: &Message) -> Result<String> {
        Ok(String::new())
    }

    #[filter(name = "No Name")]
    fn bad_name(message: &Message) -> Result<bool> {
        Ok(true)
    }

    #[filter(reads(keys), reads(payloads))]
    fn twice(message: &Message) -> Result<bool> {
        Ok(true)
    }

    #[filter(from = 1)]
    fn no_upcast(message: &Message) -> Result<bool> {
        Ok(true)
    }
}

mod upcasts {
    use super::*;

    #[upcast]
    fn no_versions(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1)]
    fn one_version(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = "1")]
    fn same_version(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = 2.5)]
    fn no_version(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = -1, to = 2)]
    fn negative(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = 2, later(2))]
    fn not_later(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = 2, pointer = "version")]
    fn no_pointer(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = 2, pointer = "/version", header = "version")]
    fn two_places(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = 2, reads(payloads))]
    fn reads(old: Value) -> Result<Value> {
        Ok(old)
    }

    #[upcast(from = 1, to = 2, version = "/version")]
    fn unknown(old: Value) -> Result<Value> {
        Ok(old)
    }
}

fn main() {}
