//! Groups over the engine in memory, and over memory topics.

mod leases;
mod memory;

use std::{num::NonZeroU32, time::Duration};

use prometheus::Registry;
use waypost_core::{
    Credit, Partition, Retention, RetryPolicy, StreamDefinition, StreamName, StreamTable,
};
use waypost_protocol::{
    Batch, BatchBuilder, Envelope, Offset, Topic, dead_letter,
    frame::{Acknowledge, Nack, PlaceRange, ReadFrom, Refusal, Reject, Settle, Start, Verb},
};
use waypost_storage::{Append, MemoryStorage, ReadLimit, Storage};

use super::*;
use crate::{
    router::{LaneLimits, Plans, RouterMetrics, RouterSettings},
    streams::StreamMetrics,
};

/// A router with a stream of jobs in two partitions, and one of dead letters.
struct Bench {
    storage: Arc<MemoryStorage>,
    streams: Streams,
    router: Router,
    groups: Groups,
    settings: GroupSettings,
}

impl Bench {
    async fn new(rules: GroupRules) -> Self {
        let storage = Arc::new(MemoryStorage::new(10));
        let mut definitions = Vec::new();
        for (name, pattern, partitions) in [("jobs", "jobs.>", 2), ("dead", "dead.>", 1)] {
            let definition = StreamDefinition {
                name: StreamName::parse(name).expect("a name"),
                topics: vec![Pattern::parse(pattern).expect("a pattern")],
                partitions: NonZeroU32::new(partitions).expect("it is not zero"),
                retention: Retention::default(),
                ttl: None,
                fsync: waypost_core::Fsync::default(),
            };
            let declared = storage.declare(definition.name.clone(), definition.partitions).await;
            declared.expect("it is new");
            definitions.push(definition);
        }
        let metrics = StreamMetrics::register(&Registry::new()).expect("it is empty");
        let table = StreamTable::new(definitions);
        let streams = Streams::new(table, storage.clone(), 1 << 20, metrics);
        let metrics = RouterMetrics::register(&Registry::new()).expect("it is empty");
        let settings = RouterSettings {
            lane: LaneLimits { batches: 16, bytes: 1 << 20 },
            block_max: Duration::from_secs(5),
            topics: Vec::new(),
        };
        let router =
            Router::start(Arc::new(Plans::new(Arc::new(metrics))), settings, streams.clone());
        let settings = GroupSettings { defaults: rules, ..GroupSettings::default() };
        let groups = Self::open(&streams, &router, &settings).await;
        Self { storage, streams, router, groups, settings }
    }

    async fn open(streams: &Streams, router: &Router, settings: &GroupSettings) -> Groups {
        let metrics = GroupMetrics::register(&Registry::new()).expect("it is empty");
        let opened = Groups::open(streams.clone(), router.clone(), settings.clone(), metrics);
        opened.await.expect("storage is readable")
    }

    /// The router ends and starts anew.
    async fn restart(&mut self) {
        let next = Self::open(&self.streams, &self.router, &self.settings).await;
        std::mem::replace(&mut self.groups, next).close().await;
        self.groups = Self::open(&self.streams, &self.router, &self.settings).await;
    }

    async fn store(&self, partition: u32, payloads: &[&str]) {
        let append = Append {
            partition: Partition::new(StreamName::parse("jobs").expect("a name"), partition),
            batch: batch("jobs.mail", payloads),
            envelope: Envelope { ingest_ms: now_ms(), ..Envelope::default() },
            origin: None,
        };
        self.storage.append(append).await.expect("it is stored");
    }

    async fn join(&self, group: &str, max_in_flight: u32) -> Membership {
        self.joined(join(group, "jobs.>", max_in_flight)).await.expect("it is let in")
    }

    async fn joined(&self, join: JoinGroup) -> Result<Membership, ErrorCode> {
        self.groups.join(join).await.map_err(|refused| refused.code)
    }

    async fn dead_letters(&self) -> Vec<Batch> {
        let partition = Partition::new(StreamName::parse("dead").expect("a name"), 0);
        let read = self.storage.read(partition, Offset(0), ReadLimit::default()).await;
        let chunk = read.expect("it is readable");
        chunk.batches.into_iter().map(|stored| stored.batch).collect()
    }
}

fn rules() -> GroupRules {
    let retry = RetryPolicy { attempts: 3, first_ms: 10, max_ms: 10, ..RetryPolicy::default() };
    let dead_letter = Some(Topic::parse("dead.jobs").expect("a topic"));
    GroupRules { lease: Duration::from_secs(10), retry, dead_letter, ..GroupRules::default() }
}

fn join(group: &str, pattern: &str, max_in_flight: u32) -> JoinGroup {
    JoinGroup {
        group: GroupName::parse(group).expect("a name"),
        pattern: Pattern::parse(pattern).expect("a pattern"),
        from: None,
        member: "a test".to_owned(),
        max_in_flight,
        credit: Credit::new(1000, 8 << 20),
        frame_bytes: 1 << 20,
    }
}

fn batch(topic: &str, payloads: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for payload in payloads {
        builder.push(topic, None, &[], payload.as_bytes(), 0).expect("it fits");
    }
    builder.finish().expect("there is a message")
}

async fn given(member: &mut Membership) -> Given {
    match member.next().await {
        Some(MemberEvent::Given(given)) => *given,
        other => panic!("it was to be given something: {other:?}"),
    }
}

fn texts(given: &Given) -> Vec<String> {
    let payloads = given.batch().iter();
    payloads.map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
}

/// Says something of places of a delivery, and waits until it is safe.
async fn say(member: &Membership, given: &Given, places: &[u64], verb: Verb) -> Vec<Refusal> {
    let ranges = places.iter().map(|place| PlaceRange { first: *place, last: *place }).collect();
    let settles = vec![Settle { lease: given.lease.id, ranges, verb: Some(verb) }];
    let answer = member.settle(Acknowledge { request: Some(7), settles }).await;
    let answer = answer.await.expect("the group is there");
    assert_eq!(answer.request, Some(7));
    answer.refusals
}

async fn ack(member: &Membership, given: &Given) {
    assert_eq!(say(member, given, &[], Verb::Ack(true)).await, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_is_not_given_out_again_and_the_rest_is() {
    let mut bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b", "c"]).await;
    let mut ann = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    assert_eq!((texts(&first), first.lease.base), (vec!["a".into(), "b".into(), "c".into()], 0));
    assert_eq!(say(&ann, &first, &[0, 2], Verb::Ack(true)).await, []);
    ann.leave();
    let mut bob = bench.join("mailers", 0).await;
    let second = given(&mut bob).await;
    assert_eq!((texts(&second), &second.lease.attempts), (vec!["b".to_owned()], &vec![]));
    drop(bob);
    // So that the loss is seen before the router stops, which is nobody's failure.
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.restart().await;
    bench.store(0, &["d"]).await;
    let mut eve = bench.join("mailers", 0).await;
    let third = given(&mut eve).await;
    assert_eq!((texts(&third), third.lease.attempts.clone()), (vec!["b".into()], vec![2]));
    let fourth = given(&mut eve).await;
    assert_eq!((texts(&fourth), fourth.lease.base), (vec!["d".to_owned()], 3));
    ack(&eve, &third).await;
    ack(&eve, &fourth).await;
    let kept = bench.storage.group(GroupName::parse("mailers").expect("a name")).await;
    let kept = kept.expect("it is readable");
    let floors: Vec<u64> = kept.iter().map(|kept| kept.state.position.floor.0).collect();
    assert_eq!(floors, [4, 0]);
}

#[tokio::test(start_paused = true)]
async fn members_share_the_partitions_and_what_one_leaves_goes_to_the_other() {
    let bench = Bench::new(rules()).await;
    let mut ann = bench.join("mailers", 0).await;
    let mut bob = bench.join("mailers", 0).await;
    bench.store(0, &["a"]).await;
    bench.store(1, &["b"]).await;
    let (first, second) = (given(&mut ann).await, given(&mut bob).await);
    let mut both = [texts(&first), texts(&second)].concat();
    both.sort();
    assert_eq!(both, ["a", "b"]);
    drop(ann);
    let again = given(&mut bob).await;
    assert_eq!((texts(&again), again.lease.attempts.clone()), (texts(&first), vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_brings_the_message_to_another_and_is_stale() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a"]).await;
    let mut ann = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    let mut bob = bench.join("mailers", 0).await;
    let second = given(&mut bob).await;
    assert_eq!((texts(&second), second.lease.attempts.clone()), (vec!["a".into()], vec![2]));
    let refusals = say(&ann, &first, &[0], Verb::Ack(true)).await;
    assert_eq!(refusals[0].code, ErrorCode::StaleLease.number());
    let never = say(&bob, &second, &[5], Verb::Ack(true)).await;
    assert_eq!(never[0].code, ErrorCode::NeverDelivered.number());
    ack(&bob, &second).await;
    let twice = say(&bob, &second, &[], Verb::Ack(true)).await;
    assert_eq!(twice[0].code, ErrorCode::StaleLease.number());
}

#[tokio::test(start_paused = true)]
async fn places_that_were_settled_before_are_passed_over_though_they_come_last() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b"]).await;
    let mut ann = bench.join("mailers", 0).await;
    let both = given(&mut ann).await;
    assert_eq!(texts(&both), ["a", "b"]);
    assert_eq!(say(&ann, &both, &[1], Verb::Ack(true)).await, []);
    // With the first place the lease has nothing left, and ends.
    assert_eq!(say(&ann, &both, &[0, 1], Verb::Ack(true)).await, []);
    let stale = say(&ann, &both, &[1], Verb::Ack(true)).await;
    assert_eq!(stale[0].code, ErrorCode::StaleLease.number());
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_comes_again_until_it_is_a_dead_letter() {
    let bench = Bench::new(rules()).await;
    bench.store(1, &["bad"]).await;
    let mut ann = bench.join("mailers", 0).await;
    for attempt in 1..=3 {
        let delivery = given(&mut ann).await;
        let expected = if attempt == 1 { vec![] } else { vec![attempt] };
        assert_eq!((texts(&delivery), &delivery.lease.attempts), (vec!["bad".into()], &expected));
        say(&ann, &delivery, &[], Verb::Nack(Nack { delay_ms: None })).await;
    }
    bench.store(1, &["worse"]).await;
    let delivery = given(&mut ann).await;
    let reject = Verb::Reject(Reject { reason: "no such address".to_owned() });
    assert_eq!(say(&ann, &delivery, &[], reject).await, []);
    let letters = bench.dead_letters().await;
    let told: Vec<_> = letters.iter().map(|letter| letter.get(0).expect("one message")).collect();
    let header = |index: usize, name: &str| {
        told[index].headers().get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!((told[0].payload(), told[1].payload()), (&b"bad"[..], &b"worse"[..]));
    assert_eq!(header(0, dead_letter::REASON).as_deref(), Some("ATTEMPTS_EXHAUSTED"));
    assert_eq!(header(0, dead_letter::ATTEMPTS).as_deref(), Some("3"));
    assert_eq!(header(1, dead_letter::REASON).as_deref(), Some("CONSUMER_REJECTED"));
    assert_eq!(header(1, dead_letter::ERROR).as_deref(), Some("no such address"));
    assert_eq!(header(1, dead_letter::OFFSET).as_deref(), Some("1"));
    let kept = bench.storage.group(GroupName::parse("mailers").expect("a name")).await;
    let done = kept.expect("it is readable")[1].state.position.clone();
    assert_eq!(done, GroupPosition::at(Offset(2)), "letters and position moved at once");
}

#[tokio::test(start_paused = true)]
async fn without_a_place_for_dead_letters_nothing_can_be_rejected_and_all_is_tried_for_ever() {
    let bench = Bench::new(GroupRules { dead_letter: None, ..rules() }).await;
    bench.store(0, &["a"]).await;
    let mut ann = bench.join("mailers", 0).await;
    assert!(!ann.joined().takes_rejects);
    for _ in 0..10 {
        let delivery = given(&mut ann).await;
        let reject = Verb::Reject(Reject { reason: String::new() });
        let refused = say(&ann, &delivery, &[], reject).await;
        assert_eq!(refused[0].code, ErrorCode::NoDeadLetters.number());
        say(&ann, &delivery, &[], Verb::Nack(Nack { delay_ms: Some(1) })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_begins_where_it_is_asked_to_and_only_once() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b"]).await;
    let end = JoinGroup { from: Some(ReadFrom::default()), ..join("end", "jobs.>", 0) };
    let mut member = bench.joined(end.clone()).await.expect("it is let in");
    bench.store(0, &["c"]).await;
    assert_eq!(texts(&given(&mut member).await), ["c"]);
    member.leave();
    let beginning = Some(ReadFrom { start: Some(Start::Beginning(true)), ..ReadFrom::default() });
    let again = JoinGroup { from: beginning, ..end };
    let mut member = bench.joined(again).await.expect("it is let in");
    assert_eq!(texts(&given(&mut member).await), ["c"], "it goes on where it was");
    let offset =
        |offset| Some(ReadFrom { start: Some(Start::Offset(offset)), ..ReadFrom::default() });
    let refused = bench.joined(JoinGroup { from: offset(1), ..join("new", "jobs.>", 0) }).await;
    assert_eq!(refused.err(), Some(ErrorCode::UnknownPartition), "there are two partitions");
    let one = |from| JoinGroup { from, ..join("letters", "dead.>", 0) };
    let refused = bench.joined(one(offset(9))).await;
    assert_eq!(refused.err(), Some(ErrorCode::NoDeadLetters), "it would take its own letters");
}

#[tokio::test(start_paused = true)]
async fn who_joins_with_another_pattern_or_too_many_are_refused() {
    let mut bench = Bench::new(rules()).await;
    bench.settings.max_groups = 1;
    bench.settings.max_members = 1;
    bench.restart().await;
    let _ann = bench.join("mailers", 0).await;
    let refused = bench.joined(join("mailers", "jobs.*", 0)).await;
    assert_eq!(refused.err(), Some(ErrorCode::GroupMismatch));
    let refused = bench.joined(join("mailers", "jobs.>", 0)).await;
    assert_eq!(refused.err(), Some(ErrorCode::TooManyMembers));
    let refused = bench.joined(join("others", "jobs.>", 0)).await;
    assert_eq!(refused.err(), Some(ErrorCode::TooManyGroups));
}

#[tokio::test(start_paused = true)]
async fn no_member_holds_more_than_its_credit_and_its_limit() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b", "c", "d", "e"]).await;
    let credit = Credit::new(3, 8 << 20);
    let mut ann =
        bench.joined(JoinGroup { credit, ..join("mailers", "jobs.>", 2) }).await.expect("in");
    let first = given(&mut ann).await;
    assert_eq!(texts(&first), ["a", "b"]);
    ack(&ann, &first).await;
    let second = given(&mut ann).await;
    assert_eq!(texts(&second), ["c"], "the credit is used up");
    ack(&ann, &second).await;
    ann.grant(10, 0).await;
    assert_eq!(texts(&given(&mut ann).await), ["d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn retention_that_overtakes_a_group_is_told_and_it_goes_on() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b"]).await;
    bench.store(0, &["c"]).await;
    let mut ann = bench.join("mailers", 1).await;
    let first = given(&mut ann).await;
    let partition = Partition::new(StreamName::parse("jobs").expect("a name"), 0);
    let retention = Retention { max_messages: Some(1), ..Retention::default() };
    bench.storage.trim(partition, retention, 0).await.expect("it is trimmed");
    assert_eq!(texts(&given(&mut ann).await), ["c"]);
    let late = say(&ann, &first, &[], Verb::Ack(true)).await;
    assert_eq!(late[0].code, ErrorCode::StaleLease.number(), "there is nothing left of it");
    let lost = &bench.groups.0.metrics.lost;
    assert_eq!(lost.with_label_values(&["mailers"]).get(), 1, "b; a was with its member");
}

#[tokio::test(start_paused = true)]
async fn retention_that_overtakes_a_group_that_nobody_is_in_is_told_and_kept_as_well() {
    let mut bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b"]).await;
    let mut ann = bench.join("mailers", 1).await;
    let first = given(&mut ann).await;
    ack(&ann, &first).await;
    ann.leave();
    tokio::time::sleep(Duration::from_secs(30)).await;
    bench.store(0, &["c"]).await;
    let partition = Partition::new(StreamName::parse("jobs").expect("a name"), 0);
    let retention = Retention { max_messages: Some(1), ..Retention::default() };
    bench.storage.trim(partition, retention, 0).await.expect("it is trimmed");
    let name = GroupName::parse("mailers").expect("a name");
    let status = bench.groups.status_of(&name).expect("it is kept");
    assert_eq!((status.lag, status.partitions[0].offset), (1, 2), "what is gone is no lag");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let lost = bench.groups.0.metrics.lost.clone();
    assert_eq!(lost.with_label_values(&["mailers"]).get(), 1, "b");
    let status = bench.groups.status_of(&name).expect("it is kept");
    assert!(status.lag == 1 && status.oldest_ms.is_some(), "{status:?}");
    bench.restart().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let lost = &bench.groups.0.metrics.lost;
    assert_eq!(lost.with_label_values(&["mailers"]).get(), 0, "it was counted before");
    let mut bob = bench.join("mailers", 0).await;
    assert_eq!(texts(&given(&mut bob).await), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_router_stops_members_settle_what_they_hold_and_go() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a"]).await;
    let mut ann = bench.join("mailers", 0).await;
    let mut bob = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    bench.groups.stop();
    bench.store(0, &["b"]).await;
    let ended = |event: Option<MemberEvent>| match event {
        Some(MemberEvent::Ended(refused)) => refused.code,
        other => panic!("it was to end: {other:?}"),
    };
    assert_eq!(ended(bob.next().await), ErrorCode::ShuttingDown, "it holds nothing");
    ack(&ann, &first).await;
    assert_eq!(ended(ann.next().await), ErrorCode::ShuttingDown);
    let late = bench.joined(join("mailers", "jobs.>", 0)).await;
    assert_eq!(late.err(), Some(ErrorCode::ShuttingDown));
    bench.groups.clone().close().await;
    let kept = bench.storage.group(GroupName::parse("mailers").expect("a name")).await;
    assert_eq!(kept.expect("it is readable")[0].state.position.floor, Offset(1));
}

#[tokio::test(start_paused = true)]
async fn letters_for_which_there_is_no_room_hold_up_no_stop_and_are_written_after_the_next_start() {
    let mut bench = Bench::new(rules()).await;
    bench.store(0, &["bad"]).await;
    let mut ann = bench.join("mailers", 0).await;
    bench.storage.set_full(true);
    for _ in 0..3 {
        let delivery = given(&mut ann).await;
        assert_eq!(say(&ann, &delivery, &[], Verb::Nack(Nack { delay_ms: None })).await, []);
    }
    let closing = tokio::time::timeout(Duration::from_secs(30), bench.groups.clone().close());
    closing.await.expect("it waits for no room");
    assert_eq!(bench.dead_letters().await.len(), 0);
    bench.storage.set_full(false);
    bench.restart().await;
    let _ann = bench.join("mailers", 0).await;
    while bench.dead_letters().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_moved_goes_on_from_there_and_what_was_held_is_stale() {
    let mut bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b"]).await;
    let name = GroupName::parse("mailers").expect("a name");
    let from = |start| ReadFrom { start, ..ReadFrom::default() };
    let beginning = from(Some(Start::Beginning(true)));
    let unknown = bench.groups.move_to(&name, &beginning).await;
    assert_eq!(unknown.map_err(|refused| refused.code), Err(ErrorCode::UnknownGroup));
    let mut ann = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    ack(&ann, &first).await;
    bench.groups.move_to(&name, &beginning).await.expect("it is moved");
    let again = given(&mut ann).await;
    assert_eq!(texts(&again), ["a", "b"]);
    bench.groups.move_to(&name, &from(None)).await.expect("it is moved");
    let stale = say(&ann, &again, &[], Verb::Ack(true)).await;
    assert_eq!(stale[0].code, ErrorCode::StaleLease.number());
    bench.store(0, &["c"]).await;
    assert_eq!(texts(&given(&mut ann).await), ["c"]);
    ann.leave();
    bench.restart().await;
    let status = bench.groups.status_of(&name).expect("it is kept");
    assert_eq!((status.lag, status.partitions[0].offset, status.members.len()), (1, 2, 0));
    bench.groups.move_to(&name, &beginning).await.expect("it needs no member");
    let mut bob = bench.join("mailers", 0).await;
    assert_eq!(texts(&given(&mut bob).await), ["a", "b"]);
    let offset = from(Some(Start::Offset(1)));
    let two = bench.groups.move_to(&name, &offset).await.map_err(|refused| refused.code);
    assert_eq!(two, Err(ErrorCode::UnknownPartition), "there are two partitions");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_deleted_tells_its_members_and_begins_anew() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a"]).await;
    let name = GroupName::parse("mailers").expect("a name");
    let mut ann = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    ack(&ann, &first).await;
    bench.groups.delete(&name).await.expect("there is such a group");
    assert!(matches!(
        ann.next().await,
        Some(MemberEvent::Ended(Refused { code: ErrorCode::GroupEnded, .. }))
    ));
    assert_eq!(bench.storage.groups().await, Ok(vec![]));
    let gone = bench.groups.delete(&name).await.map_err(|refused| refused.code);
    assert_eq!(gone, Err(ErrorCode::UnknownGroup));
    let mut bob = bench.join("mailers", 0).await;
    assert_eq!(texts(&given(&mut bob).await), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn lag_and_age_are_told_of_a_group_that_nobody_is_in() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a", "b"]).await;
    let mut ann = bench.join("mailers", 1).await;
    let first = given(&mut ann).await;
    ack(&ann, &first).await;
    ann.leave();
    bench.store(1, &["c"]).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let metrics = &bench.groups.0.metrics;
    assert_eq!(metrics.lag.with_label_values(&["mailers"]).get(), 2);
    assert_eq!(metrics.members.with_label_values(&["mailers"]).get(), 0);
    let status = bench.groups.status_of(&GroupName::parse("mailers").expect("a name"));
    assert!(status.is_some_and(|status| status.lag == 2 && status.oldest_ms.is_some()));
}
