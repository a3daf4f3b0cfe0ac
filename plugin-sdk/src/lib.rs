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
//! [`filter`], [`transform`] and [`router`] each make a type that implements [`Plugin`], named like
//! the function in CamelCase, and export it; the function stays as it is, to be called by tests. An
//! error that it returns rejects the message with the error's text: the message becomes a dead
//! letter, and its neighbours go on. What fits none of the three implements [`Plugin`] itself and is
//! exported with [`export!`].
//!
//! `cargo build --release --target wasm32-unknown-unknown` makes the artefact that a router loads.
//!
//! The configuration is the stage's `config` table, read with serde; what is wrong in it is told by
//! its path when the stage is deployed.
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
        Emitter, Error, Message, NoConfig, Outgoing, Plugin, Result, Verdict, clock, filter, log,
        metrics::{self, Counter},
        random, reject, router, transform, upcast,
    };
}

#[cfg(test)]
mod tests;
