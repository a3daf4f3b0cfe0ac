//! What end-to-end tests, the demo and the chaos share: a router as a process of its own.
//!
//! Tests see a router as users do: its command, its configuration, its addresses, its log. They never
//! import it.
#![forbid(unsafe_code)]

mod artefacts;
pub mod chaos;
mod command;
mod faults;
mod http;
mod router;

pub use artefacts::{another_build, built, built_guest, built_plugin};
pub use command::{connected, finish, text, waypost};
pub use faults::Faults;
pub use http::{get, post};
pub use router::{Config, Router, RouterOptions};
