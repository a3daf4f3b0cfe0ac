//! Groups over memory topics.

use super::*;
use crate::router::Origin;
use waypost_protocol::ConnectionId;

async fn publish(bench: &Bench, topic: &str, payloads: &[&str]) {
    let origin = Origin { connection: ConnectionId(9) };
    let published = bench.router.publish(origin, &batch(topic, payloads)).await;
    published.expect("it is taken").outcome().await;
}

#[tokio::test(start_paused = true)]
async fn members_share_what_is_published_while_they_are_there() {
    let bench = Bench::new(GroupRules { dead_letter: None, ..rules() }).await;
    let join = |name| join(name, "work.>", 1);
    let mut ann = bench.joined(join("workers")).await.expect("it is let in");
    let mut bob = bench.joined(join("workers")).await.expect("it is let in");
    let mut other = bench.joined(join("others")).await.expect("it is let in");
    publish(&bench, "work.a", &["1", "2", "3"]).await;
    let (first, second) = (given(&mut ann).await, given(&mut bob).await);
    assert_eq!((texts(&first), texts(&second)), (vec!["1".into()], vec!["2".into()]));
    ack(&bob, &second).await;
    let third = given(&mut bob).await;
    assert_eq!(texts(&third), ["3"]);
    assert_eq!(texts(&given(&mut other).await), ["1"], "each group gets everything");
    drop(ann);
    ack(&bob, &third).await;
    let again = given(&mut bob).await;
    assert_eq!((texts(&again), again.lease.attempts.clone()), (vec!["1".into()], vec![2]));
    assert_eq!(again.delivery.envelope.base_offset, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_group_has_waits_a_while_for_its_next_member() {
    let bench = Bench::new(GroupRules { dead_letter: None, ..rules() }).await;
    let mut ann = bench.joined(join("workers", "work.>", 0)).await.expect("it is let in");
    publish(&bench, "work.a", &["1"]).await;
    given(&mut ann).await;
    ann.leave();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut bob = bench.joined(join("workers", "work.>", 0)).await.expect("it is let in");
    assert_eq!(texts(&given(&mut bob).await), ["1"]);
    bob.leave();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let other = bench.joined(join("workers", "work.*", 0)).await;
    assert!(other.is_ok(), "nothing is left of it, so that it may take another pattern");
}

#[tokio::test(start_paused = true)]
async fn a_group_over_memory_topics_has_its_letters_in_a_stream_or_on_a_topic() {
    for (topic, in_stream) in [("dead.work", true), ("given-up", false)] {
        let dead_letter = Some(Topic::parse(topic).expect("a topic"));
        let bench = Bench::new(GroupRules { dead_letter, ..rules() }).await;
        let limits = crate::router::QueueLimits { messages: 10, bytes: 1 << 20 };
        let pattern = Pattern::parse("given-up").expect("a pattern");
        let mut listener = bench.router.subscribe(ConnectionId(8), &pattern, limits);
        let mut ann = bench.joined(join("workers", "work.>", 0)).await.expect("it is let in");
        publish(&bench, "work.a", &["1"]).await;
        let delivery = given(&mut ann).await;
        let reject = Verb::Reject(Reject { reason: "no".to_owned() });
        assert_eq!(say(&ann, &delivery, &[], reject).await, []);
        if in_stream {
            assert_eq!(bench.dead_letters().await.len(), 1);
        } else {
            let received = listener.recv().await;
            let crate::router::Received::Delivery(delivery) = received else {
                panic!("it was to be delivered: {received:?}");
            };
            let letter = delivery.batch.get(0).expect("one letter");
            assert_eq!(letter.headers().get(dead_letter::GROUP), Some(&b"workers"[..]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn letters_that_nobody_takes_any_more_hold_up_no_stop() {
    let dead_letter = Some(Topic::parse("given-up").expect("a topic"));
    let bench = Bench::new(GroupRules { dead_letter, ..rules() }).await;
    let mut ann = bench.joined(join("workers", "work.>", 0)).await.expect("it is let in");
    publish(&bench, "work.a", &["1"]).await;
    let delivery = given(&mut ann).await;
    bench.router.clone().drain(Duration::ZERO).await;
    let reject = Verb::Reject(Reject { reason: "no".to_owned() });
    let settles = vec![Settle { lease: delivery.lease.id, ranges: vec![], verb: Some(reject) }];
    // Whether it is answered before the group ends does not matter.
    drop(ann.settle(Acknowledge { request: None, settles }).await);
    let closing = tokio::time::timeout(Duration::from_secs(30), bench.groups.clone().close());
    closing.await.expect("it tries no more");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_a_group_that_ended_a_while_ago() {
    let bench = Bench::new(GroupRules { dead_letter: None, ..rules() }).await;
    let mut ann = bench.joined(join("workers", "work.>", 0)).await.expect("it is let in");
    publish(&bench, "work.a", &["1", "2"]).await;
    let first = given(&mut ann).await;
    say(&ann, &first, &[0], Verb::Nack(Nack { delay_ms: None })).await;
    say(&ann, &first, &[1], Verb::Reject(Reject { reason: String::new() })).await;
    given(&mut ann).await;
    ann.leave();
    let metrics = &bench.groups.0.metrics;
    let series = || {
        let collect = |collector: &dyn prometheus::core::Collector| collector.collect();
        let all: [&dyn prometheus::core::Collector; 10] = [
            &metrics.delivered,
            &metrics.redelivered,
            &metrics.settled,
            &metrics.refused,
            &metrics.dead_letters,
            &metrics.lost,
            &metrics.lag,
            &metrics.oldest_seconds,
            &metrics.in_flight,
            &metrics.members,
        ];
        let families = all.into_iter().flat_map(collect);
        families.map(|family| family.get_metric().len()).sum::<usize>()
    };
    assert!(series() > 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(series(), 0);
}
