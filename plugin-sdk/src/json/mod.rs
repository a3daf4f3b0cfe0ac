//! Looking into JSON payloads and changing them, for plugins whose configuration says where.
//!
//! A [`Pointer`] names a place, a [`Condition`] compares what stands there, a [`Template`] writes it into
//! a text, and [`Edits`] change a document step by step. All of them are deserialized from a stage's
//! configuration, and what could not work is refused then.
//!
//! A [`Document`] is either a parsed [`Value`](serde_json::Value) or an [`Excerpt`]: the few values that
//! [`Pointers`] found in one pass over the text, without a tree and mostly without allocating.
//!
//! ```
//! use waypost_sdk::{json::{Condition, Pointers}, prelude::*};
//!
//! let condition: Condition =
//!     serde_json::from_value(json!({ "pointer": "/properties/mag", "op": "ge", "value": 4.5 }))?;
//! let pointers = Pointers::new([condition.pointer()]);
//! assert!(condition.holds(&pointers.read(br#"{ "properties": { "mag": 5, "place": "Guam" } }"#)?));
//! assert!(!condition.holds(&pointers.read(br#"{ "properties": { "mag": null } }"#)?));
//! # Ok::<(), Error>(())
//! ```

mod condition;
mod edit;
mod excerpt;
mod found;
mod pointer;
mod template;
#[cfg(test)]
mod tests;

pub use condition::Condition;
pub use edit::{Bands, Edit, Edits, Flatten, Pick};
pub use excerpt::{Excerpt, Pointers};
pub use found::{Document, Found, Number};
pub use pointer::Pointer;
pub use template::Template;
