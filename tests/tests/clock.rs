//! The clock of the router's machine jumps by ten years, forth and back: nothing is given up or given out again for it.
#![forbid(unsafe_code)]

use std::time::Duration;

use waypost_client::{
    Delivery, Epoch, Member, MemberOptions, Message, Outcome, ProducerId, ProducerIdentity,
    Publisher, PublisherOptions,
};
use waypost_tests::{Config, Faults, Router, RouterOptions, built};

/// Far more than any of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const TEN_YEARS: i64 = 10 * 365 * 86_400;

const CONFIG: &str = "
    [storage]
    reserve_bytes = 0
    trim_interval_ms = 10
    [[stream]]
    name = 'orders'
    topics = ['orders.>']
    retention = { max_messages = 1 }
";

async fn publish(publisher: &Publisher, number: u64) {
    let message = Message::new("orders.eu", number.to_string().into_bytes()).key(b"one");
    let outcome = publisher.publish(message).await.expect("it is taken").await;
    let Outcome::Committed { offset: Some(offset), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(offset.0, number, "offsets go on");
}

async fn next(member: &mut Member) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, member.recv()).await.expect("it comes in time");
    next.expect("the member goes on").expect("without an error")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ends_no_lease_and_forgets_no_producer_and_no_message() {
    let options = RouterOptions {
        config: Config::Text(CONFIG.to_owned()),
        faults: Some(Faults::new(built("debug/libwaypost_faults.so"))),
        ..RouterOptions::default()
    };
    let mut router = Router::launch(&built("debug/waypost"), &options).await.expect("it starts");
    let client = router.client().await.expect("a connection");
    let producer = Some(ProducerIdentity { id: ProducerId(3), epoch: Epoch(1) });
    let options = PublisherOptions { producer, ..PublisherOptions::default() };
    let publisher = client.publisher(options).await.expect("a stream");
    let mut member =
        client.join("workers", "orders.>", MemberOptions::default()).await.expect("it is let in");
    for (number, seconds) in (0..).zip([0, TEN_YEARS, -TEN_YEARS, TEN_YEARS, 0]) {
        router.set_clock(seconds).expect("there is a clock");
        publish(&publisher, number).await;
        let held = next(&mut member).await;
        assert_eq!((held.attempt(), held.payload()), (1, number.to_string().as_bytes()));
        // A round of trimming and forgetting by this clock: whatever is older than the newest message goes.
        let trimmed = f64::from(u32::try_from(number).expect("it is small"));
        router.until("waypost_stream_trimmed_messages_total", trimmed).await;
        held.ack_confirmed().await.expect("the lease holds");
    }
    router.restart().await.expect("it starts with any clock");
    publish(&publisher, 5).await;
    let held = next(&mut member).await;
    assert_eq!(held.payload(), b"5", "nothing comes again");
    held.ack_confirmed().await.expect("the lease holds");
    client.close().await;
    router.stop().await.expect("it drains");
}
