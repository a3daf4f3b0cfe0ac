//! Queues, with time that stands still.

use waypost_protocol::BatchBuilder;

use super::*;

const BLOCK_MAX: Duration = Duration::from_secs(5);
const BLOCK: WhenFull = when_full(OnFull::Block);

const fn when_full(on_full: OnFull) -> WhenFull {
    WhenFull { on_full, block_max: BLOCK_MAX, rule: None }
}

/// Whole, and nothing was dropped for it.
fn admitted(messages: usize) -> Admission {
    Admission::Admitted { messages, dropped: Vec::new() }
}

fn delivery(messages: usize) -> Delivery {
    let mut builder = BatchBuilder::new();
    for _ in 0..messages {
        builder.push("a", None, &[], b"x", 0).expect("it fits");
    }
    let batch = builder.finish().expect("there are messages");
    Delivery { batch, envelope: Arc::default() }
}

fn small() -> QueueLimits {
    QueueLimits { messages: 2, bytes: 1 << 20 }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_larger_than_the_queue_is_let_into_an_empty_one() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(3), BLOCK).await, admitted(3));
    assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 3));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_the_sender_until_something_is_taken() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(2), BLOCK).await, admitted(2));
    let waiting = tokio::spawn(async move { sender.admit(delivery(1), BLOCK).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 2));
    assert_eq!(waiting.await.expect("the sender ends"), admitted(1));
    assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_nothing_ends_and_frees_its_senders() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(2), BLOCK).await, admitted(2));
    assert_eq!(sender.admit(delivery(1), BLOCK).await, Admission::Ended);
    assert_eq!(sender.admit(delivery(1), BLOCK).await, Admission::Gone);
    assert!(matches!(receiver.recv().await, Received::Ended(ErrorCode::SlowConsumer)));
}

#[tokio::test(start_paused = true)]
async fn senders_that_wait_together_wait_once() {
    let (sender, _receiver) = queue(small());
    assert_eq!(sender.admit(delivery(2), BLOCK).await, admitted(2));
    let start = Instant::now();
    let late = async {
        tokio::time::sleep(BLOCK_MAX / 2).await;
        sender.admit(delivery(1), BLOCK).await
    };
    let ends = tokio::join!(sender.admit(delivery(1), BLOCK), late);
    assert!(matches!(ends, (Admission::Ended, Admission::Gone | Admission::Ended)), "{ends:?}");
    assert!(start.elapsed() < BLOCK_MAX + BLOCK_MAX / 4, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_gets_something_on_is_not_slow_although_it_takes_no_new_delivery() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(2), BLOCK).await, admitted(2));
    let waiting = tokio::spawn(async move { sender.admit(delivery(1), BLOCK).await });
    for _ in 0..5 {
        tokio::time::sleep(BLOCK_MAX / 2).await;
        receiver.progress();
    }
    assert!(!waiting.is_finished());
    assert!(matches!(receiver.recv().await, Received::Delivery(_)));
    assert_eq!(waiting.await.expect("the sender ends"), admitted(1));
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_what_is_queued_is_still_taken() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(1), BLOCK).await, admitted(1));
    sender.end(ErrorCode::ShuttingDown);
    assert!(matches!(receiver.recv().await, Received::Delivery(_)));
    assert!(matches!(receiver.recv().await, Received::Ended(ErrorCode::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_receiver_frees_a_waiting_sender() {
    let (sender, receiver) = queue(small());
    assert_eq!(sender.admit(delivery(2), BLOCK).await, admitted(2));
    let waiting = tokio::spawn(async move { sender.admit(delivery(1), BLOCK).await });
    tokio::task::yield_now().await;
    drop(receiver);
    assert_eq!(waiting.await.expect("the sender ends"), Admission::Gone);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_dropped_never_waits_and_ends_no_subscription() {
    for on_full in [OnFull::DropNewest, OnFull::DropOldest] {
        let (sender, mut receiver) = queue(small());
        let start = Instant::now();
        let (mut put, mut lost) = (0, 0);
        for _ in 0..10 {
            match sender.admit(delivery(1), when_full(on_full)).await {
                Admission::Admitted { messages, dropped } => {
                    put += messages;
                    lost += dropped.iter().map(|each| each.messages).sum::<usize>();
                }
                other => panic!("it is {other:?}"),
            }
        }
        assert_eq!((start.elapsed(), lost), (Duration::ZERO, 8));
        assert_eq!(put, if on_full == OnFull::DropNewest { 2 } else { 10 });
        for _ in 0..2 {
            assert!(matches!(receiver.recv().await, Received::Delivery(d) if d.batch.len() == 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drops_do_not_hide_from_who_waits_that_nothing_is_taken() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(1), BLOCK).await, admitted(1));
    assert_eq!(sender.admit(delivery(1), when_full(OnFull::DropOldest)).await, admitted(1));
    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.admit(delivery(1), BLOCK).await }
    });
    while !waiting.is_finished() {
        sender.admit(delivery(1), when_full(OnFull::DropOldest)).await;
        tokio::time::sleep(BLOCK_MAX / 10).await;
    }
    assert_eq!(waiting.await.expect("the sender ends"), Admission::Ended);
    assert!(matches!(receiver.recv().await, Received::Ended(ErrorCode::SlowConsumer)));
}

#[tokio::test(start_paused = true)]
async fn who_begins_to_wait_is_not_told_of_a_wait_that_is_over() {
    let (sender, mut receiver) = queue(small());
    assert_eq!(sender.admit(delivery(2), BLOCK).await, admitted(2));
    let short = Duration::from_millis(1);
    let given_up = tokio::time::timeout(short, sender.admit(delivery(1), BLOCK)).await;
    assert!(given_up.is_err(), "nobody took anything");
    assert!(matches!(receiver.recv().await, Received::Delivery(_)));
    tokio::time::sleep(BLOCK_MAX * 2).await;
    sender.admit(delivery(2), when_full(OnFull::DropOldest)).await;
    let start = Instant::now();
    assert_eq!(sender.admit(delivery(1), BLOCK).await, Admission::Ended);
    assert_eq!(start.elapsed(), BLOCK_MAX);
}
