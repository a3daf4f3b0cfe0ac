//! The generated protobuf messages.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated code; proto/waypost.proto documents the messages"
)]

include!(concat!(env!("OUT_DIR"), "/waypost.v1.rs"));
