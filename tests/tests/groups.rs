//! Groups: each message goes to one member until it is done, whoever comes, goes, stalls or dies.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use waypost_client::{
    Client, Delivery, ErrorCode, From, Member, MemberOptions, Message, Outcome, Publisher,
    PublisherOptions, SettleError, SubscriberOptions,
};
use waypost_tests::Router;

/// Far more than any of this takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = "
    [storage]
    reserve_bytes = 0
    [[stream]]
    name = 'jobs'
    topics = ['jobs.>']
    partitions = 4
    [[stream]]
    name = 'dead'
    topics = ['$dead.>']
    [groups]
    lease_ms = 1000
    first_ms = 10
    max_ms = 50
    dead_letter = '$dead.jobs'
";

async fn start() -> (Router, Client) {
    let router = Router::start(CONFIG, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    (router, client)
}

async fn join(client: &Client, group: &str, pattern: &str) -> Member {
    let joined = client.join(group, pattern, MemberOptions::default()).await;
    joined.expect("the router lets it in")
}

/// Publishes numbers with a key each, and waits until all are stored.
async fn publish(client: &Client, topic: &str, numbers: std::ops::Range<u32>) {
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    publish_with(&publisher, topic, numbers).await;
    publisher.close().await;
}

async fn publish_with(publisher: &Publisher, topic: &str, numbers: std::ops::Range<u32>) {
    let mut receipts = Vec::new();
    for number in numbers {
        let message = Message::new(topic, number.to_string().into_bytes())
            .key((number % 97).to_be_bytes().to_vec());
        receipts.push(publisher.publish(message).await.expect("it is taken"));
    }
    for receipt in receipts {
        let outcome = receipt.await;
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
}

async fn next(member: &mut Member) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, member.recv()).await.expect("it comes in time");
    next.expect("the member goes on").expect("without an error")
}

fn number(delivery: &Delivery) -> u32 {
    let text = std::str::from_utf8(delivery.payload()).expect("a number");
    text.parse().expect("a number")
}

/// Whatever members were given and acknowledged, by number: how often.
type Done = Arc<Mutex<BTreeMap<u32, u32>>>;

/// Works until it has acknowledged so many, each confirmed, and then leaves in good order.
async fn work(mut member: Member, most: usize, done: Done) {
    for _ in 0..most {
        let delivery = tokio::select! {
            delivery = member.recv() => delivery,
            () = tokio::time::sleep(Duration::from_secs(3)) => break,
        };
        let Some(Ok(delivery)) = delivery else { break };
        let number = number(&delivery);
        if delivery.ack_confirmed().await.is_ok() {
            *done.lock().expect("nobody panics").entry(number).or_default() += 1;
        }
    }
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_each_message_is_acknowledged_once() {
    let (router, client) = start().await;
    let done = Done::default();
    let publishing = publish(&client, "jobs.mail", 0..2000);
    let working = async {
        let mut workers = tokio::task::JoinSet::new();
        for round in 0..12 {
            let member = join(&client, "workers", "jobs.>").await;
            workers.spawn(work(member, 100 + round * 20, done.clone()));
            if round % 3 == 2 {
                workers.join_next().await;
            }
        }
        while workers.join_next().await.is_some() {}
    };
    tokio::join!(publishing, working);
    let last = join(&client, "workers", "jobs.>").await;
    work(last, 2000, done.clone()).await;
    let done = done.lock().expect("nobody panics").clone();
    let missing: Vec<u32> = (0..2000).filter(|number| !done.contains_key(number)).collect();
    let twice: Vec<_> = done.iter().filter(|(_, count)| **count > 1).collect();
    assert_eq!((missing, twice), (vec![], vec![]));
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_loses_nothing_and_gives_out_again_only_what_was_not_acknowledged() {
    let (mut router, client) = start().await;
    publish(&client, "jobs.mail", 0..500).await;
    let mut member = join(&client, "workers", "jobs.>").await;
    let (mut confirmed, mut held) = (BTreeSet::new(), Vec::new());
    for count in 0..300 {
        let delivery = next(&mut member).await;
        let number = number(&delivery);
        if count % 3 == 0 {
            held.push(delivery);
        } else {
            delivery.ack_confirmed().await.expect("it is kept");
            confirmed.insert(number);
        }
    }
    router.restart().await.expect("it starts again");
    let mut after = BTreeSet::new();
    while after.len() < 500 - confirmed.len() {
        let delivery = next(&mut member).await;
        let number = number(&delivery);
        assert!(!confirmed.contains(&number), "what was acknowledged does not come again");
        // What came before the kill and waited here is given out anew.
        if delivery.ack_confirmed().await.is_ok() {
            after.insert(number);
        }
    }
    assert!(held.iter().all(|held| after.contains(&number(held))), "what was not does");
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_acknowledges_loses_what_it_holds_to_another() {
    let (router, client) = start().await;
    let mut idle = join(&client, "workers", "jobs.>").await;
    publish(&client, "jobs.mail", 0..20).await;
    let held = next(&mut idle).await;
    assert_eq!(held.attempt(), 1);
    let other = router.client().await.expect("a connection");
    let done = Done::default();
    work(join(&other, "workers", "jobs.>").await, 20, done.clone()).await;
    assert_eq!(done.lock().expect("nobody panics").len(), 20);
    let late = held.ack_confirmed().await.expect_err("the lease is over");
    let is_stale = |error: &SettleError| matches!(error, SettleError::Refused { code, .. } if *code == ErrorCode::StaleLease);
    assert!(is_stale(&late), "{late}");
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone_that_drops_a_message_without_a_word_is_given_it_again_when_it_waits() {
    let (router, client) = start().await;
    publish(&client, "jobs.mail", 0..1).await;
    let mut member = join(&client, "workers", "jobs.>").await;
    drop(next(&mut member).await);
    let again = next(&mut member).await;
    assert_eq!((number(&again), again.attempt()), (0, 2));
    again.ack_confirmed().await.expect("it is kept");
    member.leave().await;
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_without_a_word_comes_again_while_its_member_goes_on_with_others() {
    let (router, client) = start().await;
    let mut member = join(&client, "workers", "jobs.>").await;
    publish(&client, "jobs.mail", 0..1).await;
    drop(next(&mut member).await);
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let attempt = async {
        for count in 1.. {
            publish_with(&publisher, "jobs.mail", count..count + 1).await;
            let delivery = next(&mut member).await;
            if number(&delivery) == 0 {
                return delivery.attempt();
            }
            delivery.ack();
        }
        unreachable!("it goes on until it comes")
    };
    let attempt = tokio::time::timeout(PATIENCE, attempt).await;
    assert_eq!(attempt.expect("it comes while others do"), 2);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_word_acknowledges_all_of_a_partition_up_to_a_message_and_that_outlives_a_kill() {
    // Nothing comes again by itself meanwhile.
    let config = CONFIG.replace("lease_ms = 1000", "lease_ms = 60000");
    let mut router = Router::start(&config, &[]).await.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let mut member = join(&client, "workers", "jobs.>").await;
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let mut deliveries = Vec::new();
    // One after the other, so that each has a lease of its own.
    for number in 0..10_u8 {
        let message = Message::new("jobs.mail", number.to_string().into_bytes());
        let receipt = publisher.publish(message.key(b"one".to_vec())).await.expect("it is taken");
        assert!(matches!(receipt.await, Outcome::Committed { .. }));
        deliveries.push(next(&mut member).await);
    }
    let seventh = deliveries.remove(6);
    drop(deliveries.remove(2));
    seventh.ack_through_confirmed().await.expect("it is kept");
    router.restart().await.expect("it starts again");
    let mut after = BTreeSet::new();
    while after.len() < 3 {
        let delivery = next(&mut member).await;
        let number = number(&delivery);
        if delivery.ack_confirmed().await.is_ok() {
            after.insert(number);
        }
    }
    assert_eq!(after.into_iter().collect::<Vec<_>>(), [7, 8, 9]);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_or_rejected_comes_again_or_is_a_dead_letter() {
    let (router, client) = start().await;
    publish(&client, "jobs.mail", 0..2).await;
    let mut member = join(&client, "workers", "jobs.>").await;
    let mut attempts = BTreeMap::new();
    for _ in 0..4 {
        let delivery = next(&mut member).await;
        attempts.insert(number(&delivery), delivery.attempt());
        match delivery.attempt() {
            1 => delivery.nack_confirmed(Some(Duration::from_millis(5))).await.expect("it is kept"),
            _ => delivery.reject_confirmed("no such address").await.expect("there is a place"),
        }
    }
    assert_eq!(attempts, BTreeMap::from([(0, 2), (1, 2)]));
    let mut letters = letters(&client).await;
    letters.sort_unstable();
    assert_eq!(letters, [(0, "no such address".to_owned()), (1, "no such address".to_owned())]);
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_with_a_wrong_name_or_another_pattern_is_told_why() {
    let (router, client) = start().await;
    let _member = join(&client, "workers", "jobs.>").await;
    for (group, pattern, expected) in [
        ("workers", "jobs.*", "GROUP_MISMATCH"),
        ("Work ers", "jobs.>", "BAD_GROUP"),
        (&*"w".repeat(65), "jobs.>", "BAD_GROUP"),
        ("undertakers", "$dead.>", "NO_DEAD_LETTERS"),
    ] {
        let refused = client.join(group, pattern, MemberOptions::default()).await;
        let text = refused.expect_err("it is refused").to_string();
        assert!(text.contains(expected), "{group} {pattern}: {text}");
    }
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_messaging_works_on_one_connection_over_streams_and_memory() {
    let (router, client) = start().await;
    for prefix in ["jobs", "memory"] {
        let work = format!("{prefix}.work.>");
        let mut ann = join(&client, &format!("{prefix}-workers"), &work).await;
        let mut bob = join(&client, &format!("{prefix}-workers"), &work).await;
        let mut all = client
            .subscribe(&format!("{prefix}.*.eu"), SubscriberOptions::default())
            .await
            .expect("a pattern");
        publish(&client, &format!("{prefix}.work.eu"), 0..50).await;
        publish(&client, &format!("{prefix}.other.us"), 50..60).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 50 {
            let delivery = tokio::select! {
                delivery = next(&mut ann) => delivery,
                delivery = next(&mut bob) => delivery,
            };
            assert!(seen.insert(number(&delivery)), "each goes to one of them");
            delivery.ack();
        }
        assert_eq!(seen, (0..50).collect());
        for _ in 0..50 {
            let message = tokio::time::timeout(PATIENCE, all.recv()).await.expect("in time");
            let message = message.expect("it goes on").expect("without an error");
            assert_eq!(message.topic(), format!("{prefix}.work.eu"));
        }
    }
    let mut requests =
        client.subscribe("prices.get", SubscriberOptions::default()).await.expect("a pattern");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    let responder = async {
        let request = requests.recv().await.expect("it goes on").expect("without an error");
        drop(publisher.reply(&request, b"4.20").await.expect("it is taken"));
    };
    let asked = client.request(Message::new("prices.get", b"coffee"), PATIENCE);
    let (reply, ()) = tokio::join!(asked, responder);
    assert_eq!(reply.expect("somebody answers").payload(), b"4.20");
    client.close().await;
    router.stop().await.expect("it drains");
}

/// The first two dead letters: the number and the reason of each.
async fn letters(client: &Client) -> Vec<(u32, String)> {
    let options = SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
    let mut subscriber = client.subscribe("$dead.jobs", options).await.expect("a stream has it");
    let mut letters = Vec::new();
    for _ in 0..2 {
        let letter = tokio::time::timeout(PATIENCE, subscriber.recv()).await.expect("in time");
        let letter = letter.expect("it goes on").expect("without an error");
        let reason = letter.headers().get("wp-dlq-error").map(String::from_utf8_lossy);
        let number = String::from_utf8_lossy(letter.payload()).parse().expect("a number");
        letters.push((number, reason.unwrap_or_default().into_owned()));
    }
    letters
}
