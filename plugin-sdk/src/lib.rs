//! Write Waypost plugins in Rust.
//!
//! A plugin is a crate of type `cdylib` that depends on this one and, for its configuration, on `serde`
//! with `derive`:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! serde = { version = "1", features = ["derive"] }
//! waypost-sdk = "0.1"
//! ```
//!
//! The smallest is one function:
//!
//! ```
//! use waypost_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Quake {
//!     magnitude: f64,
//! }
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     minimum: f64,
//! }
//!
//! /// Keeps the earthquakes that somebody felt.
//! #[filter(reads(payloads))]
//! fn significant(message: &Message, config: &Config) -> Result<bool> {
//!     Ok(message.json::<Quake>()?.magnitude >= config.minimum)
//! }
//! ```
//!
//! [`filter`], [`transform`], [`router`] and [`upcast`] each make a type that implements [`Plugin`], named
//! like the function in CamelCase, and export it; the function stays as it is, to be called by tests. What
//! fits none of them implements [`Plugin`] itself and is exported with [`export!`]. A crate holds one plugin.
//!
//! # Configuration
//!
//! The second parameter is the stage's `config` table, read with serde; what is wrong in it is told by its
//! path when the stage is deployed, and the deploy is refused. `#[serde(deny_unknown_fields)]` finds
//! misspelt keys.
//!
//! # Reading messages
//!
//! A [`Message`] is a view of topic, key, headers, payload and creation time. `reads(...)` names the
//! columns that are needed; others are not copied into the sandbox. [`Message::json`] reads JSON into a type,
//! [`json`] looks into it by pointers. [`Message::payload`] is the bytes, for a format of one's own:
//!
//! ```
//! use waypost_sdk::prelude::*;
//!
//! /// Keeps frames whose first byte is their version, 2 or later.
//! #[filter(reads(payloads))]
//! fn recent(message: &Message) -> Result<bool> {
//!     let [version, ..] = message.payload() else { reject!("the frame is empty") };
//!     Ok(*version >= 2)
//! }
//!
//! use waypost_sdk::testing::{Harness, Outcome, TestMessage};
//! let mut plugin = Harness::<Recent>::new(json!({}))?;
//! let frames = [&[2, 0][..], &[1], &[]].map(|frame| TestMessage::new("t", frame));
//! let rejected = Outcome::Rejected("the frame is empty".to_owned());
//! assert_eq!(plugin.run(frames), [Outcome::Forwarded, Outcome::Dropped, rejected]);
//! # Ok::<(), Error>(())
//! ```
//!
//! or for Protobuf by way of `prost`:
//!
//! ```
//! use prost::Message as _;
//! use waypost_sdk::prelude::*;
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! struct Reading {
//!     #[prost(double, tag = "1")]
//!     celsius: f64,
//! }
//!
//! #[transform(reads(payloads))]
//! fn rounded(message: &Message) -> Result<Outgoing> {
//!     let mut reading = Reading::decode(message.payload())?;
//!     reading.celsius = reading.celsius.round();
//!     Ok(Outgoing::new().payload(reading.encode_to_vec()))
//! }
//!
//! use waypost_sdk::testing::{Harness, Outcome, TestMessage};
//! let reading = |celsius| TestMessage::new("t", Reading { celsius }.encode_to_vec());
//! let mut plugin = Harness::<Rounded>::new(json!({}))?;
//! assert_eq!(plugin.run_one(reading(20.6)), Outcome::Emitted(vec![reading(21.0)]));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Changing messages, and emitting many
//!
//! An [`Outgoing`] is the message again until something is set. A `#[transform]` returns one, an `Option`, a
//! `Vec` or an array of them:
//!
//! ```
//! use waypost_sdk::prelude::*;
//!
//! #[transform(reads(payloads))]
//! fn lines(message: &Message) -> Result<Vec<Outgoing>> {
//!     Ok(message.payload_str()?.lines().map(|line| Outgoing::new().payload(line)).collect())
//! }
//! ```
//!
//! # Lifting messages to a new version
//!
//! [`upcast`] makes messages of an old version those of a new one, by a function between the two types:
//!
//! ```
//! use waypost_sdk::prelude::*;
//! use waypost_sdk::testing::{Harness, Outcome, TestMessage};
//!
//! #[derive(Deserialize)]
//! struct QuakeV1 {
//!     magnitude: f64,
//! }
//!
//! #[derive(Serialize)]
//! struct QuakeV2 {
//!     tenths: i64,
//! }
//!
//! #[upcast(from = 1, to = 2)]
//! fn tenths(old: QuakeV1) -> Result<QuakeV2> {
//!     Ok(QuakeV2 { tenths: (old.magnitude * 10.0).round() as i64 })
//! }
//!
//! let mut plugin = Harness::<Tenths>::new(json!({}))?;
//! let old = TestMessage::json("quakes", &json!({ "version": 1, "magnitude": 4.5 }));
//! let new = TestMessage::json("quakes", &json!({ "version": 2, "tenths": 45 }));
//! let unknown = TestMessage::json("quakes", &json!({ "version": 3 }));
//! let [lifted, untouched, rejected] = &plugin.run([old, new.clone(), unknown])[..] else {
//!     panic!("an outcome each")
//! };
//! assert_eq!((lifted, untouched), (&Outcome::Emitted(vec![new]), &Outcome::Forwarded));
//! assert!(matches!(rejected, Outcome::Rejected(_)));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Dropping, rejecting, retrying
//!
//! `Ok(false)` of a filter, or nothing from a transformation, drops the message on purpose. An error
//! rejects it: it becomes a dead letter with the error's text, and its neighbours go on. [`reject!`] says
//! that with a format; [`Error::retry_after`] has the message handed over again later instead.
//!
//! # Logging and counting
//!
//! [`log!`](macro@log) writes a line, [`metrics::Counter`] counts, for which the attribute says
//! `imports(metrics)`.
//!
//! # Time and chance
//!
//! [`clock::now_ms`] and [`random::next_u64`], with `imports(clock, random)`. A plugin that imports either is
//! not deterministic unless it says so, and a router runs it only where its configuration grants them:
//!
//! ```toml
//! [plugins.override.sampler]
//! grants = ["log", "random"]
//! ```
//!
//! # Tests without Wasm
//!
//! ```
//! # use waypost_sdk::prelude::*;
//! # #[derive(Deserialize)]
//! # struct Config { minimum: u64 }
//! # #[filter]
//! # fn long(message: &Message, config: &Config) -> Result<bool> {
//! #     Ok(message.payload().len() as u64 >= config.minimum)
//! # }
//! use waypost_sdk::testing::{Harness, Outcome, TestMessage};
//!
//! let mut plugin = Harness::<Long>::new(json!({ "minimum": 3 }))?;
//! let outcomes = plugin.run([TestMessage::new("t", "ab"), TestMessage::new("t", "abc")]);
//! assert_eq!(outcomes, [Outcome::Dropped, Outcome::Forwarded]);
//! # Ok::<(), waypost_sdk::Error>(())
//! ```
//!
//! The [`Harness`](testing::Harness) also sets time and chance, and shows what was counted and logged.
//!
//! # Building and deploying
//!
//! The command `waypost` makes the crate, builds it, tries it in the real sandbox and brings it into a router
//! that runs:
//!
//! ```sh
//! waypost plugin new significant --role filter       # or transform, router: a crate that builds and passes its tests
//! cd significant && cargo test                       # what is under "Tests without Wasm"
//! waypost plugin build                               # target/waypost/significant.wasm
//! waypost plugin test target/waypost/significant.wasm --config '{ "minimum": 3 }' --input sample.ndjson
//! waypost plugin deploy target/waypost/significant.wasm
//! ```
//!
//! A route names it in `[[route.stage]]` with `plugin = "significant"` and `config = { ... }`. What is deployed is
//! tried beside the traffic and swapped in between two batches; `waypost plugin rollback significant` goes back.
//! The plugin folder of a router does the same for each file `<name>.wasm` that is put there, by
//! `waypost plugin build --out FOLDER` for one. Without the command, `cargo build --release --target
//! wasm32-unknown-unknown` makes the artefact.

// This crate cannot forbid unsafe code: what wit-bindgen generates in `bindings` calls the component
// model's ABI. The workspace denies it and `bindings` alone allows it. A plugin's crate can forbid it,
// because the lint does not look into what `export!` brings from here.

// The macros name this crate from outside; so do its own tests.
extern crate self as waypost_sdk;

#[doc(hidden)]
pub mod bindings;
mod emitter;
mod error;
mod export;
mod imports;
pub mod json;
mod manifest;
mod message;
mod outgoing;
mod plugin;
#[doc(hidden)]
pub mod roles;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod version;

pub use emitter::Emitter;
pub use error::{Error, Result};
#[doc(hidden)]
pub use export::runtime;
pub use imports::{clock, log, metrics, random};
pub use manifest::{Manifest, Reads, Role};
pub use message::Message;
pub use outgoing::Outgoing;
pub use plugin::{NoConfig, Plugin, Verdict};
pub use serde;
pub use serde_json;
pub use waypost_protocol::{Headers, TopicError, check_topic};
pub use waypost_sdk_macros::{filter, router, transform, upcast};

/// What most plugins need.
pub mod prelude {
    pub use std::time::Duration;

    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    pub use crate::{
        Emitter, Error, Message, Outgoing, Plugin, Result, Verdict, clock, filter, log,
        metrics::{self, Counter},
        random, reject, router, transform, upcast,
    };
}

#[cfg(test)]
mod tests;
