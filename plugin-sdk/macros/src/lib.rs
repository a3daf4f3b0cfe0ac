//! The attribute macros of `waypost-sdk`, which documents and re-exports them.
#![forbid(unsafe_code)]

mod arguments;
mod expand;
mod signature;

use expand::Role;
use proc_macro::TokenStream;

/// Makes a plugin of a function that says whether a message goes on.
///
/// The function takes `&Message`, and `&Config` if it has a configuration: any type that serde
/// deserializes. It returns `Result<bool>`.
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Config {
///     key: String,
/// }
///
/// #[filter(reads(keys))]
/// fn mine(message: &Message, config: &Config) -> Result<bool> {
///     Ok(message.key() == Some(config.key.as_bytes()))
/// }
/// ```
///
/// What may stand in the attribute, here and in the other macros:
///
/// - `name = "..."`: the plugin's name, otherwise the package's;
/// - `reads(topics, keys, headers, payloads, created)`: the columns that it reads, otherwise all. What
///   it does not read is not copied into the sandbox;
/// - `imports(clock, random, metrics)`: the modules of the SDK that it calls;
/// - `deterministic = false`: the same message may get another answer the next time, because of
///   `clock`, `random` or state.
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::plugin(Role::Filter, arguments.into(), function.into()).into()
}

/// Makes a plugin of a function that says what a message becomes.
///
/// It returns `Result<Outgoing>`; or `Result<Option<Outgoing>>`, whose `None` drops the message; or
/// `Result<Vec<Outgoing>>`, for any number in its place. Parameters and the attribute's arguments are
/// those of [`macro@filter`].
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// #[transform(reads(payloads))]
/// fn upper(message: &Message) -> Result<Outgoing> {
///     Ok(Outgoing::new().payload(message.payload_str()?.to_uppercase()))
/// }
/// ```
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::plugin(Role::Transform, arguments.into(), function.into()).into()
}

/// Makes a plugin of a function that says which topic a message goes to.
///
/// It returns `Result<String>`, `Result<&str>`, or an `Option` of either, whose `None` leaves the
/// message on its topic. Parameters and the attribute's arguments are those of [`macro@filter`].
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// #[router(reads(topics, keys))]
/// fn by_key(message: &Message) -> Result<Option<String>> {
///     let Some(key) = message.key() else { return Ok(None) };
///     Ok(Some(format!("{}.{}", message.topic(), str::from_utf8(key)?)))
/// }
/// ```
#[proc_macro_attribute]
pub fn router(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::plugin(Role::Router, arguments.into(), function.into()).into()
}
