//! What a dead letter adds to the message that it keeps whole.
//!
//! Its topic is `$dead.<route>`, or the one that its group keeps its dead letters on; key, payload and the original headers
//! stand byte for byte as they came, the headers behind these: the first of a name is the router's. A value is text in UTF-8;
//! times are milliseconds since the Unix epoch, in decimal.
//!
//! They stand in the order [`REASON`], [`ERROR`], [`TOPIC`], [`CREATED`], [`ATTEMPTS`], [`FIRST_FAILURE`], [`LAST_FAILURE`],
//! [`ROUTE`] or [`GROUP`]; then those that there are of [`STREAM`], [`PARTITION`] and [`OFFSET`], [`STAGE`], [`PLUGIN`]; then
//! [`OWN`], if it is needed. So nothing that a publisher makes up is taken for the router's.

/// How all these names begin.
pub const PREFIX: &str = "wp-dlq-";
/// The name of the error code, such as `PLUGIN_TRAP`.
pub const REASON: &str = "wp-dlq-reason";
/// What went wrong, in words; a plugin's backtrace stands here.
pub const ERROR: &str = "wp-dlq-error";
/// The topic of the message when it failed.
pub const TOPIC: &str = "wp-dlq-topic";
/// The stream it came from, when one was the source.
pub const STREAM: &str = "wp-dlq-stream";
/// The partition it came from, when a stream was the source.
pub const PARTITION: &str = "wp-dlq-partition";
/// Its offset there.
pub const OFFSET: &str = "wp-dlq-offset";
/// When the publisher made it.
pub const CREATED: &str = "wp-dlq-created";
/// How often it was tried.
pub const ATTEMPTS: &str = "wp-dlq-attempts";
/// When it failed first.
pub const FIRST_FAILURE: &str = "wp-dlq-first-failure";
/// When it failed last.
pub const LAST_FAILURE: &str = "wp-dlq-last-failure";
/// The route that gave up on it.
pub const ROUTE: &str = "wp-dlq-route";
/// The group that gave up on it.
pub const GROUP: &str = "wp-dlq-group";
/// The stage it failed in.
pub const STAGE: &str = "wp-dlq-stage";
/// SHA-256 of the plugin's artefact, in hexadecimal.
pub const PLUGIN: &str = "wp-dlq-plugin";

/// Stands, empty, where the message's own headers begin, if the first of them begins like these.
pub const OWN: &str = "wp-dlq-own";

/// How many headers a dead letter may have more than other messages.
pub const EXTRA_HEADERS: u16 = 16;
/// The bytes of [`ERROR`] are cut to this many, so that a backtrace never outweighs the message.
pub const MAX_ERROR_BYTES: usize = 8 * 1024;
