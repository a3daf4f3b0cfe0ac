//! The ledger of a group and its crew.

mod crew;
mod ledger;
mod property;

use waypost_protocol::Offset;

use super::*;

const ANN: MemberId = MemberId(1);
const BOB: MemberId = MemberId(2);

fn policy() -> GroupPolicy {
    let retry = RetryPolicy { attempts: 3, first_ms: 100, max_ms: 1000, ..RetryPolicy::default() };
    GroupPolicy { lease_ms: 1000, retry, buries: true }
}

fn message(offset: u64, key: Option<u64>) -> GroupMessage {
    GroupMessage { offset: Offset(offset), key, ingest_ms: 10 + offset }
}

/// A ledger of which messages without a key stand at the first offsets.
fn ledger(messages: u64) -> GroupLedger {
    keyed(&vec![None; usize::try_from(messages).unwrap_or_default()])
}

fn keyed(keys: &[Option<u64>]) -> GroupLedger {
    let mut ledger = GroupLedger::new(policy(), false, GroupPosition::default(), 0);
    for (offset, key) in (0..).zip(keys) {
        ledger.admit(message(offset, *key));
    }
    ledger
}

fn range(first: u64, last: u64) -> OffsetRange {
    OffsetRange { first: Offset(first), last: Offset(last) }
}

/// Gives a member what it may have of everything, and says what that is: offsets and attempts.
fn give(ledger: &mut GroupLedger, lease: u64, member: MemberId, now_ms: u64) -> Vec<(u64, u32)> {
    let all = (Offset(0), Offset(u64::MAX));
    let found = ledger.candidates(member, now_ms, all, usize::MAX);
    let offsets: Vec<Offset> = found.iter().map(|candidate| candidate.offset).collect();
    assert!(ledger.next(member, now_ms) == offsets.first().copied(), "the first of them is next");
    ledger.lease(LeaseId(lease), member, offsets, now_ms);
    found.iter().map(|candidate| (candidate.offset.0, candidate.attempt)).collect()
}

fn offsets(given: &[(u64, u32)]) -> Vec<u64> {
    given.iter().map(|(offset, _)| *offset).collect()
}

fn ack(
    ledger: &mut GroupLedger,
    member: MemberId,
    lease: u64,
    of: OffsetRange,
) -> Result<usize, SettleError> {
    ledger.settle(member, LeaseId(lease), of, &Verb::Ack, 0, 0)
}

fn nack(ledger: &mut GroupLedger, lease: u64, offset: u64, delay_ms: u64, now_ms: u64) {
    let verb = Verb::Nack { delay_ms: Some(delay_ms) };
    let settled = ledger.settle(ANN, LeaseId(lease), range(offset, offset), &verb, now_ms, 0);
    assert_eq!(settled, Ok(1), "it holds the message");
}
