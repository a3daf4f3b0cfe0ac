//! Routes that feed each other in a circle, by topics that their stages choose.

use std::sync::atomic::AtomicU32;

use waypost_core::MAX_HOPS;

use super::*;

/// A deadlock would take for ever.
const GENEROUS: Duration = Duration::from_secs(60);

pub(super) async fn publish(router: &Router, batch: &Batch) -> Published {
    let published = super::publish(router, batch);
    tokio::time::timeout(GENEROUS, published).await.expect("nothing waits for ever")
}

#[tokio::test(start_paused = true)]
async fn a_message_in_a_circle_ends_after_its_last_route_as_one_dead_letter() {
    let routes = vec![
        link("a", "a.in", None, to_b),
        link("b", "b.in", None, to_a),
        link("other", "a.in", Some("out"), forward),
    ];
    let router = router(routes);
    let [mut dead, mut none, mut b, mut out] =
        ["$dead.b", "$dead.a", "b.in", "out"].map(|pattern| subscribe(&router, pattern));
    assert_eq!(publish(&router, &batch("a.in", 0..3)).await, COMMITTED);
    let letters = next(&mut dead).await;
    assert_eq!(payloads(&letters.batch), ["0", "1", "2"]);
    assert_eq!((letters.envelope.hops, letters.envelope.stages.len()), (MAX_HOPS, 1));
    let letter = letters.batch.get(0).expect("three letters");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"HOP_LIMIT"[..]));
    assert_eq!(letter.headers().get(dead_letter::TOPIC), Some(&b"a.in"[..]));
    assert_eq!(letter.headers().get(dead_letter::STAGE), None, "no stage is to blame alone");
    assert_eq!(letters_of(&router, "b", ErrorCode::HopLimit), 3);
    // Whoever else takes a topic of the circle gets each message each time, and nothing more.
    assert_eq!(payloads_of(&mut b, 8 * 3).await.len(), 8 * 3);
    assert_eq!(payloads_of(&mut out, 8 * 3).await.len(), 8 * 3);
    router.drain(BLOCK_MAX).await;
    for each in [&mut none, &mut dead, &mut b, &mut out] {
        assert!(matches!(each.recv().await, Received::Ended(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_feeds_itself_ends_too() {
    let router = router(vec![link("a", "a.>", None, forward)]);
    let mut dead = subscribe(&router, "$dead.a");
    assert_eq!(publish(&router, &batch("a.in", 0..5)).await, COMMITTED);
    assert_eq!(payloads_of(&mut dead, 5).await, numbers(0..5));
    assert_eq!(letters_of(&router, "a", ErrorCode::HopLimit), 5);
}

/// Each route leads to both, over several lanes with room for one batch, and everyone publishes everywhere.
async fn flood(messages: u32) {
    fn both(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let topics: &[&str] = match batch.iter().next().map(|message| message.payload()) {
            Some(b"0") => &["a.in", "b.in"],
            _ => &["b.in"],
        };
        Ok(to_all(batch, topics))
    }
    let small = |link: (RouteDefinition, Stage)| {
        let (mut definition, stage) = on_lanes(2, link);
        definition.batch.max_messages = 2;
        (definition, stage)
    };
    let routes = vec![
        small(link("a", "a.in", None, both)),
        small(link("b", "b.in", None, to_a)),
        small(link("c", "*.in", Some("out"), forward)),
    ];
    let lane = LaneLimits { batches: 1, bytes: 1 };
    let router =
        router_of(routes, RouterSettings { lane, block_max: BLOCK_MAX, topics: Vec::new() });
    let limits = QueueLimits { messages: 2, bytes: 1 << 20 };
    let mut out =
        router.subscribe(ConnectionId(9), &Pattern::parse("out").expect("a pattern"), limits);
    let seen = tokio::spawn(async move {
        let mut seen = 0_usize;
        while let Received::Delivery(delivery) = out.recv().await {
            seen += delivery.batch.len();
        }
        seen
    });
    let publishers = (0..6_u32).map(|publisher| {
        let router = router.clone();
        async move {
            let topic = if publisher % 2 == 0 { "a.in" } else { "b.in" };
            for number in 0..messages {
                let origin = Origin { connection: ConnectionId(publisher.into()) };
                // One message multiplies at each turn.
                let payload = if publisher == 0 && number == 5 { 0 } else { number + 1 };
                let pending = router.publish(origin, &batch(topic, [payload])).await;
                assert_eq!(pending.expect("it is taken").outcome().await, COMMITTED);
            }
        }
    });
    tokio::time::timeout(GENEROUS, join_all(publishers)).await.expect("nothing waits for ever");
    router.drain(BLOCK_MAX).await;
    let limited: u64 =
        ["a", "b"].map(|route| letters_of(&router, route, ErrorCode::HopLimit)).iter().sum();
    assert!(
        limited >= u64::from(messages) * 6,
        "each message ends in a letter at least: {limited}"
    );
    let seen = seen.await.expect("the subscriber ends");
    assert!(seen >= limited as usize, "the third route was not harmed: {seen}");
}

#[tokio::test(start_paused = true)]
async fn circles_under_load_with_tiny_queues_do_not_wait_for_each_other() {
    flood(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circles_under_load_do_not_wait_for_each_other_on_several_threads() {
    flood(20).await;
}

#[tokio::test(start_paused = true)]
async fn parked_messages_at_their_bound_do_not_stop_a_circle() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn every_other(batch: &Batch) -> Result<StageOutput, StageFailure> {
        if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            let verdicts = vec![Verdict::Retry(10); batch.len()];
            return Ok(StageOutput { verdicts, emitted: None });
        }
        to_b(batch)
    }
    let (mut a, stage) = link("a", "a.in", None, every_other);
    (a.retry.parked_messages, a.retry.attempts) = (1, 1000);
    let router = router(vec![(a, stage), link("b", "b.in", None, to_a)]);
    let mut dead = subscribe(&router, "$dead.>");
    let publishing = async {
        for number in 0..20 {
            assert_eq!(publish(&router, &batch("a.in", [number])).await, COMMITTED);
        }
        payloads_of(&mut dead, 20).await
    };
    let mut found =
        tokio::time::timeout(GENEROUS, publishing).await.expect("nothing waits for ever");
    found.sort_by_key(|payload| payload.parse::<u32>().expect("a number"));
    assert_eq!(found, numbers(0..20), "each ends once");
}
