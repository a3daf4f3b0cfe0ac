//! Letters in storage that lives in memory, and a router without routes.

use std::num::NonZeroU32;

use waypost_core::{
    DeadLetters, Failure, LetterAddress, Retention, RouteName, StageName, StreamDefinition,
    StreamName, StreamTable,
};
use waypost_protocol::{Batch, BatchBuilder, ConnectionId, Envelope, ErrorCode, Limits, Offset};
use waypost_storage::{Append, MemoryStorage, ReadLimit, Storage as _};

use super::*;
use crate::{
    router::{LaneLimits, Plans, QueueLimits, Received, RouterMetrics, RouterSettings},
    streams::StreamMetrics,
    time::now_ms,
};

struct Stand {
    storage: Arc<MemoryStorage>,
    router: Router,
    dlq: Dlq,
}

fn stream(name: &str, topics: &str) -> StreamDefinition {
    StreamDefinition {
        name: StreamName::parse(name).expect("a name"),
        topics: vec![Pattern::parse(topics).expect("a pattern")],
        partitions: NonZeroU32::MIN,
        retention: Retention::default(),
        ttl: None,
        fsync: waypost_core::Fsync::default(),
    }
}

fn partition(stream: &str) -> Partition {
    Partition::new(StreamName::parse(stream).expect("a name"), 0)
}

fn dead(offset: u64) -> LetterAddress {
    LetterAddress { partition: partition("dead"), offset: Offset(offset) }
}

fn named(offsets: &[u64]) -> LetterSelection {
    let letters = offsets.iter().map(|offset| dead(*offset).to_string()).collect();
    LetterSelection { letters, filter: None }
}

fn of(wanted: Wanted) -> LetterSelection {
    LetterSelection { letters: Vec::new(), filter: Some(wanted) }
}

fn failure() -> Failure {
    Failure {
        code: ErrorCode::PluginTrap,
        error: "why".to_owned(),
        stage: Some(StageName::parse("judge").expect("a name")),
        plugin_digest: None,
        attempts: 1,
        first_failure_ms: 5,
        last_failure_ms: 5,
    }
}

/// Letters about messages of a topic, whose payloads are numbers.
fn letters(route: &str, topic: &str, numbers: std::ops::Range<u32>) -> Batch {
    letters_of(route, topic, numbers.map(|number| (number.into(), number.to_string().into_bytes())))
}

/// Letters about messages of a topic, each by when it failed and its payload.
fn letters_of(route: &str, topic: &str, of: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Batch {
    let mut letters = DeadLetters::new(RouteName::parse(route).expect("a name"), Limits::default());
    for (last_failure_ms, payload) in of {
        let mut builder = BatchBuilder::new();
        builder.push(topic, Some(b"k"), &[], &payload, 1).expect("it fits");
        let message = builder.finish().expect("one message");
        let failure = Failure { last_failure_ms, ..failure() };
        letters.push(message.get(0).expect("one message"), &failure).expect("it fits");
    }
    letters.finish().remove(0)
}

impl Stand {
    /// The streams `in` and `dead`.
    async fn new() -> Self {
        let table = vec![stream("in", "in.>"), stream("dead", "$dead.>")];
        let storage = Arc::new(MemoryStorage::new(1));
        for definition in &table {
            let declared = storage.declare(definition.name.clone(), definition.partitions).await;
            declared.expect("it is new");
        }
        let registry = prometheus::Registry::new();
        let metrics = StreamMetrics::register(&registry).expect("a new registry");
        let streams = Streams::new(StreamTable::new(table), storage.clone(), 1 << 20, metrics);
        let metrics = RouterMetrics::register(&registry).expect("a new registry");
        let settings = RouterSettings {
            lane: LaneLimits { batches: 4, bytes: 1 << 20 },
            block_max: std::time::Duration::from_secs(5),
            topics: Vec::new(),
        };
        let plans = Arc::new(Plans::new(Arc::new(metrics)));
        let router = Router::start(plans, settings, streams.clone());
        let metrics = DlqMetrics::register(&registry).expect("a new registry");
        let dlq = Dlq::new(streams, router.clone(), metrics);
        Self { storage, router, dlq }
    }

    async fn put(&self, batch: Batch) {
        let envelope = Envelope { ingest_ms: now_ms(), ..Envelope::default() };
        let append = Append { partition: partition("dead"), batch, envelope, origin: None };
        self.storage.append(append).await.expect("it is stored");
    }

    /// The offsets of the letters that are listed, page by page.
    async fn listed(&self, wanted: Wanted) -> Vec<u64> {
        let (mut wanted, mut found) = (wanted, Vec::new());
        loop {
            let page = self.dlq.list(wanted.clone()).await.expect("it is readable");
            let offset = |address: &str| address.parse::<LetterAddress>().expect("one").offset.0;
            found.extend(page.letters.iter().map(|letter| offset(&letter.address)));
            wanted.until_ms = page.until_ms;
            match page.next {
                Some(next) => wanted.from = Some(next),
                None => return found,
            }
        }
    }

    /// The payloads that a stream holds.
    async fn held(&self, stream: &str) -> Vec<String> {
        let limit = ReadLimit { max_batches: usize::MAX, max_bytes: usize::MAX };
        let chunk = self.storage.read(partition(stream), Offset(0), limit).await;
        let batches = chunk.expect("it is readable").batches;
        let payload = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        let payloads =
            |batch: &Batch| batch.iter().map(|it| payload(it.payload())).collect::<Vec<_>>();
        batches.iter().flat_map(|stored| payloads(&stored.batch)).collect()
    }
}

#[tokio::test]
async fn pages_of_any_size_have_each_letter_of_the_search_once_and_in_order() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..7)).await;
    stand.put(letters("b", "in.x", 7..20)).await;
    for limit in [1, 3, 1000] {
        let wanted = |route: Option<&str>| Wanted {
            route: route.map(str::to_owned),
            limit: Some(limit),
            ..Wanted::default()
        };
        assert_eq!(stand.listed(wanted(None)).await, (0..20).collect::<Vec<_>>());
        assert_eq!(stand.listed(wanted(Some("b"))).await, (7..20).collect::<Vec<_>>());
        let early = Wanted { until_ms: Some(9), ..wanted(Some("b")) };
        assert_eq!(stand.listed(early).await, [7, 8]);
    }
    let counts = stand.dlq.count(Wanted::default()).await.expect("it is readable").counts;
    let counts: Vec<_> = counts.iter().map(|it| (it.route.as_deref(), it.letters)).collect();
    assert_eq!(counts, [(Some("a"), 7), (Some("b"), 13)]);
}

#[tokio::test]
async fn what_was_purged_has_left_and_what_is_noted_of_it_ends_with_the_retention() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..5)).await;
    stand.put(letters("a", "in.x", 5..10)).await;
    let left = stand.dlq.purge(named(&[1, 3, 3]), false).await.expect("they are there");
    assert_eq!(left.letters, 2);
    assert_eq!(stand.dlq.purge(named(&[3]), false).await, Err(DlqError::Left(dead(3))));
    assert_eq!(stand.listed(Wanted::default()).await, [0, 2, 4, 5, 6, 7, 8, 9]);

    let retention = Retention { max_messages: Some(5), ..Retention::default() };
    stand.storage.trim(partition("dead"), retention, 0).await.expect("it is trimmed");
    let trimmed = DlqError::Trimmed { address: dead(0), first: Offset(5) };
    assert_eq!(stand.dlq.show(&dead(0)).await, Err(trimmed));
    let all = of(Wanted { limit: Some(2), ..Wanted::default() });
    assert_eq!(stand.dlq.purge(all, false).await.expect("they are there").letters, 2);
    assert_eq!(stand.listed(Wanted::default()).await, [7, 8, 9]);
    let position = stand.dlq.settled().await.expect("it is readable").of(&partition("dead")).1;
    let position = position.into_position();
    assert_eq!((position.floor, position.done.ranges()), (Offset(7), 0));
}

#[tokio::test]
async fn letters_that_are_named_leave_as_many_at_once_as_are_to_be_held() {
    let stand = Stand::new().await;
    for _ in 0..7 {
        stand.put(letters_of("a", "in.x", [(1, vec![b'x'; 900_000])])).await;
    }
    let all: Vec<u64> = (0..7).collect();
    let left = stand.dlq.purge(named(&all), false).await.expect("they are there");
    assert_eq!((left.letters, left.next), (5, Some(dead(5).to_string())));
    let left = stand.dlq.purge(named(&all[5..]), false).await.expect("they are there");
    assert_eq!((left.letters, left.next), (2, None));
    assert_eq!(stand.listed(Wanted::default()).await, [0; 0]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..3)).await;
    let all = || of(Wanted::default());
    assert_eq!(stand.dlq.purge(all(), true).await.expect("it is readable").letters, 3);
    let replayed = stand.dlq.replay(all(), ReplayTo::Origin, true).await;
    assert_eq!(replayed.expect("it is readable").letters, 3);
    assert_eq!(stand.listed(Wanted::default()).await, [0, 1, 2]);
    assert_eq!(stand.held("in").await, Vec::<String>::new());
}

#[tokio::test]
async fn letters_that_failed_in_times_to_come_are_seen() {
    let stand = Stand::new().await;
    let in_ten_years = now_ms() + 10 * 365 * 86_400_000;
    stand.put(letters_of("a", "in.x", [(in_ten_years, b"0".to_vec()), (1, b"1".to_vec())])).await;
    assert_eq!(stand.listed(Wanted::default()).await, [0, 1]);
    let counts = stand.dlq.count(Wanted::default()).await.expect("it is readable").counts;
    assert_eq!(counts[0].letters, 2);
    // What a replay leads to is not to be found by it.
    let left = stand.dlq.replay(of(Wanted::default()), ReplayTo::Origin, false).await;
    assert_eq!(left.expect("it is readable").letters, 1);
    let all = Wanted { until_ms: Some(u64::MAX), ..Wanted::default() };
    assert_eq!(stand.dlq.purge(of(all), false).await.expect("it is readable").letters, 1);
}

#[tokio::test]
async fn a_dry_run_tells_of_letters_that_would_stay() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..1)).await;
    stand.put(letters("a", "quick.x", 1..2)).await;
    let stay = async |to| {
        let left = stand.dlq.replay(named(&[0, 1]), to, true).await.expect("it is readable");
        let error = left.refused.last().map(|refused| refused.error.clone());
        (left.letters, left.refused.len(), error.expect("one stays"))
    };
    let (letters, refused, why) = stay(ReplayTo::Origin).await;
    assert!((letters, refused) == (1, 1) && why.contains("nobody takes quick.x"), "{why}");
    let (letters, refused, why) = stay(ReplayTo::Stage).await;
    assert!((letters, refused) == (0, 2) && why.contains("--to origin"), "{why}");
}

#[tokio::test]
async fn what_has_left_is_told_though_storage_refuses_the_rest() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..2)).await;
    stand.put(letters("a", "quick.x", 2..3)).await;
    let limits = QueueLimits { messages: 10, bytes: 1 << 20 };
    let pattern = Pattern::parse("quick.>").expect("a pattern");
    let _subscription = stand.router.subscribe(ConnectionId(1), &pattern, limits);
    stand.dlq.purge(named(&[0]), false).await.expect("it is there");
    // A letter that leaves takes no room of its own by now; what its stream would store does.
    stand.storage.set_full(true);
    let left = stand.dlq.replay(named(&[1, 2]), ReplayTo::Origin, false).await;
    let left = left.expect("one has left");
    assert_eq!((left.letters, left.refused.len()), (1, 1));
    assert!(left.refused[0].error.contains("held in reserve"), "{left:?}");
    assert_eq!(stand.listed(Wanted::default()).await, [1]);
}

#[tokio::test]
async fn nothing_is_handed_out_that_could_not_leave() {
    let stand = Stand::new().await;
    stand.put(letters("a", "quick.x", 0..3)).await;
    let limits = QueueLimits { messages: 10, bytes: 1 << 20 };
    let pattern = Pattern::parse("quick.>").expect("a pattern");
    let mut subscription = stand.router.subscribe(ConnectionId(1), &pattern, limits);
    let most = waypost_core::MAX_SETTLED_RANGES as u64;
    let done = (0..most).map(|place| Offset(10 + place * 2)).collect();
    let position = waypost_core::GroupPosition { done, ..Default::default() };
    let state = waypost_storage::GroupState { pattern: letter_topics(), position };
    let (group, source) = (GroupName::of_letters(), partition("dead"));
    let step = waypost_storage::GroupStep { group, source, from: None, to: Some(state) };
    let unit = waypost_storage::Unit { groups: vec![step], ..Default::default() };
    stand.storage.commit(unit).await.expect("it is stored");
    let refused = stand.dlq.replay(named(&[1]), ReplayTo::Origin, false).await;
    assert!(matches!(refused, Err(DlqError::TooScattered(_))), "{refused:?}");
    // The first that comes is the one that may leave: it closes no place.
    let left = stand.dlq.replay(named(&[0]), ReplayTo::Origin, false).await;
    assert_eq!(left.expect("it is taken").letters, 1);
    let Received::Delivery(delivery) = subscription.recv().await else { panic!("a delivery") };
    assert_eq!(delivery.batch.get(0).expect("one message").payload(), b"0");
}

#[tokio::test]
async fn a_letter_about_a_letter_makes_no_second_one_about_the_same_message() {
    let stand = Stand::new().await;
    let first = letters("a", "in.x", 0..1);
    stand.put(first.clone()).await;
    let failure = Failure { last_failure_ms: 7, ..failure() };
    let route = RouteName::parse("mourn").expect("a name");
    let mut second = DeadLetters::new(route, Limits::default());
    let place = (&partition("dead"), Offset(0));
    second.push_from(first.get(0).expect("one"), &failure, Some(place)).expect("it fits");
    stand.put(second.finish().remove(0)).await;
    let left = stand.dlq.replay(of(Wanted::default()), ReplayTo::Origin, false).await;
    let left = left.expect("it is readable");
    assert_eq!((left.letters, left.refused.len()), (1, 1));
    assert!(left.refused[0].error.contains("about a dead letter"), "{left:?}");
    assert_eq!((stand.held("in").await.len(), stand.listed(Wanted::default()).await), (1, vec![1]));
}

#[tokio::test]
async fn another_message_that_stands_in_the_place_of_the_first_is_not_taken_for_it() {
    let stand = Stand::new().await;
    for (created_ms, payload) in [(1, b"as published"), (99, b"another one!")] {
        let mut builder = BatchBuilder::new();
        builder.push("in.x", Some(b"k"), &[], payload, created_ms).expect("it fits");
        let batch = builder.finish().expect("one message");
        let envelope = Envelope { ingest_ms: now_ms(), ..Envelope::default() };
        let append = Append { partition: partition("in"), batch, envelope, origin: None };
        stand.storage.append(append).await.expect("it is stored");
    }
    let mut builder = BatchBuilder::new();
    builder.push("in.x", Some(b"k"), &[], b"as it failed", 1).expect("it fits");
    let message = builder.finish().expect("one message");
    for offset in [0, 1] {
        let route = RouteName::parse("a").expect("a name");
        let mut letters = DeadLetters::new(route, Limits::default());
        let place = (&partition("in"), Offset(offset));
        letters.push_from(message.get(0).expect("one"), &failure(), Some(place)).expect("it fits");
        stand.put(letters.finish().remove(0)).await;
    }
    let left = stand.dlq.replay(of(Wanted::default()), ReplayTo::Origin, false).await;
    assert_eq!(left.expect("it is readable").letters, 2);
    assert_eq!(stand.held("in").await[2..], ["as published", "as it failed"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_would_wait_for_others_for_ever_is_told() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..1)).await;
    let turn = stand.dlq.turn().await.expect("nobody has it");
    assert_eq!(stand.dlq.purge(named(&[0]), false).await, Err(DlqError::Busy));
    drop(turn);
    assert_eq!(stand.dlq.purge(named(&[0]), false).await.expect("it is there").letters, 1);
}

#[tokio::test]
async fn a_letter_leaves_with_what_its_stream_stores_or_not_at_all() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..4)).await;
    stand.storage.set_full(true);
    let refused = stand.dlq.replay(named(&[1, 2]), ReplayTo::Origin, false).await;
    assert!(matches!(refused, Err(DlqError::Commit(_))), "{refused:?}");
    assert_eq!((stand.listed(Wanted::default()).await.len(), stand.held("in").await.len()), (4, 0));
    stand.storage.set_full(false);
    let left = stand.dlq.replay(named(&[2, 1]), ReplayTo::Origin, false).await;
    assert_eq!(left.expect("there is room").letters, 2);
    assert_eq!(stand.listed(Wanted::default()).await, [0, 3]);
    assert_eq!(stand.held("in").await, ["1", "2"]);
}

#[tokio::test]
async fn a_letter_of_a_memory_topic_stays_until_somebody_takes_it() {
    let stand = Stand::new().await;
    stand.put(letters("a", "quick.x", 0..1)).await;
    let replay = async || {
        let left = stand.dlq.replay(named(&[0]), ReplayTo::Origin, false).await;
        left.expect("it is readable")
    };
    let left = replay().await;
    assert!(
        left.letters == 0 && left.refused[0].error.contains("nobody takes quick.x"),
        "{left:?}"
    );
    let limits = QueueLimits { messages: 10, bytes: 1 << 20 };
    let pattern = Pattern::parse("quick.>").expect("a pattern");
    let mut subscription = stand.router.subscribe(ConnectionId(1), &pattern, limits);
    assert_eq!(replay().await.letters, 1);
    let Received::Delivery(delivery) = subscription.recv().await else { panic!("a delivery") };
    let message = delivery.batch.get(0).expect("one message");
    assert_eq!(
        (message.topic(), message.payload(), message.headers().as_bytes()),
        ("quick.x", &b"0"[..], &b""[..])
    );
    assert_eq!(stand.listed(Wanted::default()).await, [0; 0]);
}

#[tokio::test]
async fn there_is_no_way_back_to_the_stage_of_a_route_that_is_gone() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..1)).await;
    let left = stand.dlq.replay(named(&[0]), ReplayTo::Stage, false).await;
    let left = left.expect("it is readable");
    assert!(left.refused[0].error.contains("replay it --to origin"), "{left:?}");
    assert_eq!(stand.listed(Wanted::default()).await, [0]);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let stand = Stand::new().await;
    stand.put(letters("a", "in.x", 0..1)).await;
    let both = LetterSelection { filter: Some(Wanted::default()), ..named(&[0]) };
    assert_eq!(stand.dlq.purge(both, false).await, Err(DlqError::Selection));
    let none = LetterSelection::default();
    assert_eq!(stand.dlq.purge(none, false).await, Err(DlqError::Selection));
    let many: Vec<u64> = (0..1001).collect();
    assert_eq!(stand.dlq.purge(named(&many), false).await, Err(DlqError::TooMany(1001)));
    let missing = DlqError::NotThere { address: dead(1), next: Offset(1) };
    assert_eq!(stand.dlq.show(&dead(1)).await, Err(missing));
    let from = Wanted { from: Some("in/0/0".to_owned()), ..Wanted::default() };
    assert!(matches!(stand.dlq.list(from).await, Err(DlqError::NoPartition(_))));
}
