//! The route table: who takes a topic, however many take others.

use std::hint::black_box;

use waypost_core::RouteTable;
use waypost_protocol::Pattern;

use crate::Piece;

/// Kinds of patterns: the way of a topic through the table branches where any of a kind does.
const KINDS: u32 = 4;

pub(crate) fn pieces() -> [Piece; 3] {
    let piece =
        |name, flat_with, run| Piece { name, iterations: 20_000, messages: 1, flat_with, run };
    [
        piece("match", None, |iterations| matching(iterations, KINDS)),
        piece("match-beside-100", Some("match"), |iterations| matching(iterations, 100)),
        piece("match-beside-10000", Some("match"), |iterations| matching(iterations, 10_000)),
    ]
}

/// A topic that a route and a subscription take, beside so many that take others.
fn matching(iterations: u64, others: u32) -> anyhow::Result<()> {
    let mut table = RouteTable::new();
    for number in 0..others {
        let pattern = match number % KINDS {
            0 => format!("orders.region{number}.created"),
            1 => format!("orders.*.region{number}"),
            2 => format!("tenant{number}.>"),
            _ => format!("orders.eu.customer{number}"),
        };
        table.insert(&Pattern::parse(&pattern)?, number);
    }
    table.insert(&Pattern::parse("orders.eu.>")?, others);
    table.insert(&Pattern::parse("orders.eu.created")?, others + 1);
    for _ in 0..iterations {
        let mut found = 0;
        table.for_each_match(black_box("orders.eu.created"), |_, value| found += black_box(value));
        black_box(found);
    }
    Ok(())
}
