//! A route that waits, and the routes before it; routes that stop.

use std::sync::atomic::AtomicU32;

use super::*;

/// A version of which there is no instance.
#[derive(Debug)]
struct Broken(Arc<dyn StageVersion>);

impl StageVersion for Broken {
    fn run(&self) -> &StageRun {
        self.0.run()
    }

    fn output_limits(&self) -> OutputLimits {
        self.0.output_limits()
    }

    fn is_deterministic(&self) -> bool {
        true
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn StageInstance>, StageFailure>> {
        let failure = StageFailure { code: ErrorCode::PluginTrap, text: "no instance".into() };
        Box::pin(async { Err(failure) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_holds_the_routes_before_it_and_all_goes_on_in_order_afterwards() {
    let (b, mut broken) = link("b", "mid", Some("out"), forward);
    broken.version = Arc::new(Broken(broken.version));
    let router = router(vec![link("a", "in.>", Some("mid"), forward), (b, broken)]);
    let mut out = subscribe(&router, "out");
    let publisher = tokio::spawn({
        let router = router.clone();
        async move {
            for number in 0..50 {
                assert_eq!(publish(&router, &batch("in.a", [number])).await, COMMITTED);
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!publisher.is_finished(), "nothing of it came through");
    let metrics = &router.0.fanout.metrics;
    let taken = metrics.route_messages.with_label_values(&["a"]).get();
    assert_eq!(taken, 1, "the first route takes nothing more either");
    swap(&router, &["a", "b"], &stage("2", forward));
    publisher.await.expect("it ends");
    assert_eq!(payloads_of(&mut out, 50).await, numbers(0..50));
    assert_eq!(letters_of(&router, "b", ErrorCode::PluginTrap), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_parked_in_a_later_route_holds_nobody_and_keeps_the_order_of_its_key() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    fn third_time(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let is_retried =
            |payload: &String| payload == "3" && TRIES.fetch_add(1, Ordering::Relaxed) < 2;
        let verdict =
            |payload| if is_retried(&payload) { Verdict::Retry(10) } else { Verdict::Forward };
        Ok(StageOutput {
            verdicts: payloads(batch).into_iter().map(verdict).collect(),
            emitted: None,
        })
    }
    let routes = vec![
        link("a", "in.>", Some("mid"), forward),
        link("b", "mid", Some("late"), third_time),
        link("c", "late", Some("out"), forward),
    ];
    let router = router(routes);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &batch("in.a", 0..5)).await, COMMITTED);
    assert_eq!(publish(&router, &batch("in.a", 5..10)).await, COMMITTED);
    assert_eq!(payloads_of(&mut out, 8).await, ["0", "1", "2", "4", "5", "6", "7", "9"]);
    let late = [next(&mut out).await, next(&mut out).await];
    assert_eq!(late.each_ref().map(|each| payloads(&each.batch)), [["3"], ["8"]]);
    assert_eq!(late.map(|each| each.envelope.hops), [3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_stops_in_mid_chain_loses_nothing_that_it_acknowledged() {
    fn later(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let is_odd = |payload: String| payload.ends_with(['1', '3', '5', '7', '9']);
        let verdict =
            |payload| if is_odd(payload) { Verdict::Retry(3_600_000) } else { Verdict::Forward };
        Ok(StageOutput {
            verdicts: payloads(batch).into_iter().map(verdict).collect(),
            emitted: None,
        })
    }
    let routes = vec![
        on_lanes(2, link("a", "in.>", Some("mid"), forward)),
        // The second route parks some, which become dead letters and feed the fourth.
        link("b", "mid", Some("late"), later),
        link("c", "late", Some("out"), forward),
        link("d", "$dead.b", Some("out"), forward),
    ];
    let router = router(routes);
    let limits = QueueLimits { messages: 1, bytes: 1 << 20 };
    let mut out =
        router.subscribe(ConnectionId(9), &Pattern::parse("out").expect("a pattern"), limits);
    let publishers = (0..4_u32).map(|publisher| {
        let router = router.clone();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in (0..1000).map(|number| publisher * 1000 + number) {
                if publish(&router, &batch("in.a", [number])).await != COMMITTED {
                    return acknowledged;
                }
                acknowledged.push(number.to_string());
            }
            acknowledged
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let mut found = payloads_of(&mut out, 30).await;
    let draining = tokio::spawn({
        let router = router.clone();
        async move { router.drain(BLOCK_MAX).await }
    });
    while let Received::Delivery(delivery) = out.recv().await {
        found.extend(payloads(&delivery.batch));
    }
    draining.await.expect("it ends");
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.expect("the publisher ends"));
    }
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    let twice = found.len();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), twice, "nothing comes twice");
    acknowledged.sort();
    let missing: Vec<_> =
        acknowledged.iter().filter(|each| found.binary_search(each).is_err()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_is_not_told_that_all_is_well_when_a_later_lane_broke_down() {
    fn break_down(_: &Batch) -> Result<StageOutput, StageFailure> {
        panic!("a fault of the router itself");
    }
    let routes =
        vec![link("a", "in.>", Some("mid"), forward), link("b", "mid", Some("out"), break_down)];
    let router = router(routes);
    // The second message finds the lane gone.
    for number in 0..2 {
        let outcome = publish(&router, &batch("in.a", [number])).await;
        let expected = Published::rejected(ErrorCode::ShuttingDown);
        assert_eq!(outcome, expected);
    }
    router.drain(BLOCK_MAX).await;
}
