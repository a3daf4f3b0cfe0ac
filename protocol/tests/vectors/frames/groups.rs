//! The frames of members of groups.

use serde_json::{Value, json};
use waypost_protocol::{
    ErrorCode, Frame,
    frame::{
        Acknowledge, Acknowledged, Deliver, Extend, Join, Joined, Lease, Nack, PlaceRange,
        ReadFrom, Refusal, Reject, Settle, Start, Subscribe, Subscribed, Verb,
    },
};

use super::{batch_vector, deliver, subscribe};

pub(super) fn asked(acknowledge: &Acknowledge) -> Value {
    let range = |range: &PlaceRange| json!({ "first": range.first.to_string(), "last": range.last.to_string() });
    let wide = |number: Option<u64>| number.map(|number| number.to_string());
    let settle = |settle: &Settle| {
        let verb = settle.verb.as_ref().map(|verb| match verb {
            Verb::Ack(ack) => json!({ "ack": ack }),
            Verb::AckThrough(place) => json!({ "ack_through": place.to_string() }),
            Verb::Nack(nack) => json!({ "nack": { "delay_ms": wide(nack.delay_ms) } }),
            Verb::Reject(reject) => json!({ "reject": { "reason": reject.reason } }),
            Verb::Extend(extend) => json!({ "extend": { "by_ms": wide(extend.by_ms) } }),
        });
        let ranges: Value = settle.ranges.iter().map(range).collect();
        json!({ "lease": settle.lease.to_string(), "ranges": ranges, "verb": verb })
    };
    let settles: Value = acknowledge.settles.iter().map(settle).collect();
    json!({ "request": wide(acknowledge.request), "settles": settles })
}

pub(super) fn answered(answer: &Acknowledged) -> Value {
    let refusal = |refusal: &Refusal| {
        json!({
            "settle": refusal.settle,
            "lease": refusal.lease.to_string(),
            "code": refusal.code,
            "message": refusal.message,
        })
    };
    let refusals: Value = answer.refusals.iter().map(refusal).collect();
    let request = answer.request.map(|request| request.to_string());
    json!({ "request": request, "refusals": refusals, "more": answer.more })
}

type Case = (&'static str, &'static str, Option<&'static str>, Frame);

pub(super) fn frames() -> impl Iterator<Item = Case> {
    [
        (
            "subscribe-join",
            "A member of a group, which begins at a time if it does not exist yet.",
            None,
            join(Join { group: "mailers".into(), member: "host-7".into(), max_in_flight: 100 }),
        ),
        ("subscribed-joined", "The router's answer to a member.", None, joined()),
        (
            "deliver-lease",
            "Messages under a lease, with gaps between them.",
            Some("keys"),
            leased(vec![0, 2, 3], vec![1, 5, 1]),
        ),
        (
            "deliver-lease-first",
            "Messages one after another that are all given out for the first time.",
            Some("keys"),
            leased(vec![], vec![]),
        ),
        ("acknowledge", "Every verb, on leases of several partitions.", None, every_verb()),
        (
            "acknowledge-unanswered",
            "All of a lease is done, and nobody waits for the answer.",
            None,
            Frame::Acknowledge(Acknowledge {
                request: None,
                settles: vec![settle(9, &[], Verb::Ack(true))],
            }),
        ),
        (
            "acknowledged",
            "Everything holds.",
            None,
            Frame::Acknowledged(Acknowledged { request: Some(1), ..Acknowledged::default() }),
        ),
        ("acknowledged-refused", "The second settle does not hold.", None, refused()),
    ]
    .into_iter()
}

fn join(join: Join) -> Frame {
    let Frame::Subscribe(subscribe) = subscribe() else { unreachable!("it is one") };
    let start = Some(Start::TimeMs(1_764_000_000_000));
    let from = Some(ReadFrom { start, ..ReadFrom::default() });
    Frame::Subscribe(Subscribe { join: Some(join), from, ..subscribe })
}

fn joined() -> Frame {
    let joined = Joined { lease_ms: 30_000, max_in_flight: 100, takes_rejects: true };
    Frame::Subscribed(Subscribed { subscription_id: 3, joined: Some(joined) })
}

fn leased(positions: Vec<u32>, attempts: Vec<u32>) -> Frame {
    let Frame::Deliver(deliver, _) = deliver() else { unreachable!("it is one") };
    let lease = Lease { id: 1 << 40, duration_ms: 30_000, base: 70, positions, attempts };
    Frame::Deliver(Deliver { lease: Some(lease), ..deliver }, batch_vector("keys"))
}

fn settle(lease: u64, ranges: &[(u64, u64)], verb: Verb) -> Settle {
    let ranges = ranges.iter().map(|(first, last)| PlaceRange { first: *first, last: *last });
    Settle { lease, ranges: ranges.collect(), verb: Some(verb) }
}

fn every_verb() -> Frame {
    let reject = Reject { reason: "no such account".into() };
    let settles = vec![
        settle(7, &[(70, 72), (75, 75)], Verb::Ack(true)),
        settle(8, &[], Verb::AckThrough(900)),
        settle(7, &[(73, 73)], Verb::Nack(Nack { delay_ms: Some(5000) })),
        settle(7, &[(76, 76)], Verb::Nack(Nack { delay_ms: None })),
        settle(7, &[(74, 74)], Verb::Reject(reject)),
        settle(9, &[], Verb::Extend(Extend { by_ms: Some(60_000) })),
        settle(10, &[], Verb::Extend(Extend { by_ms: None })),
    ];
    Frame::Acknowledge(Acknowledge { request: Some(1), settles })
}

fn refused() -> Frame {
    let code = ErrorCode::StaleLease;
    let refusal =
        Refusal { settle: 1, lease: 8, code: code.number(), message: code.meaning().to_owned() };
    let (request, refusals) = (Some(2), vec![refusal]);
    Frame::Acknowledged(Acknowledged { request, refusals, more: false })
}
