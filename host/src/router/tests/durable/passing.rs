//! What goes through: outputs, progress, ends and beginnings.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_stored_goes_through_the_route_into_the_partitions_of_its_keys() {
    let stand = Stand::usual().await;
    let router = stand.router(vec![durable("out.a", forward)]).await;
    stand.put(0..100).await;
    check_once_and_in_order(&stand.until("out", 100).await, 0..100);
    for index in 0..2 {
        let (read, kept) = (stand.stored("in", index).await, stand.stored("out", index).await);
        let of = |stored: &[Stored]| -> Vec<_> {
            stored.iter().flat_map(|each| payloads(&each.batch)).collect()
        };
        assert_eq!(of(&read), of(&kept), "a key keeps its partition where there are as many");
        let Envelope { hops, route, stages, .. } = &kept[0].envelope;
        assert_eq!((*hops, route.as_deref(), stages.len()), (1, Some("r"), 1));
    }
    let ends = [0, 1]
        .map(|index| stand.storage.bounds(&partition("in", index)).expect("it is there").next.0);
    assert_eq!(stand.progress().await, ends.map(Some));
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_dropped_at_any_moment_leaves_nothing_undone_and_does_nothing_twice() {
    let stand = Stand::usual().await;
    for round in 0..40_u32 {
        let router = stand.router(vec![durable("out.a", forward)]).await;
        stand.put(round * 50..round * 50 + 50).await;
        // Another place in the work each time.
        for _ in 0..round % 13 {
            tokio::task::yield_now().await;
        }
        drop(router);
    }
    let router = stand.router(vec![durable("out.a", forward)]).await;
    check_once_and_in_order(&stand.until("out", 2000).await, 0..2000);
    router.drain(BLOCK_MAX).await;
    assert_eq!(stand.held("out").await.len(), 2000);
}

#[tokio::test(start_paused = true)]
async fn a_new_route_begins_with_what_comes_unless_it_is_told_otherwise() {
    let stand = Stand::usual().await;
    stand.put(0..10).await;
    let at_end = (route("r", 1, Some("out.a")), stage("1", forward));
    let router = stand.router(vec![at_end.clone()]).await;
    // What is stored while it does not run is not passed over.
    drop(router);
    stand.put(10..20).await;
    let router = stand.router(vec![at_end]).await;
    check_once_and_in_order(&stand.until("out", 10).await, 10..20);
    drop(router);
    // It has its place already.
    let router = stand.router(vec![durable("out.a", forward)]).await;
    stand.put(20..30).await;
    check_once_and_in_order(&stand.until("out", 20).await, 10..30);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn messages_that_the_route_does_not_take_are_passed_over_and_so_told() {
    let stand = Stand::usual().await;
    let (mut definition, stage) = durable("out.a", forward);
    definition.source = Pattern::parse("in.b").expect("a pattern");
    let router = stand.router(vec![(definition, stage)]).await;
    stand.put(0..10).await;
    while stand.progress().await.iter().flatten().sum::<u64>() < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stand.held("out").await.len(), 0);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn while_storage_is_full_the_route_stalls_and_says_so_and_then_goes_on() {
    let stand = Stand::usual().await;
    let router = stand.router(vec![durable("out.a", forward)]).await;
    stand.put(0..10).await;
    stand.until("out", 10).await;
    stand.put(10..20).await;
    stand.storage.set_full(true);
    let lanes = router.routes().lanes();
    while lanes.iter().filter(|lane| lane.stalled().is_some()).count() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stand.held("out").await.len(), 10);
    assert_eq!(lanes.iter().filter_map(|lane| lane.progress()).map(|at| at.0).sum::<u64>(), 10);
    stand.storage.set_full(false);
    check_once_and_in_order(&stand.until("out", 20).await, 0..20);
    assert!(lanes.iter().all(|lane| lane.stalled().is_none()));
    router.drain(BLOCK_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_stream_keeps_is_handed_on_once_its_progress_is_stored() {
    let stand = Stand::usual().await;
    let behind = RouteDefinition {
        source: Pattern::parse("mem.a").expect("a pattern"),
        ..route("behind", 2, Some("mem.b"))
    };
    let router = stand.router(vec![durable("mem.a", forward), (behind, stage("1", forward))]).await;
    let (mut first, mut second) = (subscribe(&router, "mem.a"), subscribe(&router, "mem.b"));
    stand.put(0..10).await;
    check_once_and_in_order(&payloads_of(&mut first, 10).await, 0..10);
    assert_eq!(stand.progress().await.iter().flatten().sum::<u64>(), 10);
    check_once_and_in_order(&payloads_of(&mut second, 10).await, 0..10);
    router.drain(BLOCK_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_route_over_memory_topics_leads_to_a_stream_is_stored_before_its_publisher_is_answered()
 {
    let stand = Stand::usual().await;
    let memory = RouteDefinition {
        source: Pattern::parse("mem.>").expect("a pattern"),
        ..route("m", 1, Some("in.a"))
    };
    let durable = durable("out.a", forward);
    let router = stand.router(vec![(memory, stage("1", reject_second)), durable]).await;
    assert_eq!(publish(&router, &batch("mem.x", [0, 7, 1])).await, COMMITTED);
    let mut stored = stand.held("in").await;
    stored.sort();
    assert_eq!(stored, ["0", "1"]);
    assert_eq!(stand.held("dead").await, ["7"], "its dead letters too");
    let mut through = stand.until("out", 2).await;
    through.sort();
    assert_eq!(through, ["0", "1"]);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_back_goes_on_where_it_was() {
    let stand = Stand::usual().await;
    let router = stand.router(vec![durable("out.a", forward)]).await;
    stand.put(0..10).await;
    stand.until("out", 10).await;
    define(router.plans(), &[]);
    router.follow_plans();
    stand.put(10..20).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stand.held("out").await.len(), 10);
    define(router.plans(), &[durable("out.a", forward)]);
    router.follow_plans();
    stand.put(20..30).await;
    check_once_and_in_order(&stand.until("out", 30).await, 0..30);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_changes_does_nothing_twice() {
    let stand = Stand::usual().await;
    let router = stand.router(vec![durable("out.a", forward)]).await;
    for round in 0..30_u32 {
        stand.put(round * 20..round * 20 + 20).await;
        let (mut definition, stage) = durable("out.a", forward);
        definition.source =
            Pattern::parse(["in.>", "in.a", "in.*"][round as usize % 3]).expect("a pattern");
        definition.lanes =
            NonZeroU16::new(1 + u16::try_from(round % 2).expect("few")).expect("not zero");
        if round % 7 != 3 {
            define(router.plans(), &[(definition, stage)]);
        } else {
            define(router.plans(), &[]);
        }
        router.follow_plans();
        for _ in 0..round % 11 {
            tokio::task::yield_now().await;
        }
    }
    check_once_and_in_order(&stand.until("out", 600).await, 0..600);
    router.drain(BLOCK_MAX).await;
    assert_eq!(stand.held("out").await.len(), 600);
}

#[tokio::test(start_paused = true)]
async fn operators_are_told_how_far_a_route_is_behind_and_how_much_it_missed() {
    let stand = Stand::of(1).await;
    let router = stand.router(vec![durable("out.a", forward)]).await;
    stand.put(0..10).await;
    stand.until("out", 10).await;
    // The lane does not run before the disk is full.
    stand.put(10..15).await;
    stand.storage.set_full(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = router.route_status();
    let [partition] = status[0].partitions.as_slice() else { panic!("{status:?}") };
    assert_eq!((partition.progress, partition.end, partition.lag), (Some(10), 15, 5));
    assert_eq!((&*partition.stream, partition.missed), ("in", 0));
    assert!(partition.commits >= 1 && partition.stalled.is_some(), "{partition:?}");
    let registry = prometheus::Registry::new();
    let metrics = LaneMetrics::new(router.clone()).expect("the names are right");
    registry.register(Box::new(metrics)).expect("an empty registry");
    let gauge = |name: &str| {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.expect("it is told").get_metric()[0].get_gauge().get_value()
    };
    assert_eq!(gauge("waypost_route_lag_messages"), 5.0);
    assert_eq!(gauge("waypost_route_stalled"), 1.0);
    stand.storage.set_full(false);
    stand.until("out", 15).await;
    assert_eq!(gauge("waypost_route_lag_messages"), 0.0);
    assert_eq!(gauge("waypost_route_stalled"), 0.0);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_before_it_was_read_is_counted_and_the_rest_goes_through() {
    let stand = Stand::of(1).await;
    // Its place is stored, and then it does not run for a while.
    drop(stand.router(vec![durable("out.a", forward)]).await);
    stand.put(0..10).await;
    let later = now_ms() + 10_000;
    let retention = Retention { max_age_ms: Some(1000), ..Retention::default() };
    let trimmed = stand.storage.trim(partition("in", 0), retention, later).await;
    assert_eq!(trimmed.expect("it is trimmed").first, Offset(10));
    stand.put(10..20).await;
    let router = stand.router(vec![durable("out.a", forward)]).await;
    check_once_and_in_order(&stand.until("out", 10).await, 10..20);
    assert_eq!(router.route_status()[0].partitions[0].missed, 10);
    assert_eq!(stand.progress().await[0], Some(20));
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn when_storage_takes_nothing_more_the_route_stalls_and_hands_nothing_on() {
    let stand = Stand::of(1).await;
    let router = stand.router(vec![durable("mem.a", forward)]).await;
    let mut out = subscribe(&router, "mem.a");
    stand.put(0..5).await;
    assert_eq!(payloads_of(&mut out, 5).await.len(), 5);
    stand.put(5..10).await;
    stand.storage.fence().raise("a test");
    let lanes = router.routes().lanes();
    while lanes[0].stalled().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lanes[0].stalled().is_some_and(|why| why.contains("a test")));
    assert_eq!(stand.progress().await[0], Some(5), "nothing of it is told");
    let early = tokio::time::timeout(Duration::from_secs(60), next(&mut out)).await;
    assert!(early.is_err(), "nothing is handed on whose progress is not stored");
    router.drain(BLOCK_MAX).await;
}
