//! Artefacts that no toolchain makes, and signatures for artefacts: what the tests of several crates share.
//!
//! A guest is a core module in the text format with the contract's metadata, as a compiler would embed it.
#![forbid(unsafe_code)]

mod bomb;
mod guest;
mod signer;
mod stamp;

pub use bomb::{import_of_env, long_function};
pub use guest::{FORWARD, Guest};
pub use signer::Signer;
pub use stamp::stamping;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A useful guest: a filter by the first byte of the key, described in `tests/guests/by-hand`.
pub const KEEP_BY_KEY: &str = include_str!("../../guests/by-hand/keep-by-key.wat");

/// The artefact of a module's text: what `wasm-tools parse` and `wasm-tools component embed` make of it.
///
/// # Panics
///
/// The text is no module, or the contract does not parse.
#[must_use]
pub fn artefact(text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("the module's text is well formed");
    let mut resolve = Resolve::default();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugin-sdk/wit");
    let (package, _) = resolve.push_dir(contract).expect("the contract parses");
    let world = resolve.select_world(&[package], Some("plugin")).expect("it has one world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the metadata encodes");
    module
}

/// The same as a finished component: what `wasm-tools component new` makes of the artefact.
///
/// # Panics
///
/// The text is no module, or not one of a plugin.
#[must_use]
pub fn component(text: &str) -> Vec<u8> {
    let encoder = ComponentEncoder::default().validate(true).module(&artefact(text));
    encoder.expect("it carries the contract").encode().expect("it keeps the contract")
}
