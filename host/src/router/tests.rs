//! The router with plugins that are plain functions.

mod chains;
mod durable;
mod failing;
mod reloading;
mod requests;
mod retrying;
mod taps;
mod telling;
mod topics;

use std::num::NonZeroU16;

use futures_util::future::BoxFuture;
use waypost_core::{
    BatchPolicy, BreakerPolicy, Destination, Emitted, OutputLimits, PluginName, RetryPolicy,
    RouteDefinition, RouteName, RouteStart, StageDefinition, StageName, StageOutput, Verdict,
};
use waypost_protocol::{BatchBuilder, ConnectionId, StageRun, Topic, dead_letter};

use super::{
    stage::{Stage, StageFailure, StageInstance, StageVersion},
    *,
};

const BLOCK_MAX: Duration = Duration::from_secs(5);

type Answer = fn(&Batch) -> Result<StageOutput, StageFailure>;

#[derive(Debug)]
struct FakeVersion {
    run: StageRun,
    answer: Answer,
}

struct FakeInstance(Answer);

thread_local! {
    /// Calls whose answer was found good, in the test of this thread.
    static COMMITS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

impl StageVersion for FakeVersion {
    fn run(&self) -> &StageRun {
        &self.run
    }

    fn output_limits(&self) -> OutputLimits {
        OutputLimits { max_emitted_per_message: 4 }
    }

    fn is_deterministic(&self) -> bool {
        true
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn StageInstance>, StageFailure>> {
        let instance: Box<dyn StageInstance> = Box::new(FakeInstance(self.answer));
        Box::pin(async { Ok(instance) })
    }
}

impl StageInstance for FakeInstance {
    fn process<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<StageOutput, StageFailure>> {
        let answer = (self.0)(batch);
        Box::pin(async { answer })
    }

    fn commit(&mut self) {
        COMMITS.with(|commits| commits.set(commits.get() + 1));
    }

    fn memory_bytes(&self) -> usize {
        1 << 16
    }
}

fn stage(version: &str, answer: Answer) -> Stage {
    let run = StageRun {
        stage: "s".into(),
        plugin: "p".into(),
        version: version.into(),
        digest: [1; 32],
    };
    let name = StageName::parse("s").expect("a name");
    Stage::new(name, Arc::new(FakeVersion { run, answer }))
}

fn forward(batch: &Batch) -> Result<StageOutput, StageFailure> {
    Ok(StageOutput { verdicts: vec![Verdict::Forward; batch.len()], emitted: None })
}

fn trap(_: &Batch) -> Result<StageOutput, StageFailure> {
    Err(StageFailure { code: ErrorCode::PluginTrap, text: "unreachable".into() })
}

/// A plugin that a payload of 13 takes down.
fn trap_at_13(batch: &Batch) -> Result<StageOutput, StageFailure> {
    if batch.iter().any(|message| message.payload() == b"13") {
        trap(batch)
    } else {
        forward(batch)
    }
}

fn reject_second(batch: &Batch) -> Result<StageOutput, StageFailure> {
    let verdict = |index| if index == 1 { Verdict::Reject("bad".into()) } else { Verdict::Forward };
    Ok(StageOutput { verdicts: (0..batch.len()).map(verdict).collect(), emitted: None })
}

fn nonsense(_: &Batch) -> Result<StageOutput, StageFailure> {
    Ok(StageOutput { verdicts: Vec::new(), emitted: Some(Emitted::default()) })
}

fn route(name: &str, lanes: u16, destination: Option<&str>) -> RouteDefinition {
    RouteDefinition {
        name: RouteName::parse(name).expect("a name"),
        source: Pattern::parse("in.>").expect("a pattern"),
        start: RouteStart::End,
        stages: vec![StageDefinition {
            name: StageName::parse("s").expect("a name"),
            plugin: PluginName::parse("p").expect("a name"),
            configuration: "{}".into(),
        }],
        destination: destination.map_or(Destination::FromPlugin, |topic| {
            Destination::Topic(Topic::parse(topic).expect("a topic"))
        }),
        lanes: NonZeroU16::new(lanes).expect("not zero"),
        batch: BatchPolicy::default(),
        breaker: BreakerPolicy::default(),
        retry: RetryPolicy::default(),
    }
}

fn router(routes: Vec<(RouteDefinition, Stage)>) -> Router {
    router_with(routes, Vec::new())
}

fn router_with(routes: Vec<(RouteDefinition, Stage)>, topics: Vec<TopicRule>) -> Router {
    let lane = LaneLimits { batches: 4, bytes: 1 << 20 };
    router_of(routes, RouterSettings { lane, block_max: BLOCK_MAX, topics })
}

fn router_of(routes: Vec<(RouteDefinition, Stage)>, settings: RouterSettings) -> Router {
    let metrics = RouterMetrics::register(&prometheus::Registry::new()).expect("a new registry");
    let plans = Arc::new(Plans::new(Arc::new(metrics)));
    define(&plans, &routes);
    Router::start(plans, settings, Streams::none())
}

fn define(plans: &Plans, routes: &[(RouteDefinition, Stage)]) {
    let definitions: Vec<_> = routes.iter().map(|(route, _)| route.clone()).collect();
    let versions: Vec<_> =
        routes.iter().map(|(route, stage)| (route.name.clone(), stage.clone())).collect();
    plans.define(&definitions, &versions);
}

/// Lets another version run in the stage of these routes.
fn swap(router: &Router, routes: &[&str], version: &Stage) {
    let named = |route: &&str| (RouteName::parse(route).expect("a name"), version.clone());
    router.plans().swap(&routes.iter().map(named).collect::<Vec<_>>());
}

fn subscribe(router: &Router, pattern: &str) -> Subscription {
    let limits = QueueLimits { messages: 100_000, bytes: 64 << 20 };
    router.subscribe(ConnectionId(9), &Pattern::parse(pattern).expect("a pattern"), limits)
}

fn batch(topic: &str, payloads: impl IntoIterator<Item = u32>) -> Batch {
    let mut builder = BatchBuilder::new();
    for payload in payloads {
        let key = (payload % 5).to_string();
        builder
            .push(topic, Some(key.as_bytes()), &[], payload.to_string().as_bytes(), 0)
            .expect("it fits");
    }
    builder.finish().expect("there are messages")
}

async fn publish(router: &Router, batch: &Batch) -> Published {
    let origin = Origin { connection: ConnectionId(1) };
    match router.publish(origin, batch).await {
        Ok(pending) => pending.outcome().await,
        Err(refused) => refused,
    }
}

async fn next(subscription: &mut Subscription) -> Delivery {
    match subscription.recv().await {
        Received::Delivery(delivery) => delivery,
        Received::Ended(code) => panic!("the subscription ended with {code}"),
    }
}

fn payloads(batch: &Batch) -> Vec<String> {
    batch.iter().map(|each| String::from_utf8_lossy(each.payload()).into_owned()).collect()
}

async fn payloads_of(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(payloads(&next(subscription).await.batch));
    }
    found
}

const COMMITTED: Published = Published::Committed { unrouted: false };

#[tokio::test(start_paused = true)]
async fn a_committed_publish_is_in_the_queue_of_each_route_and_subscription() {
    let one = (route("one", 1, Some("out.one")), stage("1", forward));
    let two = (route("two", 1, Some("out.two")), stage("1", forward));
    let router = router(vec![one, two]);
    let (mut outputs, mut direct) = (subscribe(&router, "out.*"), subscribe(&router, "in.a"));
    assert_eq!(publish(&router, &batch("in.a", 0..3)).await, COMMITTED);
    let mut topics = [next(&mut outputs).await, next(&mut outputs).await].map(|delivery| {
        assert_eq!(payloads(&delivery.batch), ["0", "1", "2"]);
        delivery.batch.single_topic().expect("one topic").to_owned()
    });
    topics.sort();
    assert_eq!(topics, ["out.one", "out.two"]);
    let delivery = next(&mut direct).await;
    assert_eq!(delivery.envelope.route, None, "it came straight from the publisher");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_committed_as_unrouted() {
    let router = router(Vec::new());
    let outcome = publish(&router, &batch("nobody", 0..1)).await;
    assert_eq!(outcome, Published::Committed { unrouted: true });
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_a_dead_letter_and_its_neighbours_go_on() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", reject_second))]);
    let (mut out, mut dead) = (subscribe(&router, "out"), subscribe(&router, "$dead.r"));
    assert_eq!(publish(&router, &batch("in.a", 0..3)).await, COMMITTED);
    assert_eq!(payloads(&next(&mut out).await.batch), ["0", "2"]);
    let letters = next(&mut dead).await.batch;
    assert_eq!(payloads(&letters), ["1"]);
    let letter = letters.get(0).expect("one letter");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"PLUGIN_REJECTED"[..]));
    assert_eq!(letter.headers().get(dead_letter::TOPIC), Some(&b"in.a"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_stage_gave_a_topic_is_a_dead_letter() {
    let router = router(vec![(route("r", 1, None), stage("1", forward))]);
    let mut dead = subscribe(&router, "$dead.r");
    assert_eq!(publish(&router, &batch("in.a", 0..2)).await, COMMITTED);
    assert_eq!(payloads(&next(&mut dead).await.batch), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn order_holds_for_each_key_over_several_lanes() {
    let router = router(vec![(route("r", 4, Some("out")), stage("1", forward))]);
    let mut out = subscribe(&router, "out");
    for start in 0..50 {
        assert_eq!(publish(&router, &batch("in.a", start * 20..start * 20 + 20)).await, COMMITTED);
    }
    let (mut last, mut count) = ([None; 5], 0);
    while count < 1000 {
        for payload in payloads(&next(&mut out).await.batch) {
            let number: u32 = payload.parse().expect("a number");
            let last = &mut last[number as usize % 5];
            assert!(last.is_none_or(|last| last < number));
            *last = Some(number);
            count += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_batch_names_the_one_version_that_processed_it() {
    let first = stage("1", forward);
    let router = router(vec![(route("r", 1, Some("out")), first)]);
    let mut out = subscribe(&router, "out");
    for version in ["2", "3", "4"] {
        swap(&router, &["r"], &stage(version, forward));
        assert_eq!(publish(&router, &batch("in.a", 0..1)).await, COMMITTED);
        let delivery = next(&mut out).await;
        assert_eq!(delivery.envelope.stages[0].version, version);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_nothing_holds_the_publisher_and_then_ends() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    let limits = QueueLimits { messages: 1, bytes: 1 << 20 };
    let mut slow =
        router.subscribe(ConnectionId(9), &Pattern::parse("out").expect("a pattern"), limits);
    let publisher = tokio::spawn({
        let router = router.clone();
        async move {
            for number in 0..20 {
                assert_eq!(publish(&router, &batch("in.a", [number])).await, COMMITTED);
            }
        }
    });
    publisher.await.expect("the publisher ends once the subscription has");
    assert!(matches!(slow.recv().await, Received::Ended(ErrorCode::SlowConsumer)));
}

#[tokio::test(start_paused = true)]
async fn many_subscribers_that_take_nothing_hold_the_publisher_no_longer_than_one() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    let limits = QueueLimits { messages: 1, bytes: 1 << 20 };
    let pattern = |text| Pattern::parse(text).expect("a pattern");
    // Some stand behind the route, and some are met by the publisher itself.
    let slow: Vec<_> = (0..20)
        .flat_map(|_| {
            ["out", "in.a"].map(|text| router.subscribe(ConnectionId(9), &pattern(text), limits))
        })
        .collect();
    let start = tokio::time::Instant::now();
    for number in 0..3 {
        assert_eq!(publish(&router, &batch("in.a", [number])).await, COMMITTED);
    }
    assert!(start.elapsed() <= BLOCK_MAX * 2, "{:?}", start.elapsed());
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_drained_router_has_done_what_it_took_and_takes_no_more() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    let mut out = subscribe(&router, "out");
    let origin = Origin { connection: ConnectionId(1) };
    let taken = router.publish(origin, &batch("in.a", 0..1)).await.expect("it is admitted");
    router.drain(BLOCK_MAX).await;
    assert_eq!(taken.outcome().await, COMMITTED);
    assert!(matches!(
        publish(&router, &batch("in.a", 0..1)).await,
        Published::Rejected { code: ErrorCode::ShuttingDown, .. }
    ));
    assert!(matches!(out.recv().await, Received::Delivery(_)));
    assert!(matches!(out.recv().await, Received::Ended(ErrorCode::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_beyond_the_policy_meets_the_stages_in_parts_that_keep_it() {
    fn at_most_three(batch: &Batch) -> Result<StageOutput, StageFailure> {
        if batch.len() > 3 { trap(batch) } else { forward(batch) }
    }
    let mut small = route("r", 1, Some("out"));
    small.batch.max_messages = 3;
    let router = router(vec![(small, stage("1", at_most_three))]);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &batch("in.a", 0..10)).await, COMMITTED);
    let mut found = Vec::new();
    while found.len() < 10 {
        found.extend(payloads(&next(&mut out).await.batch));
    }
    assert_eq!(found, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}
