//! Every feature at once: the measured messages go from a stream through a route of two stages, which wants to see
//! some of them again, to a stream that members of a group share, who give some of them back. Beside them run a
//! memory route of four stages, requests and their replies, messages that become dead letters, whoever scrapes the
//! metrics, and whoever watches live messages.

mod admin;
mod beside;

use std::num::NonZeroU64;

use serde_json::json;

pub(crate) use self::{
    admin::Admin,
    beside::{Task, beside},
};
use crate::{
    setup::{Setup, TOPIC_IN, TOPIC_OUT, keep, rewrite, stream},
    workload::MARKED_END,
};

/// Members of the group, and partitions of the streams that they share.
pub(crate) const MEMBERS: u16 = 2;
/// The route wants to see every so many-th message again; no common factor with the number of keys, so that each
/// key has its turn.
pub(crate) const MARKED: Option<NonZeroU64> = NonZeroU64::new(1009);
/// The members give every so many-th message back once.
pub(crate) const GIVEN_BACK: Option<NonZeroU64> = NonZeroU64::new(997);

const MEMORY_IN: &str = "beside.in";
const MEMORY_OUT: &str = "beside.out";
const REQUESTS: &str = "beside.requests";
const DEAD_LETTERS: &str = "$dead.bench";
/// What the payload of a message ends with that the route rejects.
const REJECTED_END: &str = "REJECT\"}";

/// The router's configuration.
pub(crate) fn setup() -> Setup {
    let wavering = json!({ "retry": MARKED_END, "times": 1, "reject": REJECTED_END });
    let retry = json!({ "first_ms": 20 });
    let durable = json!({ "name": "bench", "from": TOPIC_IN, "to": TOPIC_OUT, "retry": retry });
    let memory = json!({ "name": "beside", "from": MEMORY_IN, "to": MEMORY_OUT });
    Setup {
        streams: vec![
            stream("in", TOPIC_IN, MEMBERS),
            stream("out", TOPIC_OUT, MEMBERS),
            stream("dead", "$dead.>", 1),
        ],
        routes: vec![
            (durable, vec![keep(), ("wavering".to_owned(), wavering)]),
            (memory, vec![keep(), keep(), rewrite(), keep()]),
        ],
        groups: vec![json!({ "name": "bench", "dead_letter": "$dead.members" })],
    }
}
