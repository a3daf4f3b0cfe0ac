//! The attribute macros of `waypost-sdk`, which documents and re-exports them.
#![forbid(unsafe_code)]

mod arguments;
mod expand;
mod role;
mod signature;
mod upcast;

use proc_macro::TokenStream;

use crate::role::Role;

/// Makes a plugin of a function that says whether a message goes on.
///
/// The function takes `&Message`, and `&Config` if it has a configuration: any type that serde
/// deserializes. It returns `Result<bool>`: `Ok(true)` lets the message go on, `Ok(false)` drops it, an
/// error rejects it or has it tried again. The error may be of any type that converts into the SDK's.
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
/// - `imports(clock, random, metrics)`: the modules of the SDK that it calls; `log` needs no mention;
/// - `deterministic = false`: the same message may get another answer the next time. So it is taken
///   to be for a plugin that imports `clock` or `random`, unless `deterministic = true` stands here.
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::plugin(Role::Filter, arguments.into(), function.into()).into()
}

/// Makes a plugin of a function that says what a message becomes.
///
/// It returns `Result<Outgoing>`; or `Result<Option<Outgoing>>`, whose `None` drops the message; or
/// `Result<Vec<Outgoing>>` or an array of them, for any number in its place. Parameters and the attribute's arguments are
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

/// Makes a plugin of a function that lifts a JSON payload from one version to another.
///
/// The function takes the old version's type, which serde deserializes, and, if it has one, `&Config`. It
/// returns `Result<New>`, of a type that serde serializes.
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// #[derive(Deserialize)]
/// struct CustomerV1 {
///     first: String,
///     last: String,
/// }
///
/// #[derive(Serialize)]
/// struct CustomerV2 {
///     name: String,
/// }
///
/// #[upcast(from = 1, to = 2)]
/// fn whole_name(old: CustomerV1) -> Result<CustomerV2> {
///     Ok(CustomerV2 { name: format!("{} {}", old.first, old.last) })
/// }
///
/// use waypost_sdk::testing::{Harness, Outcome, TestMessage};
///
/// let mut plugin = Harness::<WholeName>::new(json!({}))?;
/// let old = json!({ "version": 1, "first": "Ada", "last": "Byron" });
/// let new = json!({ "version": 2, "name": "Ada Byron" });
/// assert_eq!(
///     plugin.run([TestMessage::json("t", &old), TestMessage::json("t", &new)]),
///     [Outcome::Emitted(vec![TestMessage::json("t", &new)]), Outcome::Forwarded],
/// );
/// # Ok::<(), Error>(())
/// ```
///
/// A message of the new version goes on untouched; one without a version, or of an unknown one, is
/// rejected. The macro reads the version and writes the new one, so that neither type needs a field for
/// it (but one that denies unknown fields must have it).
///
/// Several make a chain, each a stage of its own: from 1 to 2, then from 2 to 3. So that the first of
/// them lets messages pass that already are of version 3, it names that `later`.
///
/// What may stand in the attribute:
///
/// - `from` and `to`, required: the versions, whole numbers or texts. `2` and `"2"` are the same; in a
///   payload it looks as it does here;
/// - `later(3, 4)`: versions behind `to`, which go on untouched as well;
/// - `pointer = "/meta/version"`: where the payload holds the version, otherwise `/version`;
/// - `header = "schema-version"`: the header that holds it, instead;
/// - `name`, `imports` and `deterministic`, as in [`macro@filter`].
#[proc_macro_attribute]
pub fn upcast(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::plugin(Role::Upcast, arguments.into(), function.into()).into()
}
