//! Letters that come back to the stage that failed.

use waypost_core::{GroupName, GroupPosition, LetterAddress, Trace};
use waypost_storage::{GroupState, GroupStep};

use super::*;

/// What comes back: the messages that these letters hold, and that the letters leave.
fn returned(letters: &Stored, stage: &str, from: Offset) -> Returned {
    let message = |(place, letter): (u64, waypost_protocol::MessageView<'_>)| {
        let address = LetterAddress { partition: partition("dead", 0), offset: Offset(place) };
        let letter = waypost_core::Letter::read(letter).expect("it is a letter");
        ReturnedMessage {
            stage: StageName::parse(stage).expect("a name"),
            trace: Trace::tried_again(letter.source.as_ref().expect("of a stream").1, &address),
            is_letter: false,
            message: letter.message().expect("it is whole"),
        }
    };
    let step = GroupStep {
        group: GroupName::of_letters(),
        source: partition("dead", 0),
        from: None,
        to: Some(GroupState {
            pattern: Pattern::parse("$dead.>").expect("a pattern"),
            position: GroupPosition::at(from),
        }),
    };
    let messages = (letters.base.0..).zip(letters.batch.iter());
    Returned { messages: messages.map(message).collect(), steps: vec![step] }
}

impl Stand {
    /// What is noted of the letters that have left.
    async fn noted(&self) -> Option<GroupPosition> {
        let kept = self.storage.group(GroupName::of_letters()).await.expect("it is readable");
        kept.into_iter().next().map(|kept| kept.state.position)
    }
}

fn name() -> RouteName {
    RouteName::parse("r").expect("a name")
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_is_tried_again_and_committed_with_its_letter() {
    static MENDED: AtomicBool = AtomicBool::new(false);
    fn trap_at_first(batch: &Batch) -> Result<StageOutput, StageFailure> {
        if MENDED.load(Ordering::Relaxed) { forward(batch) } else { trap_at_13(batch) }
    }
    let stand = Stand::of(1).await;
    let router = stand.router(vec![durable("out.a", trap_at_first)]).await;
    stand.put(0..20).await;
    stand.until("out", 19).await;
    stand.until("dead", 1).await;
    let letters = stand.stored("dead", 0).await.remove(0);
    let take_back = async |stage, from| {
        let returned = returned(&letters, stage, Offset(from));
        router.take_back(&name(), &partition("in", 0), returned).await
    };
    let stage = StageName::parse("gone").expect("a name");
    let none = ReturnError::NoStage { route: name(), stage };
    assert_eq!(take_back("gone", 1).await, Err(none));
    assert_eq!(stand.noted().await, None);
    MENDED.store(true, Ordering::Relaxed);
    assert_eq!(take_back("s", 1).await, Ok(()));
    assert_eq!(stand.noted().await, Some(GroupPosition::at(Offset(1))));
    check_once_and_in_order(&sorted(stand.until("out", 20).await), 0..20);
    assert_eq!((stand.parked().await, stand.held("dead").await.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_outlives_the_router_that_took_it() {
    static MENDED: AtomicBool = AtomicBool::new(false);
    fn trap_or_wait(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let verdict = |payload: &[u8]| match payload == b"13" && !MENDED.load(Ordering::Relaxed) {
            true => Verdict::Retry(60_000),
            false => Verdict::Forward,
        };
        let verdicts = batch.iter().map(|message| verdict(message.payload())).collect();
        Ok(StageOutput { verdicts, emitted: None })
    }
    let stand = Stand::of(1).await;
    let router = stand.router(vec![durable("out.a", trap_at_13)]).await;
    stand.put(0..20).await;
    stand.until("out", 19).await;
    stand.until("dead", 1).await;
    drop(router);
    let letters = stand.stored("dead", 0).await.remove(0);
    let router = stand.router(vec![durable("out.a", trap_or_wait)]).await;
    let back = returned(&letters, "s", Offset(1));
    assert_eq!(router.take_back(&name(), &partition("in", 0), back).await, Ok(()));
    assert_eq!(stand.parked().await, 1, "it is stored where it waits");
    drop(router);
    MENDED.store(true, Ordering::Relaxed);
    let router = stand.router(vec![durable("out.a", forward)]).await;
    check_once_and_in_order(&sorted(stand.until("out", 20).await), 0..20);
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_does_not_come_to_it_and_one_that_is_not_there_change_nothing() {
    let stand = Stand::of(1).await;
    let router = stand.router(vec![durable("out.a", trap_at_13)]).await;
    stand.put([13]).await;
    stand.until("dead", 1).await;
    let letters = stand.stored("dead", 0).await.remove(0);
    drop(router);
    let (mut definition, stage) = durable("out.a", trap);
    definition.breaker.failures = 1;
    definition.breaker.open_ms = 3_600_000;
    definition.breaker.max_open_ms = 3_600_000;
    let router = stand.router(vec![(definition, stage)]).await;
    let take_back = async |index| {
        let back = returned(&letters, "s", Offset(1));
        router.take_back(&name(), &partition("in", index), back).await
    };
    let not_read = ReturnError::NotRead { route: name(), partition: partition("in", 1) };
    assert_eq!(take_back(1).await, Err(not_read));
    // The first opens the breaker, the second waits for it in the lane.
    stand.put([1, 2]).await;
    stand.until("dead", 2).await;
    assert_eq!(take_back(0).await, Err(ReturnError::Busy(partition("in", 0))));
    assert_eq!((stand.noted().await, stand.parked().await), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_stores_nothing_takes_nothing_back() {
    let stand = Stand::of(1).await;
    let router = stand.router(vec![durable("out.a", trap_at_13)]).await;
    stand.put([13]).await;
    stand.until("dead", 1).await;
    let letters = stand.stored("dead", 0).await.remove(0);
    stand.put([1]).await;
    stand.storage.set_full(true);
    let stalled = loop {
        match router.takes_back(&name(), &partition("in", 0)) {
            Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => break error,
        }
    };
    let back = || returned(&letters, "s", Offset(1));
    let told = router.take_back(&name(), &partition("in", 0), back()).await;
    assert!(matches!(&told, Err(ReturnError::Stalled { .. })), "{told:?}");
    assert_eq!(told, Err(stalled));
    stand.storage.set_full(false);
    stand.until("out", 1).await;
    assert_eq!((stand.noted().await, stand.parked().await), (None, 0));
}

fn sorted(mut found: Vec<String>) -> Vec<String> {
    found.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    found
}
