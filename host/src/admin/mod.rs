//! The admin server: metrics, health and a JSON interface for operators, over plain HTTP.
//!
//! What changes something asks for the token of the state folder. It listens on loopback unless the configuration says
//! otherwise in so many words.

mod answer;
mod api;
mod groups;
mod lifecycle;
mod plugins;
mod server;
mod tap;
#[cfg(test)]
mod tests;
mod token;
mod traffic;

pub(crate) use groups::{GroupList, GroupOutcome, GroupPlace, MoveGroup};
pub use lifecycle::{Lifecycle, Phase};
pub use plugins::SIGNATURE_HEADER;
pub(crate) use plugins::{DeployOutcome, Plugins, RollbackOutcome};
pub use server::{Admin, AdminError, AdminState};
pub(crate) use tap::TapLine;
pub use token::{TOKEN_FILE, Token, TokenError};
pub use traffic::Traffic;
