//! Routes that come, go and change while messages flow.

use prometheus::core::Collector;

use super::{chains::link, *};

fn named(name: &str) -> StageName {
    StageName::parse(name).expect("a name")
}

/// A route from `in.>` with these stages, all of one plugin.
fn with_stages(lanes: u16, destination: &str, stages: &[&str]) -> RouteDefinition {
    let mut definition = route("r", lanes, Some(destination));
    let [first] = definition.stages.as_slice() else { panic!("one stage") };
    let stage = |name: &&str| StageDefinition { name: named(name), ..first.clone() };
    definition.stages = stages.iter().map(stage).collect();
    definition
}

fn version(route: &str, name: &str, answer: Answer) -> (RouteName, Stage) {
    let stage = Stage { name: named(name), ..stage(name, answer) };
    (RouteName::parse(route).expect("a name"), stage)
}

fn reload(router: &Router, routes: &[RouteDefinition], versions: &[(RouteName, Stage)]) {
    router.plans().define(routes, versions);
    router.follow_plans();
}

fn empty() -> Router {
    router(Vec::new())
}

fn later(batch: &Batch) -> Result<StageOutput, StageFailure> {
    Ok(StageOutput { verdicts: vec![Verdict::Retry(3_600_000); batch.len()], emitted: None })
}

fn reason(delivery: &Delivery) -> String {
    let letter = delivery.batch.get(0).expect("a letter");
    let reason = letter.headers().get(dead_letter::REASON).expect("it has one");
    String::from_utf8_lossy(reason).into_owned()
}

#[tokio::test(start_paused = true)]
async fn routes_come_and_go_and_change_what_they_take_and_where_they_lead() {
    let router = empty();
    let mut out = subscribe(&router, "out.*");
    let unrouted = Published::Committed { unrouted: true };
    assert_eq!(publish(&router, &batch("in.a", [1])).await, unrouted);

    let (mut definition, forwards) = link("r", "in.a", Some("out.x"), forward);
    let versions = [(definition.name.clone(), forwards)];
    reload(&router, &[definition.clone()], &versions);
    assert_eq!(publish(&router, &batch("in.a", [2])).await, COMMITTED);
    assert_eq!(next(&mut out).await.batch.single_topic(), Some("out.x"));

    definition.source = Pattern::parse("other").expect("a pattern");
    definition.destination = Destination::Topic(Topic::parse("out.y").expect("a topic"));
    reload(&router, &[definition], &[]);
    assert_eq!(publish(&router, &batch("in.a", [3])).await, unrouted);
    assert_eq!(publish(&router, &batch("other", [4])).await, COMMITTED);
    let delivery = next(&mut out).await;
    assert_eq!(delivery.batch.single_topic(), Some("out.y"));
    assert_eq!(payloads(&delivery.batch), ["4"]);

    reload(&router, &[], &[]);
    assert_eq!(publish(&router, &batch("other", [5])).await, unrouted);
    assert!(router.route_status().is_empty());
    router.drain(BLOCK_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_plugin_goes_on_at_its_stage_or_at_the_next_that_is_still_there() {
    for (stages, expected) in [
        (&["before", "broken", "z"][..], &["before", "broken", "z"][..]),
        (&["z", "broken"], &["before", "broken"]),
        (&["new", "z"], &["before", "z"]),
        (&["new"], &["before"]),
        (&[], &["before"]),
    ] {
        let router = empty();
        let definition = with_stages(1, "out", &["before", "broken", "z"]);
        let versions = [("before", forward as Answer), ("broken", trap), ("z", forward)];
        let versions = versions.map(|(name, answer)| version("r", name, answer));
        reload(&router, &[definition], &versions);
        let mut out = subscribe(&router, "out");
        let publisher = tokio::spawn({
            let router = router.clone();
            async move { publish(&router, &batch("in.a", 0..100)).await }
        });
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!publisher.is_finished(), "the breaker is open");
        let metrics = router.plans().metrics().clone();
        let is_open = || metrics.breaker_open.with_label_values(&["r", "broken"]).get() == 1;
        assert!(is_open());

        let mended = ["new", "broken"].map(|name| version("r", name, forward));
        reload(&router, &[with_stages(1, "out", stages)], &mended);
        assert_eq!(publisher.await.expect("it ends"), COMMITTED);
        assert!(!is_open());
        let dead = metrics.dead_letters_of("r").values().sum::<u64>();
        let (mut count, mut last) = (0, None);
        while count + dead < 100 {
            let delivery = next(&mut out).await;
            let met = delivery.envelope.stages.iter().map(|run| run.version.as_str());
            assert_eq!(met.collect::<Vec<_>>(), expected);
            for payload in payloads(&delivery.batch) {
                let number: u32 = payload.parse().expect("a number");
                assert!(last.is_none_or(|last| last < number), "{number} is out of order");
                (last, count) = (Some(number), count + 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_a_route_that_is_taken_out_becomes_dead_letters_and_holds_nobody() {
    let router = empty();
    let mut dead = subscribe(&router, "$dead.*");
    for answer in [trap as Answer, later] {
        let definition = with_stages(1, "out", &["s"]);
        reload(&router, &[definition], &[version("r", "s", answer)]);
        let publisher = tokio::spawn({
            let router = router.clone();
            async move { publish(&router, &batch("in.a", 0..20)).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        reload(&router, &[], &[]);
        assert_eq!(publisher.await.expect("it ends"), COMMITTED);
        let (mut count, mut reasons) = (0, Vec::new());
        while count < 20 {
            let delivery = next(&mut dead).await;
            count += delivery.batch.len();
            reasons.push(reason(&delivery));
        }
        assert_eq!(reasons.last().map(String::as_str), Some("ROUTE_REMOVED"));
    }
    assert_eq!(router.plans().metrics().parked.with_label_values(&["r"]).get(), 0);
    let open = router.plans().metrics().breaker_open.with_label_values(&["r", "s"]).get();
    assert_eq!(open, 0, "nobody waits for it");
    router.drain(BLOCK_MAX).await;
}

/// Messages that have one key, the payload modulo five.
fn of_one_key(range: std::ops::Range<u32>) -> Vec<u32> {
    range.map(|number| number * 5).collect()
}

#[tokio::test(start_paused = true)]
async fn parked_messages_are_not_overtaken_when_their_stages_go() {
    /// Lets the first message pass and parks the others.
    fn later_than_first(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let verdict = |payload: String| match payload.as_str() {
            "0" => Verdict::Forward,
            _ => Verdict::Retry(3_600_000),
        };
        Ok(StageOutput {
            verdicts: payloads(batch).into_iter().map(verdict).collect(),
            emitted: None,
        })
    }
    let router = empty();
    let versions = [("s", later_than_first as Answer), ("t", later), ("z", forward)];
    let versions = versions.map(|(name, answer)| version("r", name, answer));
    reload(&router, &[with_stages(1, "out", &["s", "t", "z"])], &versions);
    let mut out = subscribe(&router, "out");
    // More than are tried in one go wait at one stage, and one before them at another.
    assert_eq!(publish(&router, &batch("in.a", of_one_key(0..200))).await, COMMITTED);
    reload(&router, &[with_stages(1, "out", &["z"])], &[]);
    assert_eq!(publish(&router, &batch("in.a", of_one_key(200..201))).await, COMMITTED);
    let expected: Vec<_> = of_one_key(0..201).iter().map(ToString::to_string).collect();
    assert_eq!(payloads_of(&mut out, 201).await, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_at_a_stage_that_goes_waits_for_nothing_more() {
    let router = empty();
    let versions = [version("r", "late", later), version("r", "z", forward)];
    reload(&router, &[with_stages(1, "out", &["late", "z"])], &versions);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &batch("in.a", 0..10)).await, COMMITTED);
    let start = tokio::time::Instant::now();
    reload(&router, &[with_stages(1, "out", &["z"])], &[]);
    payloads_of(&mut out, 10).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// What becomes of a lane that has as much parked as it may, and of a message that waits for room there.
async fn full_of_parked(
    change: impl AsyncFnOnce(&Router),
) -> (Published, Vec<String>, Vec<String>) {
    let router = empty();
    let (mut out, mut dead) = (subscribe(&router, "out"), subscribe(&router, "$dead.r"));
    let mut definition = with_stages(1, "out", &["late", "z"]);
    definition.retry.parked_messages = 2;
    let versions = [version("r", "late", later), version("r", "z", forward)];
    reload(&router, &[definition], &versions);
    assert_eq!(publish(&router, &batch("in.a", 0..2)).await, COMMITTED);
    let publisher = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", 2..3)).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!publisher.is_finished(), "the lane takes nothing");
    let start = tokio::time::Instant::now();
    change(&router).await;
    let published = publisher.await.expect("it ends");
    router.drain(BLOCK_MAX).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let mut found = [Vec::new(), Vec::new()];
    for (subscription, found) in [&mut out, &mut dead].into_iter().zip(&mut found) {
        while let Received::Delivery(delivery) = subscription.recv().await {
            found.extend(payloads(&delivery.batch));
        }
        found.sort();
    }
    let [out, dead] = found;
    (published, out, dead)
}

#[tokio::test(start_paused = true)]
async fn a_lane_full_of_parked_messages_hears_of_every_change() {
    let removed = async |router: &Router| reload(router, &[], &[]);
    let (published, out, dead) = full_of_parked(removed).await;
    assert_eq!(
        (published, out.len(), dead),
        (COMMITTED, 0, vec!["0".into(), "1".into(), "2".into()])
    );

    let mended = async |router: &Router| reload(router, &[with_stages(1, "out", &["z"])], &[]);
    let (published, out, dead) = full_of_parked(mended).await;
    assert_eq!(
        (published, out, dead.len()),
        (COMMITTED, vec!["0".into(), "1".into(), "2".into()], 0)
    );

    let widened = with_stages(2, "out", &["late", "z"]);
    let widened = async |router: &Router| reload(router, &[widened], &[]);
    let (published, out, dead) = full_of_parked(widened).await;
    assert_eq!((published, out.len(), dead.len()), (COMMITTED, 0, 3));

    let stopped = async |router: &Router| router.drain(BLOCK_MAX).await;
    let (published, out, dead) = full_of_parked(stopped).await;
    assert_eq!((published, out.len(), dead.len()), (COMMITTED, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_changed_policy_holds_at_once_for_what_waits_already() {
    let router = empty();
    let versions = [version("r", "s", trap)];
    let mut definition = with_stages(1, "out", &["s"]);
    definition.breaker.open_ms = 3_000_000;
    definition.breaker.max_open_ms = 3_000_000;
    reload(&router, &[definition.clone()], &versions);
    let _publisher = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", 0..100)).await }
    });
    let opened = || router.plans().metrics().breaker_opened.with_label_values(&["r", "s"]).get();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(opened(), 1);
    definition.breaker.open_ms = 10;
    definition.breaker.max_open_ms = 10;
    reload(&router, &[definition], &[]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(opened() > 2, "it was tried again {} times", opened());
}

#[tokio::test(start_paused = true)]
async fn order_holds_over_changes_of_the_number_of_lanes() {
    let router = empty();
    let mut out = subscribe(&router, "out");
    reload(&router, &[with_stages(3, "out", &["s"])], &[version("r", "s", forward)]);
    let publisher = tokio::spawn({
        let router = router.clone();
        async move {
            for start in 0..200 {
                let batch = batch("in.a", start * 10..start * 10 + 10);
                let pending = router.publish(Origin { connection: ConnectionId(1) }, &batch).await;
                // Nobody waits for what comes of it, so that all queues are full.
                drop(pending.expect("it is admitted"));
            }
        }
    });
    let (mut last, mut count, mut lanes) = ([None; 5], 0, 3);
    while count < 2000 {
        for payload in payloads(&next(&mut out).await.batch) {
            let number: u32 = payload.parse().expect("a number");
            let last = &mut last[number as usize % 5];
            assert!(last.is_none_or(|last| last < number));
            *last = Some(number);
            count += 1;
        }
        lanes = lanes % 4 + 1;
        reload(&router, &[with_stages(lanes, "out", &["s"])], &[]);
    }
    publisher.await.expect("it ends");
    router.drain(BLOCK_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_routes_survives_the_change_of_its_lanes() {
    let router = empty();
    let mut dead = subscribe(&router, "$dead.>");
    let circle = |lanes: u16| {
        let to = |name: &str, from: &str, to: &str| {
            let (mut definition, stage) = link(name, from, Some(to), forward);
            definition.lanes = NonZeroU16::new(lanes).expect("not zero");
            (definition, stage)
        };
        [to("a", "x", "y"), to("b", "y", "x")]
    };
    let reload_circle = |lanes: u16| {
        let circle = circle(lanes);
        let versions = circle.clone().map(|(definition, stage)| (definition.name, stage));
        reload(&router, &circle.map(|(definition, _)| definition), &versions);
    };
    reload_circle(2);
    let publisher = tokio::spawn({
        let router = router.clone();
        async move {
            for number in 0..100 {
                assert_eq!(publish(&router, &batch("x", [number])).await, COMMITTED);
            }
        }
    });
    let mut lanes = 2;
    for _ in 0..100 {
        assert_eq!(reason(&next(&mut dead).await), "HOP_LIMIT");
        lanes = lanes % 4 + 1;
        reload_circle(lanes);
    }
    publisher.await.expect("it ends");
    router.drain(BLOCK_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_topics_are_replaced() {
    let router = empty();
    let limits = QueueLimits { messages: 2, bytes: 1 << 20 };
    let pattern = Pattern::parse("a").expect("a pattern");
    let mut slow = router.subscribe(ConnectionId(9), &pattern, limits);
    let dropping =
        |on_full| TopicRule { pattern: pattern.clone(), on_full, block_max_ms: 1, ttl: None };
    router.set_topics(vec![dropping(waypost_core::OnFull::DropNewest)]);
    for number in 0..5 {
        assert_eq!(publish(&router, &batch("a", [number])).await, COMMITTED);
    }
    assert_eq!(payloads_of(&mut slow, 2).await, ["0", "1"]);
    let dropped =
        |policy| router.plans().metrics().topic_dropped.with_label_values(&["a", policy]).get();
    assert_eq!(dropped("drop-newest"), 3);
    router.set_topics(vec![dropping(waypost_core::OnFull::DropOldest)]);
    for number in 5..10 {
        assert_eq!(publish(&router, &batch("a", [number])).await, COMMITTED);
    }
    assert_eq!(payloads_of(&mut slow, 2).await, ["8", "9"]);
    assert_eq!(dropped("drop-oldest"), 3);
}

#[tokio::test(start_paused = true)]
async fn what_lanes_that_leave_hold_is_told_and_what_a_route_counted_goes_with_its_last_lane() {
    let router = empty();
    reload(&router, &[with_stages(1, "out", &["s"])], &[version("r", "s", forward)]);
    let limits = QueueLimits { messages: 1, bytes: 1 << 20 };
    let out = Pattern::parse("out").expect("a pattern");
    let full = router.subscribe(ConnectionId(9), &out, limits);
    assert_eq!(publish(&router, &batch("in.a", [1])).await, COMMITTED);
    let publisher = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", [2])).await }
    });
    let moment = || tokio::time::sleep(Duration::from_millis(1));
    let held = || router.route_status()[0].held_bytes;
    moment().await;
    let before = held();
    assert!(before > 0, "a lane waits for room");
    reload(&router, &[with_stages(2, "out", &["s"])], &[]);
    assert_eq!(held(), before, "it still does");

    let metrics = router.plans().metrics().clone();
    let counted = || {
        let of_routes = [&metrics.route_messages, &metrics.stage_messages, &metrics.stage_failures];
        let families = of_routes.into_iter().flat_map(Collector::collect);
        let families = families.chain(metrics.parked.collect());
        let families = families.chain(metrics.stage_seconds.collect());
        families.map(|family| family.get_metric().len()).sum::<usize>()
    };
    reload(&router, &[], &[]);
    moment().await;
    assert!(counted() > 0, "a lane is not done yet");
    drop(full);
    assert_eq!(publisher.await.expect("it ends"), COMMITTED);
    moment().await;
    assert_eq!(counted(), 0);
    router.drain(BLOCK_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_again_before_its_lanes_have_ended_goes_on_counting() {
    let router = empty();
    let definition = with_stages(1, "out", &["s"]);
    let routes = std::slice::from_ref(&definition);
    reload(&router, routes, &[version("r", "s", forward)]);
    assert_eq!(publish(&router, &batch("in.a", [1])).await, COMMITTED);
    reload(&router, &[], &[]);
    reload(&router, routes, &[version("r", "s", forward)]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(router.route_status()[0].messages, 1);
    router.drain(BLOCK_MAX).await;
}
