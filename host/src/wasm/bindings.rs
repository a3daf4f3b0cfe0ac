//! What wasmtime makes of the contract in `plugin-sdk/wit`, private to the sandbox.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; the WIT file documents it"
)]

wasmtime::component::bindgen!({
    path: "../plugin-sdk/wit",
    world: "plugin",
    exports: { default: async },
    // Columns are lowered straight from the batch.
    ownership: Borrowing { duplicate_if_necessary: true },
});
