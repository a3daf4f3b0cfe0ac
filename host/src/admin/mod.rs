//! The admin server: metrics, health and a JSON interface for operators, over plain HTTP.
//!
//! It only tells; nothing is changed through it. It listens on loopback unless the configuration says
//! otherwise in so many words.

mod lifecycle;
mod server;
#[cfg(test)]
mod tests;

pub use lifecycle::{Lifecycle, Phase};
pub use server::{Admin, AdminError, AdminState};
