//! Stages whose plugin asks for another try: who waits, for how long, and in which order they go on.

use std::sync::atomic::AtomicU32;

use super::*;

fn retry_if(batch: &Batch, is_retried: impl Fn(&str) -> bool) -> Result<StageOutput, StageFailure> {
    let verdict = |payload: String| {
        if is_retried(&payload) { Verdict::Retry(10) } else { Verdict::Forward }
    };
    Ok(StageOutput { verdicts: payloads(batch).into_iter().map(verdict).collect(), emitted: None })
}

fn metric(router: &Router) -> i64 {
    router.0.fanout.metrics.parked.with_label_values(&["r"]).get()
}

#[tokio::test(start_paused = true)]
async fn a_retried_message_keeps_the_order_of_its_key_while_others_go_on() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    fn third_time(batch: &Batch) -> Result<StageOutput, StageFailure> {
        retry_if(batch, |payload| payload == "3" && TRIES.fetch_add(1, Ordering::Relaxed) < 2)
    }
    let router = router(vec![(route("r", 1, Some("out")), stage("1", third_time))]);
    let mut out = subscribe(&router, "out");
    // The key is the payload modulo five: 3, 8, 13 and 18 share one.
    assert_eq!(publish(&router, &batch("in.a", 0..10)).await, COMMITTED);
    let others = ["0", "1", "2", "4", "5", "6", "7", "9"];
    assert_eq!(payloads_of(&mut out, 8).await, others);
    assert_eq!(metric(&router), 2);
    assert_eq!(publish(&router, &batch("in.a", 13..14)).await, COMMITTED);
    assert_eq!(payloads_of(&mut out, 3).await, ["3", "8", "13"]);
    assert_eq!(publish(&router, &batch("in.a", 18..19)).await, COMMITTED);
    assert_eq!(payloads_of(&mut out, 1).await, ["18"]);
    assert_eq!(metric(&router), 0);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_it_is_a_dead_letter_and_those_behind_it_go_on() {
    fn never(batch: &Batch) -> Result<StageOutput, StageFailure> {
        retry_if(batch, |payload| payload == "3")
    }
    let router = router(vec![(route("r", 1, Some("out")), stage("1", never))]);
    let (mut out, mut dead) = (subscribe(&router, "out"), subscribe(&router, "$dead.r"));
    assert_eq!(publish(&router, &batch("in.a", [3, 8])).await, COMMITTED);
    let letters = next(&mut dead).await.batch;
    let letter = letters.get(0).expect("one letter");
    assert_eq!(letter.payload(), b"3");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"PLUGIN_RETRY"[..]));
    assert_eq!(letter.headers().get(dead_letter::ATTEMPTS), Some(&b"5"[..]));
    assert_eq!(payloads_of(&mut out, 1).await, ["8"]);
}

#[tokio::test(start_paused = true)]
async fn those_behind_a_message_that_has_but_one_attempt_go_on() {
    fn never(batch: &Batch) -> Result<StageOutput, StageFailure> {
        retry_if(batch, |payload| payload == "3")
    }
    let mut once = route("r", 1, Some("out"));
    once.retry.attempts = 1;
    let router = router(vec![(once, stage("1", never))]);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &batch("in.a", [3, 8, 13])).await, COMMITTED);
    assert_eq!(payloads_of(&mut out, 2).await, ["8", "13"]);
    assert_eq!(metric(&router), 0);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_not_deterministic_gets_a_message_again_on_which_it_failed() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn fails_at_first(batch: &Batch) -> Result<StageOutput, StageFailure> {
        if CALLS.fetch_add(1, Ordering::Relaxed) < 2 { trap(batch) } else { forward(batch) }
    }
    let mut unsteady = stage("1", fails_at_first);
    unsteady.version = Arc::new(Unsteady(unsteady.version));
    let router = router(vec![(route("r", 1, Some("out")), unsteady)]);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &batch("in.a", [1])).await, COMMITTED);
    assert_eq!(payloads_of(&mut out, 1).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_with_as_much_parked_as_it_may_takes_nothing_new_until_there_is_room() {
    static OPEN: AtomicBool = AtomicBool::new(false);
    fn until_open(batch: &Batch) -> Result<StageOutput, StageFailure> {
        retry_if(batch, |_| !OPEN.load(Ordering::Relaxed))
    }
    let mut small = route("r", 1, Some("out"));
    small.retry.parked_messages = 3;
    small.retry.attempts = 1000;
    let router = router(vec![(small, stage("1", until_open))]);
    let mut out = subscribe(&router, "out");
    assert_eq!(publish(&router, &batch("in.a", 0..3)).await, COMMITTED);
    let mut late = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", 3..6)).await }
    });
    let early = tokio::time::timeout(Duration::from_secs(5), &mut late).await;
    assert!(early.is_err(), "the lane is full");
    OPEN.store(true, Ordering::Relaxed);
    assert_eq!(late.await.expect("it ends"), COMMITTED);
    let mut found = payloads_of(&mut out, 6).await;
    found.sort();
    assert_eq!(found, ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_when_the_router_stops_is_a_dead_letter() {
    fn later(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let verdicts = vec![Verdict::Retry(3_600_000); batch.len()];
        Ok(StageOutput { verdicts, emitted: None })
    }
    let router = router(vec![(route("r", 1, Some("out")), stage("1", later))]);
    let mut dead = subscribe(&router, "$dead.r");
    assert_eq!(publish(&router, &batch("in.a", [1, 6])).await, COMMITTED);
    router.drain(BLOCK_MAX).await;
    let mut found = payloads_of(&mut dead, 2).await;
    found.sort();
    assert_eq!(found, ["1", "6"]);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_takes_nothing_keeps_no_other_from_its_end() {
    fn later(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let verdicts = vec![Verdict::Retry(3_600_000); batch.len()];
        Ok(StageOutput { verdicts, emitted: None })
    }
    let mut good = route("good", 1, Some("out"));
    good.source = Pattern::parse("other").expect("a pattern");
    let bad = route("bad", 1, Some("out"));
    let router = router(vec![(good, stage("1", later)), (bad, stage("1", trap))]);
    let mut dead = subscribe(&router, "$dead.good");
    assert_eq!(publish(&router, &batch("other", [1])).await, COMMITTED);
    let stuck: Vec<_> = (0..10)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { publish(&router, &batch("in.a", 0..100)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let drain = tokio::time::timeout(Duration::from_secs(30), router.drain(BLOCK_MAX));
    drain.await.expect_err("one route waits for a plugin that works");
    assert_eq!(payloads_of(&mut dead, 1).await, ["1"], "the other one ended");
    assert!(stuck.iter().all(|publish| !publish.is_finished()), "nobody is told what is not known");
}

/// A version that may answer otherwise when it is asked again.
#[derive(Debug)]
struct Unsteady(Arc<dyn StageVersion>);

impl StageVersion for Unsteady {
    fn run(&self) -> &StageRun {
        self.0.run()
    }

    fn output_limits(&self) -> OutputLimits {
        self.0.output_limits()
    }

    fn is_deterministic(&self) -> bool {
        false
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn StageInstance>, StageFailure>> {
        self.0.instantiate()
    }
}
