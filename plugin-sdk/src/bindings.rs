//! What `wit-bindgen` makes of `wit/plugin.wit`: the only unsafe code of the SDK, all of it generated.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    rustdoc::all
)]

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_world",
    default_bindings_module: "waypost_sdk::bindings",
});
