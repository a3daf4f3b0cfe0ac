//! What is to be tried again: it waits in the store, and keeps its attempts and the order of its key.

use std::sync::atomic::AtomicU32;

use super::*;

fn retry_if(batch: &Batch, is_retried: impl Fn(u32) -> bool) -> Result<StageOutput, StageFailure> {
    let verdict = |payload: String| match is_retried(payload.parse().expect("a number")) {
        true => Verdict::Retry(10),
        false => Verdict::Forward,
    };
    Ok(StageOutput { verdicts: payloads(batch).into_iter().map(verdict).collect(), emitted: None })
}

#[tokio::test(start_paused = true)]
async fn parked_messages_and_those_behind_them_outlive_the_router_and_keep_their_order() {
    static OPEN: AtomicBool = AtomicBool::new(false);
    fn until_open(batch: &Batch) -> Result<StageOutput, StageFailure> {
        retry_if(batch, |payload| payload == 3 && !OPEN.load(Ordering::Relaxed))
    }
    let stand = Stand::usual().await;
    let (mut definition, stage) = durable("out.a", until_open);
    definition.retry.attempts = 1000;
    let routes = vec![(definition, stage)];
    let router = stand.router(routes.clone()).await;
    stand.put(0..20).await;
    assert_eq!(stand.until("out", 16).await.len(), 16, "other keys go on");
    assert_eq!(stand.parked().await, 4);
    assert_eq!(stand.progress().await.iter().flatten().sum::<u64>(), 20);
    for round in 0..10_u32 {
        drop(stand.router(routes.clone()).await);
        stand.put(20 + round * 5..25 + round * 5).await;
    }
    let router_again = stand.router(routes.clone()).await;
    assert_eq!(stand.until("out", 56).await.len(), 56);
    drop((router, router_again));
    OPEN.store(true, Ordering::Relaxed);
    let router = stand.router(routes).await;
    check_once_and_in_order(&stand.until("out", 70).await, 0..70);
    assert_eq!(stand.parked().await, 0);
    router.drain(BLOCK_MAX).await;
    assert_eq!(stand.held("out").await.len(), 70);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_kept_over_restarts_and_a_restart_is_none() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    fn never(batch: &Batch) -> Result<StageOutput, StageFailure> {
        TRIES.fetch_add(1, Ordering::Relaxed);
        retry_if(batch, |_| true)
    }
    let stand = Stand::usual().await;
    let (mut definition, stage) = durable("out.a", never);
    definition.retry.attempts = 4;
    definition.retry.first_ms = 0;
    let routes = vec![(definition, stage)];
    stand.put([3]).await;
    for tries in 1..4 {
        let router = stand.router(routes.clone()).await;
        while stand.attempts().await < tries {
            tokio::task::yield_now().await;
        }
        drop(router);
        assert_eq!(TRIES.load(Ordering::Relaxed), tries);
        // What is due is due by the clock on the wall, which no test moves.
        std::thread::sleep(Duration::from_millis(11));
    }
    let router = stand.router(routes).await;
    assert_eq!(stand.until("dead", 1).await, ["3"]);
    assert_eq!((TRIES.load(Ordering::Relaxed), stand.parked().await), (4, 0));
    let letters = [stand.stored("dead", 0).await, stand.stored("dead", 1).await].concat();
    let letter = letters[0].batch.get(0).expect("one letter");
    assert_eq!(letter.headers().get(dead_letter::ATTEMPTS), Some(&b"4"[..]));
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_lane_with_as_much_parked_as_it_may_reads_no_further_and_gives_up_on_nothing() {
    static OPEN: AtomicBool = AtomicBool::new(false);
    fn until_open(batch: &Batch) -> Result<StageOutput, StageFailure> {
        retry_if(batch, |_| !OPEN.load(Ordering::Relaxed))
    }
    let stand = Stand::usual().await;
    let (mut definition, stage) = durable("out.a", until_open);
    definition.retry.attempts = 1000;
    definition.retry.parked_messages = 3;
    let router = stand.router(vec![(definition, stage)]).await;
    for start in 0..20 {
        stand.put(start * 20..start * 20 + 20).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let parked = stand.parked().await;
    assert!((6..=40).contains(&parked), "{parked} are parked");
    OPEN.store(true, Ordering::Relaxed);
    check_once_and_in_order(&stand.until("out", 400).await, 0..400);
    assert_eq!(stand.held("dead").await.len(), 0);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_stops_leaves_what_is_parked_in_the_store() {
    fn later(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let verdicts = vec![Verdict::Retry(3_600_000); batch.len()];
        Ok(StageOutput { verdicts, emitted: None })
    }
    let stand = Stand::usual().await;
    let router = stand.router(vec![durable("out.a", later)]).await;
    stand.put(0..10).await;
    while stand.parked().await < 10 {
        tokio::task::yield_now().await;
    }
    router.drain(BLOCK_MAX).await;
    assert_eq!((stand.parked().await, stand.held("dead").await.len()), (10, 0));
    assert_eq!(router.plans().metrics().parked.with_label_values(&["r"]).get(), 0);
}
