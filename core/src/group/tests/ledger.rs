//! One partition: leases, acknowledgements, lines of keys, positions.

use super::*;

#[test]
fn what_is_acknowledged_is_done_and_the_floor_follows_without_gaps() {
    let mut ledger = ledger(6);
    assert_eq!(offsets(&give(&mut ledger, 1, ANN, 0)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(ack(&mut ledger, ANN, 1, range(2, 3)), Ok(2));
    assert_eq!((ledger.floor(), ledger.lag(Offset(6)), ledger.held()), (Offset(0), 4, 4));
    assert_eq!(ledger.oldest_ms(), Some(10));
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, 1)), Ok(2));
    assert_eq!((ledger.floor(), ledger.oldest_ms()), (Offset(4), Some(14)));
    assert_eq!(ack(&mut ledger, ANN, 1, range(4, 5)), Ok(2));
    assert_eq!((ledger.floor(), ledger.lag(Offset(9))), (Offset(6), 3));
    assert_eq!((ledger.position(&[]), ledger.held()), (GroupPosition::at(Offset(6)), 0));
}

#[test]
fn an_acknowledgement_that_comes_twice_changes_nothing_and_a_late_one_is_refused() {
    let mut ledger = ledger(2);
    give(&mut ledger, 1, ANN, 0);
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, 0)), Ok(1));
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, 0)), Ok(0), "it is settled already");
    let changes = ledger.changes();
    let stale = Err(SettleError::StaleLease(LeaseId(1)));
    assert_eq!(ack(&mut ledger, BOB, 1, range(1, 1)), stale, "the lease is another's");
    assert_eq!(ledger.changes(), changes);
    let returned = ledger.expire(1000);
    assert_eq!(returned, [Returned { member: ANN, messages: 1 }]);
    assert_eq!(ack(&mut ledger, ANN, 1, range(1, 1)), stale, "its time is over");
    assert_eq!(give(&mut ledger, 2, BOB, 1000), [(1, 2)]);
    assert_eq!(ack(&mut ledger, BOB, 2, range(1, 1)), Ok(1));
    let gone = Err(SettleError::StaleLease(LeaseId(2)));
    assert_eq!(ack(&mut ledger, BOB, 2, range(1, 1)), gone, "all of it is settled");
}

#[test]
fn an_offset_that_was_not_delivered_is_refused_and_nothing_is_settled() {
    let mut ledger = ledger(3);
    let given = ledger.candidates(ANN, 0, (Offset(0), Offset(3)), 2);
    ledger.lease(LeaseId(1), ANN, given.iter().map(|candidate| candidate.offset), 0);
    let refused =
        |offset| Err(SettleError::NeverDelivered { lease: LeaseId(1), offset: Offset(offset) });
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, 2)), refused(2));
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, u64::MAX)), refused(u64::MAX));
    assert_eq!(ledger.settle_through(ANN, LeaseId(1), Offset(7)), refused(7));
    assert_eq!((ledger.floor(), ledger.held()), (Offset(0), 2));
    assert_eq!(ack(&mut ledger, ANN, 1, range(1, 0)), Ok(0), "a range that goes back is empty");
}

#[test]
fn a_cumulative_acknowledgement_covers_every_earlier_lease_of_the_member_up_to_it() {
    let mut ledger = ledger(6);
    for (lease, to) in [(1, 2), (2, 4), (3, 6)] {
        let given = ledger.candidates(ANN, 0, (Offset(0), Offset(to)), 9);
        ledger.lease(LeaseId(lease), ANN, given.iter().map(|each| each.offset), 0);
    }
    assert_eq!(ledger.settle_through(ANN, LeaseId(2), Offset(2)), Ok(3));
    assert_eq!((ledger.floor(), ledger.held()), (Offset(3), 3));
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, 0)), Err(SettleError::StaleLease(LeaseId(1))));
}

#[test]
fn a_cumulative_acknowledgement_leaves_what_was_given_out_again_after_its_lease() {
    let mut ledger = ledger(2);
    give(&mut ledger, 1, ANN, 0);
    nack(&mut ledger, 1, 0, 0, 0);
    assert_eq!(give(&mut ledger, 2, ANN, 0), [(0, 2)]);
    // Ann may have said so before the second delivery reached her.
    assert_eq!(ledger.settle_through(ANN, LeaseId(1), Offset(1)), Ok(1));
    assert_eq!((ledger.floor(), ledger.held_by(ANN)), (Offset(0), 1));
    assert_eq!(ledger.settle_through(ANN, LeaseId(2), Offset(0)), Ok(1));
}

#[test]
fn a_message_that_is_not_acknowledged_waits_as_long_as_it_was_asked_to() {
    let mut ledger = ledger(2);
    give(&mut ledger, 1, ANN, 0);
    nack(&mut ledger, 1, 0, 700, 50);
    assert_eq!(ledger.next_timer_ms(), Some(750));
    assert!(give(&mut ledger, 2, ANN, 749).is_empty());
    assert_eq!(give(&mut ledger, 3, ANN, 750), [(0, 2)]);
    let backoff = Verb::Nack { delay_ms: None };
    let settled = ledger.settle(ANN, LeaseId(3), range(0, 0), &backoff, 800, 150);
    assert_eq!((settled, ledger.next_timer_ms()), (Ok(1), Some(950)), "150 of at most 200 ms");
}

#[test]
fn a_lease_that_is_extended_ends_later() {
    let mut ledger = ledger(1);
    give(&mut ledger, 1, ANN, 0);
    assert_eq!(ledger.extend(ANN, LeaseId(1), None, 900), Ok(()));
    assert!(ledger.expire(1899).is_empty());
    assert_eq!(ledger.extend(ANN, LeaseId(1), Some(5000), 1899), Ok(()));
    assert!(ledger.expire(6898).is_empty());
    assert_eq!(ledger.expire(6899).len(), 1);
    let stale = Err(SettleError::StaleLease(LeaseId(1)));
    assert_eq!(ledger.extend(ANN, LeaseId(1), None, 6899), stale);
}

#[test]
fn a_message_that_failed_as_often_as_it_may_is_dead_until_it_is_buried() {
    let mut ledger = ledger(2);
    for lease in 1..=3 {
        let given = give(&mut ledger, lease, ANN, lease * 1000);
        assert_eq!(given.first(), Some(&(0, u32::try_from(lease).unwrap_or(0))));
        nack(&mut ledger, lease, 0, 0, lease * 1000 + 1);
        ledger.release(ANN, None, 0);
    }
    let dead: Vec<Dead> = ledger.dead().cloned().collect();
    let expected = Dead {
        offset: Offset(0),
        cause: Some(Cause::Nacked),
        attempts: 3,
        first_failure_ms: 1001,
        last_failure_ms: 3001,
    };
    assert_eq!(dead, [expected]);
    assert_eq!(offsets(&give(&mut ledger, 4, ANN, 9000)), [1], "it is given out no more");
    assert_eq!((ledger.floor(), ledger.position(&[]).failed.len()), (Offset(0), 1));
    assert_eq!(ledger.position(&[Offset(0)]), GroupPosition::at(Offset(1)));
    ledger.buried(&[Offset(0)]);
    assert_eq!((ledger.floor(), ledger.dead().count()), (Offset(1), 0));
}

#[test]
fn what_is_rejected_is_dead_at_once_where_there_is_a_place_for_it() {
    let reject = Verb::Reject { reason: "no such account".to_owned() };
    let settle =
        |ledger: &mut GroupLedger| ledger.settle(ANN, LeaseId(1), range(0, 0), &reject, 5, 0);
    let mut first = ledger(1);
    give(&mut first, 1, ANN, 0);
    assert_eq!(settle(&mut first), Ok(1));
    let cause = first.dead().next().and_then(|dead| dead.cause.clone());
    assert_eq!(cause, Some(Cause::Rejected("no such account".to_owned())));
    let policy = GroupPolicy { buries: false, ..policy() };
    let mut second = GroupLedger::new(policy, false, GroupPosition::default(), 0);
    second.admit(message(0, None));
    give(&mut second, 1, ANN, 0);
    assert_eq!(settle(&mut second), Err(SettleError::NoDeadLetters));
    for round in 0..20_u64 {
        nack(&mut second, round + 1, 0, 0, 0);
        assert_eq!(give(&mut second, round + 2, ANN, 0).len(), 1, "it is tried for ever");
    }
}

#[test]
fn later_messages_of_a_key_wait_while_one_of_it_waits_and_other_keys_go_on() {
    let (a, b) = (Some(7), Some(8));
    let mut ledger = keyed(&[a, b, a, None]);
    assert_eq!(offsets(&give(&mut ledger, 1, ANN, 0)), [0, 1, 2, 3]);
    nack(&mut ledger, 1, 0, 500, 0);
    for (offset, key) in [(4, a), (5, b), (6, a), (7, None)] {
        ledger.admit(message(offset, key));
    }
    assert_eq!(offsets(&give(&mut ledger, 2, ANN, 0)), [5, 7]);
    assert_eq!(give(&mut ledger, 3, ANN, 500), [(0, 2)]);
    assert!(give(&mut ledger, 4, ANN, 500).is_empty(), "they wait until it is settled");
    assert_eq!(ack(&mut ledger, ANN, 3, range(0, 0)), Ok(1));
    assert_eq!(give(&mut ledger, 5, ANN, 500), [(4, 1)]);
    nack(&mut ledger, 5, 4, 300, 600);
    assert!(give(&mut ledger, 6, ANN, 899).is_empty());
    assert_eq!(give(&mut ledger, 7, ANN, 900), [(4, 2)]);
    assert_eq!(ack(&mut ledger, ANN, 7, range(4, 4)), Ok(1));
    assert_eq!(give(&mut ledger, 8, ANN, 900), [(6, 1)]);
    ack(&mut ledger, ANN, 8, range(6, 6)).expect("it holds the message");
    ledger.admit(message(8, a));
    ledger.admit(message(9, a));
    assert_eq!(offsets(&give(&mut ledger, 9, ANN, 900)), [8, 9], "the line has gone");
}

#[test]
fn an_earlier_message_that_fails_later_comes_before_those_that_wait() {
    let key = Some(7);
    let mut ledger = keyed(&[key, key]);
    give(&mut ledger, 1, ANN, 0);
    nack(&mut ledger, 1, 1, 100, 0);
    nack(&mut ledger, 1, 0, 400, 0);
    assert!(give(&mut ledger, 2, ANN, 399).is_empty());
    assert_eq!(offsets(&give(&mut ledger, 3, ANN, 400)), [0]);
    ledger.release(ANN, Some(&Cause::Lost), 450);
    assert_eq!(give(&mut ledger, 4, ANN, 450), [(0, 3)]);
}

#[test]
fn what_comes_back_from_a_member_that_left_is_in_order_and_counts_as_it_should() {
    let key = Some(7);
    let mut ledger = keyed(&[key, key, None]);
    give(&mut ledger, 1, ANN, 0);
    assert_eq!(ledger.release(ANN, None, 0), 3);
    assert_eq!(give(&mut ledger, 2, BOB, 0), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(ledger.release(BOB, Some(&Cause::Lost), 0), 3);
    assert_eq!(give(&mut ledger, 3, ANN, 0), [(0, 2), (1, 2), (2, 2)]);
    assert_eq!(ledger.release(BOB, Some(&Cause::Lost), 0), 0, "it holds nothing any more");
}

#[test]
fn a_position_is_gone_on_from_with_its_attempts_and_keys() {
    let key = Some(7);
    let mut before = keyed(&[None, key, None, key, None]);
    give(&mut before, 1, ANN, 0);
    ack(&mut before, ANN, 1, range(0, 0)).expect("it holds the message");
    ack(&mut before, ANN, 1, range(2, 2)).expect("it holds the message");
    nack(&mut before, 1, 1, 500, 100);
    let position = before.position(&[]);
    let failed =
        FailedMessage { offset: Offset(1), key, failures: 1, due_ms: 600, first_failure_ms: 100 };
    assert!(position.is_sound());
    assert_eq!((position.floor, position.failed.clone()), (Offset(1), vec![failed]));
    assert_eq!(position.lag(Offset(5)), 3);

    let mut after = GroupLedger::new(policy(), false, position, 200);
    assert_eq!(after.cursor(), Offset(1));
    for offset in 1..5 {
        after.admit(message(offset, if offset % 2 == 1 { key } else { None }));
    }
    assert_eq!(offsets(&give(&mut after, 1, ANN, 200)), [4], "3 waits behind 1, and 2 is done");
    assert_eq!(give(&mut after, 2, ANN, 600), [(1, 2)]);
    assert_eq!(ack(&mut after, ANN, 2, range(1, 1)), Ok(1));
    assert_eq!(give(&mut after, 3, ANN, 600), [(3, 1)]);
}

#[test]
fn what_failed_before_a_restart_waits_for_older_messages_of_its_key_that_are_not_read_yet() {
    let key = Some(7);
    let mut before = keyed(&[key, None, key, key]);
    let given = before.candidates(ANN, 0, (Offset(2), Offset(4)), 2);
    before.lease(LeaseId(1), ANN, given.iter().map(|each| each.offset), 0);
    nack(&mut before, 1, 2, 100, 0);
    nack(&mut before, 1, 3, 100, 0);
    let retry = RetryPolicy { parked_messages: 2, ..policy().retry };
    let policy = GroupPolicy { retry, ..policy() };
    let mut after = GroupLedger::new(policy, false, before.position(&[]), 200);
    assert!(give(&mut after, 1, ANN, 1000).is_empty(), "0 is older, and not read yet");
    assert_eq!(after.next_timer_ms(), None);
    assert!(after.has_room(), "or it would never be read");
    after.admit(message(0, key));
    after.admit(message(1, None));
    assert_eq!(offsets(&give(&mut after, 2, ANN, 1000)), [0, 1]);
    nack(&mut after, 2, 0, 500, 1000);
    after.admit(message(2, key));
    assert!(!after.has_room(), "what the cursor has passed counts");
    assert!(give(&mut after, 3, ANN, 1499).is_empty());
    for (lease, due) in [(4, (0, 2)), (5, (2, 2))] {
        assert_eq!(give(&mut after, lease, ANN, 1500), [due]);
        assert_eq!(ack(&mut after, ANN, lease, range(due.0, due.0)), Ok(1));
    }
    after.admit(message(3, key));
    assert_eq!(give(&mut after, 6, ANN, 1500), [(3, 2)]);
    ack(&mut after, ANN, 6, range(3, 3)).expect("it holds it");
    ack(&mut after, ANN, 2, range(1, 1)).expect("it holds it");
    assert_eq!(after.position(&[]), GroupPosition::at(Offset(4)));
}

#[test]
fn what_failed_before_a_restart_and_is_given_up_or_trimmed_is_passed() {
    let key = Some(7);
    let mut before = keyed(&[key, key, key]);
    give(&mut before, 1, ANN, 0);
    nack(&mut before, 1, 1, 100, 0);
    nack(&mut before, 1, 2, 100, 0);
    let position = before.position(&[]);
    let mut after = GroupLedger::new(policy(), false, position.clone(), 0);
    assert_eq!(after.trimmed(Offset(2)), 2);
    assert_eq!(give(&mut after, 1, ANN, 200), [], "2 itself is still to be read");
    after.admit(message(2, key));
    assert_eq!(give(&mut after, 1, ANN, 200), [(2, 2)]);
    let mut after = GroupLedger::new(policy(), false, position, 0);
    assert_eq!(after.lost(Offset(0), Offset(2)), 2);
    after.admit(message(2, key));
    assert_eq!(give(&mut after, 1, ANN, 200), [(2, 2)]);
}

#[test]
fn a_clock_that_was_set_back_lets_nothing_wait_for_years() {
    let failed = FailedMessage {
        offset: Offset(0),
        key: None,
        failures: 1,
        due_ms: 1 << 50,
        first_failure_ms: 1 << 50,
    };
    let position = GroupPosition { failed: vec![failed], ..GroupPosition::default() };
    let ledger = GroupLedger::new(policy(), false, position, 5);
    assert_eq!(ledger.next_timer_ms(), Some(5 + 86_400_000));
}

#[test]
fn what_was_trimmed_is_lost_unless_it_was_done_or_is_held() {
    let mut ledger = keyed(&[None, Some(1), Some(1), None, None]);
    give(&mut ledger, 1, ANN, 0);
    ack(&mut ledger, ANN, 1, range(3, 3)).expect("it holds the message");
    nack(&mut ledger, 1, 1, 100, 0);
    assert_eq!(ledger.trimmed(Offset(0)), 0);
    assert_eq!(ledger.trimmed(Offset(3)), 1, "1 waited; 0 and 2 are with a member");
    assert_eq!((ledger.floor(), ledger.held()), (Offset(4), 1));
    assert_eq!(ack(&mut ledger, ANN, 1, range(0, 4)), Ok(1), "what was trimmed is passed over");
    assert_eq!(ledger.trimmed(Offset(50)), 45, "nothing from 5 on was read");
    assert_eq!((ledger.cursor(), ledger.next(ANN, 1_000_000)), (Offset(50), None));
    assert_eq!(ledger.position(&[]), GroupPosition::at(Offset(50)));
}

#[test]
fn what_cannot_be_read_is_given_up_and_what_a_member_holds_of_it_is_not() {
    let mut ledger = ledger(4);
    ledger.lease(LeaseId(1), ANN, [Offset(1)], 0);
    assert_eq!(ledger.leased(LeaseId(1)), Some(range(1, 1)));
    assert_eq!(ledger.lost(Offset(1), Offset(6)), 4, "2 to 5, of which two were not read");
    assert_eq!(
        (ledger.cursor(), ledger.held(), ledger.first_ready()),
        (Offset(6), 1, Some(Offset(0)))
    );
    assert_eq!(ack(&mut ledger, ANN, 1, range(1, 1)), Ok(1));
    assert_eq!(offsets(&give(&mut ledger, 2, ANN, 0)), [0]);
    assert_eq!(ledger.lost(Offset(0), Offset(3)), 0, "the rest is done");
}

#[test]
fn what_cannot_be_read_beside_what_was_done_is_passed() {
    let mut position = GroupPosition::default();
    (3..=5).for_each(|offset| _ = position.done.insert(Offset(offset)));
    let mut ledger = GroupLedger::new(policy(), false, position, 0);
    assert_eq!(ledger.lost(Offset(1), Offset(6)), 2, "1 and 2; 0 was not read yet");
    assert_eq!((ledger.cursor(), ledger.floor()), (Offset(0), Offset(0)));
    assert_eq!(ledger.lost(Offset(0), Offset(6)), 1, "0; the rest is done");
    assert_eq!((ledger.cursor(), ledger.floor()), (Offset(6), Offset(6)));
}

#[test]
fn it_takes_no_more_when_too_much_of_it_failed() {
    let retry = RetryPolicy { parked_messages: 2, ..policy().retry };
    let policy = GroupPolicy { retry, ..policy() };
    let mut ledger = GroupLedger::new(policy, false, GroupPosition::default(), 0);
    for offset in 0..3 {
        ledger.admit(message(offset, None));
    }
    give(&mut ledger, 1, ANN, 0);
    nack(&mut ledger, 1, 0, 500, 0);
    assert!(ledger.has_room());
    nack(&mut ledger, 1, 1, 500, 0);
    assert!(!ledger.has_room());
    give(&mut ledger, 2, ANN, 500);
    ack(&mut ledger, ANN, 2, range(0, 1)).expect("it holds them");
    assert!(ledger.has_room());
}

#[test]
fn members_that_share_messages_never_hold_those_of_a_key_at_once() {
    let mut ledger = GroupLedger::new(policy(), true, GroupPosition::default(), 0);
    for (offset, key) in [(0, Some(7)), (1, Some(8)), (2, Some(7)), (3, None)] {
        ledger.admit(message(offset, key));
    }
    ledger.lease(LeaseId(1), ANN, [Offset(0)], 0);
    assert_eq!(offsets(&give(&mut ledger, 2, BOB, 0)), [1, 3]);
    assert_eq!(offsets(&give(&mut ledger, 3, ANN, 0)), [2]);
    ledger.admit(message(4, Some(8)));
    assert_eq!(ledger.next(ANN, 0), None);
    assert_eq!(ack(&mut ledger, BOB, 2, range(1, 1)), Ok(1));
    assert_eq!(ledger.next(ANN, 0), Some(Offset(4)), "nobody holds the key any more");
}

#[test]
fn a_position_that_contradicts_itself_is_unsound() {
    let failed = |offset| FailedMessage {
        offset: Offset(offset),
        key: None,
        failures: 1,
        due_ms: 0,
        first_failure_ms: 0,
    };
    let done = |offset| [Offset(offset)].into_iter().collect::<Ranges>();
    let check = |done: Ranges, failed: Vec<FailedMessage>, sound| {
        let position = GroupPosition { floor: Offset(5), done, failed };
        assert_eq!(position.is_sound(), sound, "{position:?}");
    };
    check(done(7), vec![failed(5), failed(8)], true);
    check(done(4), vec![], false);
    check(done(7), vec![failed(7)], false);
    check(done(7), vec![failed(4)], false);
    check(done(7), vec![failed(9), failed(8)], false);
    check(done(7), vec![failed(8), failed(8)], false);
}

#[test]
fn what_was_given_up_before_a_restart_and_is_buried_before_it_is_read_does_not_come_again() {
    let dead = |offset| FailedMessage {
        offset: Offset(offset),
        key: None,
        failures: policy().retry.attempts,
        due_ms: 0,
        first_failure_ms: 1,
    };
    let failed = vec![dead(0), dead(1)];
    let position = GroupPosition { failed, ..GroupPosition::at(Offset(0)) };
    let mut ledger = GroupLedger::new(GroupPolicy { buries: true, ..policy() }, false, position, 9);
    ledger.buried(&[Offset(0), Offset(1)]);
    for offset in (0..3).map(Offset) {
        ledger.admit(GroupMessage { offset, key: None, ingest_ms: 0 });
    }
    assert_eq!(offsets(&give(&mut ledger, 1, ANN, 9)), [2]);
    assert!(ledger.position(&[]).is_sound());
}

#[test]
fn what_failed_before_a_restart_and_is_over_takes_nothing_along_that_is_not_read() {
    let mut before = ledger(3);
    give(&mut before, 1, ANN, 0);
    nack(&mut before, 1, 2, 0, 0);
    let mut after = GroupLedger::new(policy(), false, before.position(&[]), 0);
    assert_eq!(after.next(ANN, 1), Some(Offset(2)));
    assert_eq!(after.lost(Offset(2), Offset(3)), 1);
    for offset in 0..4 {
        after.admit(message(offset, None));
    }
    assert_eq!(offsets(&give(&mut after, 2, ANN, 1)), [0, 1, 3]);
}

#[test]
fn what_was_acknowledged_before_a_restart_and_is_passed_before_it_is_read_does_not_come_again() {
    let mut before = ledger(4);
    give(&mut before, 1, ANN, 0);
    assert_eq!(ack(&mut before, ANN, 1, range(1, 2)), Ok(2));
    let mut after = GroupLedger::new(policy(), false, before.position(&[]), 0);
    after.admit(message(0, None));
    assert_eq!(offsets(&give(&mut after, 2, ANN, 0)), [0]);
    assert_eq!(ack(&mut after, ANN, 2, range(0, 0)), Ok(1));
    assert_eq!((after.floor(), after.cursor()), (Offset(3), Offset(1)), "it is behind the floor");
    (1..4).for_each(|offset| after.admit(message(offset, None)));
    assert_eq!(offsets(&give(&mut after, 3, ANN, 0)), [3]);
}
