//! The admin server: metrics, health and a JSON interface for operators, over plain HTTP.
//!
//! What changes something asks for the token of the state folder. It listens on loopback unless the configuration says
//! otherwise in so many words.

mod answer;
mod api;
mod body;
mod dlq;
mod groups;
mod lifecycle;
mod linger;
mod plugins;
mod progress;
mod server;
mod tap;
#[cfg(test)]
mod tests;
mod token;
mod traffic;

pub(crate) use dlq::{PurgeLetters, ReplayLetters, TryLetters};
pub(crate) use groups::{GroupList, GroupOutcome, GroupPlace, MoveGroup};
pub use lifecycle::{Lifecycle, Phase};
pub use plugins::SIGNATURE_HEADER;
pub(crate) use plugins::{DeployOutcome, Plugins, RollbackOutcome};
#[cfg(test)]
pub(crate) use progress::KeptPartition;
pub(crate) use progress::{KeptRouteList, KeptRouteStatus};
pub use server::{Admin, AdminError, AdminState};
pub(crate) use tap::TapLine;
pub use token::{TOKEN_FILE, Token, TokenError};
pub(crate) use traffic::StreamList;
pub use traffic::Traffic;
