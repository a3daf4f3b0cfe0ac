//! What producer, route and group agree on: topics, keys, and what a message says.

use serde::{Deserialize, Serialize};

/// What the producer publishes to, and the route reads.
pub(super) const ORDERS: &str = "orders.placed";
/// Where a new life of the producer marks that nothing of an older one comes any more.
pub(super) const MARKERS: &str = "orders.marker";
/// Whatever the producer publishes.
pub(super) const PUBLISHED: &str = "orders.>";
/// What the route makes, and the group reads.
pub(super) const OUTPUT: &str = "kept.>";
/// What the route gives up on.
pub(super) const LETTERS: &str = "$dead.work";
/// The stream of [`OUTPUT`].
pub(super) const OUTPUT_STREAM: &str = "kept";
/// The stream of [`LETTERS`].
pub(super) const LETTER_STREAM: &str = "dead";
/// Partitions of the stream of [`PUBLISHED`].
pub(super) const PARTITIONS: u32 = 4;
/// Messages have so many keys, one after the other.
pub(super) const KEYS: u64 = 16;

/// The router's configuration. The first stage wants to see some messages again, which parks their keys, and
/// rejects others; the second one changes the payload. Clients notice soon that a router is gone.
pub(super) const CONFIG: &str = "
[listen]
idle_timeout_ms = 600

[storage]
reserve_bytes = 0

[[stream]]
name = 'orders'
topics = ['orders.>']
partitions = 4

[[stream]]
name = 'kept'
topics = ['kept.>']
partitions = 3

[[stream]]
name = 'dead'
topics = ['$dead.>']

[[route]]
name = 'work'
from = 'orders.placed'
to = 'kept.orders'
retry = { attempts = 1000, first_ms = 5, max_ms = 50 }

[[route.stage]]
plugin = 'wavering'
config = { retry = '3}', times = 1, reject = '7}' }

[[route.stage]]
plugin = 'transform-json'
[[route.stage.config.step]]
set = { pointer = '/worked', value = true }

[groups]
lease_ms = 2000
first_ms = 5
max_ms = 50
";

/// Whether the route rejects a message, as its configuration says.
pub(super) fn is_rejected(number: u64) -> bool {
    number % 10 == 7
}

/// The key of a message.
pub(super) fn key_of(number: u64) -> u64 {
    number % KEYS
}

/// What a message says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) number: u64,
    /// Set by the route.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) worked: bool,
}
