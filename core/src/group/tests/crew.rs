//! Members over partitions: who is given what, and what moves.

use super::*;
use crate::Credit;

/// A crew over partitions of ten messages each.
fn crew(partitions: usize) -> Crew {
    Crew::new(false, 3, (0..partitions).map(|_| ledger(10)).collect())
}

fn join(crew: &mut Crew, member: MemberId, max_in_flight: usize) {
    crew.join(member, max_in_flight, Credit::new(1000, 1 << 20)).expect("there is room");
}

/// Follows every offer, each with one message of a byte, and says who got which of which partition.
fn follow(crew: &mut Crew, leases: &mut u64, now_ms: u64) -> Vec<(u64, usize, u64)> {
    let mut given = Vec::new();
    while let Some(offer) = crew.poll_offer(now_ms) {
        *leases += 1;
        assert_eq!(crew.lease(LeaseId(*leases), &offer, &[offer.offset], 1, now_ms), 1);
        given.push((offer.member.0, offer.partition, offer.offset.0));
        crew.look_again(offer.partition);
    }
    given
}

fn owners(crew: &Crew, partitions: usize) -> Vec<u64> {
    (0..partitions).map(|each| crew.owner(each).map_or(0, |owner| owner.0)).collect()
}

#[test]
fn partitions_take_turns_and_no_member_holds_more_than_it_may() {
    let mut crew = crew(3);
    join(&mut crew, ANN, 4);
    let given = follow(&mut crew, &mut 0, 0);
    assert_eq!(given, [(1, 0, 0), (1, 1, 0), (1, 2, 0), (1, 0, 1)]);
    assert_eq!(crew.poll_offer(0), None);
    crew.settle(ANN, LeaseId(2), range(0, 0), &Verb::Ack, 0, 0).expect("it holds the message");
    let mut leases = 4;
    assert_eq!(follow(&mut crew, &mut leases, 0).len(), 1, "there is room for one again");
}

#[test]
fn nothing_is_given_beyond_the_credit() {
    let mut crew = crew(1);
    crew.join(ANN, 100, Credit::new(2, 1 << 20)).expect("there is room");
    let mut leases = 0;
    assert_eq!(follow(&mut crew, &mut leases, 0).len(), 2);
    crew.grant(ANN, 3, 0);
    assert_eq!(follow(&mut crew, &mut leases, 0).len(), 3);
    assert_eq!(crew.members().next().map(|stand| stand.held), Some(5));
    crew.grant(MemberId(99), 1, 1);
}

#[test]
fn a_partition_moves_only_when_its_old_owner_holds_nothing_of_it() {
    let mut crew = crew(2);
    let mut leases = 0;
    join(&mut crew, ANN, 2);
    assert_eq!(follow(&mut crew, &mut leases, 0), [(1, 0, 0), (1, 1, 0)]);
    join(&mut crew, BOB, 10);
    assert_eq!(owners(&crew, 2), [1, 1], "both are held");
    crew.settle(ANN, LeaseId(1), range(0, 0), &Verb::Ack, 0, 0).expect("it holds the message");
    let given = follow(&mut crew, &mut leases, 0);
    assert_eq!(given, [(1, 0, 1)], "the partition that stays goes on, the other waits");
    crew.settle(ANN, LeaseId(2), range(0, 0), &Verb::Ack, 0, 0).expect("it holds the message");
    assert_eq!(owners(&crew, 2), [1, 2]);
    let given = follow(&mut crew, &mut leases, 0);
    assert_eq!(given.iter().filter(|(member, ..)| *member == 2).count(), 9);
}

#[test]
fn a_member_that_leaves_gives_back_what_it_held() {
    let mut crew = crew(2);
    let mut leases = 0;
    join(&mut crew, ANN, 2);
    follow(&mut crew, &mut leases, 0);
    join(&mut crew, BOB, 20);
    assert_eq!(crew.leave(ANN, Some(&Cause::Lost), 5), 2);
    assert_eq!(owners(&crew, 2), [2, 2]);
    assert_eq!(follow(&mut crew, &mut leases, 5).len(), 20);
    let stale = Err(SettleError::StaleLease(LeaseId(1)));
    assert_eq!(crew.settle(ANN, LeaseId(1), range(0, 0), &Verb::Ack, 5, 0), stale);
    assert_eq!(crew.leave(ANN, None, 6), 0);
    assert_eq!(crew.leave(BOB, None, 6), 20);
    assert!(crew.is_empty() && owners(&crew, 2) == [0, 0]);
    assert_eq!(crew.poll_offer(6), None);
}

#[test]
fn a_stalled_member_loses_what_it_holds_and_what_it_owns_until_it_is_heard_of() {
    let mut crew = crew(2);
    let mut leases = 0;
    join(&mut crew, ANN, 2);
    join(&mut crew, BOB, 100);
    assert_eq!(follow(&mut crew, &mut leases, 0).len(), 12);
    assert_eq!(crew.next_timer_ms(), Some(1000));
    crew.extend(BOB, LeaseId(2), None, 500).expect("it is its own");
    assert_eq!(crew.handle_timers(1000), 11, "Bob extended one of his ten");
    let stands: Vec<bool> = crew.members().map(|stand| stand.is_stalled).collect();
    assert_eq!(stands, [true, true]);
    assert_eq!(crew.poll_offer(1000), None);
    crew.heard_of(BOB);
    assert_eq!(owners(&crew, 2), [2, 2]);
    let given = follow(&mut crew, &mut leases, 1000);
    assert_eq!(given.len(), 19);
    let late = crew.settle(ANN, LeaseId(1), range(0, 0), &Verb::Ack, 1001, 0);
    assert_eq!(late, Err(SettleError::StaleLease(LeaseId(1))));
    assert!(crew.members().all(|stand| !stand.is_stalled), "late as it is, it is there");
}

#[test]
fn timers_that_nobody_has_room_for_do_not_ring_again_and_again() {
    let mut crew = crew(1);
    join(&mut crew, ANN, 1);
    let mut leases = 0;
    follow(&mut crew, &mut leases, 0);
    let verb = Verb::Nack { delay_ms: Some(300) };
    crew.settle(ANN, LeaseId(1), range(0, 0), &verb, 0, 0).expect("it holds the message");
    follow(&mut crew, &mut leases, 0);
    assert_eq!(crew.next_timer_ms(), Some(300));
    crew.handle_timers(300);
    assert_eq!(crew.poll_offer(300), None);
    assert_eq!(crew.next_timer_ms(), Some(1000), "what comes next is the end of the lease");
    crew.settle(ANN, LeaseId(2), range(1, 1), &Verb::Ack, 400, 0).expect("it holds the message");
    assert_eq!(follow(&mut crew, &mut leases, 400), [(1, 0, 0)]);
}

#[test]
fn messages_that_are_shared_go_to_whoever_holds_least() {
    let shared = GroupLedger::new(policy(), true, GroupPosition::default(), 0);
    let mut crew = Crew::new(true, 3, vec![shared]);
    join(&mut crew, ANN, 3);
    join(&mut crew, BOB, 3);
    for offset in 0..10 {
        crew.with_ledger(0, |ledger| ledger.admit(message(offset, None)));
    }
    let mut leases = 0;
    let given = follow(&mut crew, &mut leases, 0);
    let to: Vec<u64> = given.iter().map(|(member, ..)| *member).collect();
    assert_eq!(to, [1, 2, 1, 2, 1, 2]);
    crew.settle(BOB, LeaseId(2), range(1, 1), &Verb::Ack, 0, 0).expect("it holds the message");
    assert_eq!(follow(&mut crew, &mut leases, 0), [(2, 0, 6)]);
    crew.leave(ANN, None, 0);
    assert_eq!(crew.poll_offer(0), None, "the other has no room");
}

#[test]
fn a_group_has_no_more_members_than_it_may() {
    let mut crew = crew(1);
    for member in 1..=3 {
        join(&mut crew, MemberId(member), 1);
    }
    let refused = crew.join(MemberId(4), 1, Credit::new(1, 1));
    assert_eq!(refused, Err(CrewError::Full(3)));
}

#[test]
fn over_other_ledgers_everything_begins_anew() {
    let mut crew = crew(2);
    join(&mut crew, ANN, 2);
    let mut leases = 0;
    follow(&mut crew, &mut leases, 0);
    crew.replace(vec![ledger(1), ledger(1)]);
    let stale = crew.settle(ANN, LeaseId(1), range(0, 0), &Verb::Ack, 0, 0);
    assert_eq!(stale, Err(SettleError::StaleLease(LeaseId(1))));
    assert_eq!(follow(&mut crew, &mut leases, 0), [(1, 0, 0), (1, 1, 0)]);
}
