//! Topics with rules of their own, straight from the publisher and behind a route.

use waypost_core::OnFull;
use waypost_protocol::TimeToLive;

use super::*;

fn rule(pattern: &str, on_full: OnFull, block_max: Duration) -> TopicRule {
    let pattern = Pattern::parse(pattern).expect("a pattern");
    let block_max_ms = u64::try_from(block_max.as_millis()).expect("it is short");
    TopicRule { pattern, on_full, block_max_ms, ttl: None }
}

fn rules() -> Vec<TopicRule> {
    vec![
        rule("old.>", OnFull::DropOldest, BLOCK_MAX),
        rule("new.>", OnFull::DropNewest, BLOCK_MAX),
        rule("strict", OnFull::Block, BLOCK_MAX / 10),
    ]
}

fn small(router: &Router, pattern: &str, messages: usize) -> Subscription {
    let limits = QueueLimits { messages, bytes: 1 << 20 };
    router.subscribe(ConnectionId(9), &Pattern::parse(pattern).expect("a pattern"), limits)
}

fn mixed(messages: &[(&str, &str)]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (topic, payload) in messages {
        builder.push(topic, None, &[], payload.as_bytes(), 0).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

fn dropped(router: &Router, pattern: &str, on_full: OnFull) -> u64 {
    let labels = [pattern, on_full.name()];
    router.0.fanout.metrics.topic_dropped.with_label_values(&labels).get()
}

async fn drained(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(payloads(&next(subscription).await.batch));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_is_treated_by_the_rule_of_its_own_topic() {
    let router = router_with(Vec::new(), rules());
    let mut subscription = small(&router, ">", 4);
    let first = [("old.a", "o1"), ("new.a", "n1"), ("other", "b1"), ("old.b", "o2")];
    assert_eq!(publish(&router, &mixed(&first)).await, COMMITTED);
    let start = tokio::time::Instant::now();
    let second = [("old.a", "o3"), ("new.a", "n2"), ("old.a", "o4")];
    assert_eq!(publish(&router, &mixed(&second)).await, COMMITTED);
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for it");
    assert_eq!(drained(&mut subscription, 4).await, ["n1", "b1", "o3", "o4"]);
    assert_eq!(dropped(&router, "old.>", OnFull::DropOldest), 2);
    assert_eq!(dropped(&router, "new.>", OnFull::DropNewest), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_blocks_waits_although_what_is_before_it_could_be_dropped() {
    let router = router_with(Vec::new(), rules());
    let mut subscription = small(&router, ">", 1);
    assert_eq!(publish(&router, &mixed(&[("old.a", "o1")])).await, COMMITTED);
    let publisher = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &mixed(&[("other", "b1")])).await }
    });
    tokio::task::yield_now().await;
    assert!(!publisher.is_finished());
    assert_eq!(drained(&mut subscription, 2).await, ["o1", "b1"]);
    assert_eq!(publisher.await.expect("it ends"), COMMITTED);
}

#[tokio::test(start_paused = true)]
async fn the_rule_of_a_topic_says_how_long_its_messages_wait() {
    for (topic, longest) in [("strict", BLOCK_MAX / 10), ("other", BLOCK_MAX)] {
        let router = router_with(Vec::new(), rules());
        let mut subscription = small(&router, ">", 1);
        let start = tokio::time::Instant::now();
        for payload in ["1", "2"] {
            assert_eq!(publish(&router, &mixed(&[(topic, payload)])).await, COMMITTED);
        }
        assert_eq!(start.elapsed(), longest, "{topic}");
        assert!(matches!(subscription.recv().await, Received::Ended(ErrorCode::SlowConsumer)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_leaves_a_route_is_treated_by_the_rule_of_where_it_goes() {
    let routes = vec![(route("r", 1, Some("old.out")), stage("1", forward))];
    let router = router_with(routes, rules());
    let (mut slow, mut quick) = (small(&router, "old.out", 3), small(&router, "old.out", 1000));
    let start = tokio::time::Instant::now();
    for number in 0..10 {
        assert_eq!(publish(&router, &batch("in.a", [number])).await, COMMITTED);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(drained(&mut slow, 3).await, ["7", "8", "9"]);
    assert_eq!(dropped(&router, "old.>", OnFull::DropOldest), 7);
    assert_eq!(drained(&mut quick, 10).await.len(), 10, "others miss nothing");
}

#[tokio::test(start_paused = true)]
async fn what_waits_stays_under_its_rule_when_others_come_and_series_of_former_rules_go() {
    use prometheus::core::Collector as _;
    let router = router_with(Vec::new(), rules());
    let mut subscription = small(&router, ">", 1);
    assert_eq!(publish(&router, &mixed(&[("old.a", "o1")])).await, COMMITTED);
    let series = || {
        let families = router.0.fanout.metrics.topic_dropped.collect();
        families.iter().map(|family| family.get_metric().len()).sum::<usize>()
    };
    assert_eq!(series(), 2);
    router.set_topics(vec![rule("old.b", OnFull::DropOldest, BLOCK_MAX)]);
    assert_eq!(series(), 1);
    // It may be dropped for what comes, as it came under a rule that says so.
    assert_eq!(publish(&router, &mixed(&[("old.b", "o2")])).await, COMMITTED);
    assert_eq!(drained(&mut subscription, 1).await, ["o2"]);
    assert_eq!(dropped(&router, "old.>", OnFull::DropOldest), 1);
}

#[tokio::test]
async fn what_waited_longer_than_it_lives_is_not_handed_out() {
    let hour = TimeToLive::from_ms(3_600_000).expect("a time to live");
    let brief = TimeToLive::from_ms(1).expect("a time to live");
    let rules = [("brief.>", Some(brief)), ("long.>", Some(hour))]
        .map(|(pattern, ttl)| TopicRule { ttl, ..rule(pattern, OnFull::Block, BLOCK_MAX) });
    let router = router_with(Vec::new(), rules.into());
    let mut subscription = small(&router, ">", 9);
    let messages = [("brief.a", "1"), ("long.a", "2"), ("other", "3"), ("brief.b", "4")];
    assert_eq!(publish(&router, &mixed(&messages)).await, COMMITTED);
    assert_eq!(publish(&router, &mixed(&messages[..1])).await, COMMITTED);
    assert_eq!(publish(&router, &mixed(&[("other", "5")])).await, COMMITTED);
    let before = now_ms();
    while now_ms() <= before {
        tokio::task::yield_now().await;
    }
    assert_eq!(drained(&mut subscription, 3).await, ["2", "3", "5"]);
    let expired = &router.0.fanout.streams.metrics().expired;
    assert_eq!(expired.with_label_values(&["brief.>"]).get(), 3);
    assert_eq!(expired.with_label_values(&["long.>"]).get(), 0);
}
