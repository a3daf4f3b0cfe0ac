//! What a route that reads streams decides: where its outputs are kept, how far it may say that it came, and
//! which of its units are on their way into storage.

mod flight;
mod outputs;
mod progress;

pub use flight::{Flight, FlightAnswer};
pub use outputs::{KeptOutput, Output, SettledOutputs, keep_outputs, outputs_before};
pub use progress::{Advance, Progress};
