//! Leases that are extended.

use super::*;
use waypost_protocol::frame::Extend;

#[tokio::test(start_paused = true)]
async fn work_that_takes_several_leases_is_given_out_once_while_its_member_extends_it() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a"]).await;
    let mut ann = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    let mut bob = bench.join("mailers", 0).await;
    let lease = Duration::from_millis(first.lease.duration_ms);
    for _ in 0..6 {
        tokio::time::sleep(lease / 2).await;
        assert_eq!(say(&ann, &first, &[], Verb::Extend(Extend { by_ms: None })).await, []);
    }
    let short = Some(first.lease.duration_ms / 4);
    assert_eq!(say(&ann, &first, &[], Verb::Extend(Extend { by_ms: short })).await, []);
    ack(&ann, &first).await;
    let expired = bench.groups.0.metrics.settled.with_label_values(&["mailers", "expired"]);
    assert_eq!(expired.get(), 0);
    bench.store(0, &["b"]).await;
    let second = tokio::select! {
        second = given(&mut ann) => second,
        second = given(&mut bob) => second,
    };
    assert_eq!((texts(&second), second.lease.attempts), (vec!["b".into()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_is_shorter_than_the_lease_ends_it_earlier() {
    let bench = Bench::new(rules()).await;
    bench.store(0, &["a"]).await;
    let mut ann = bench.join("mailers", 0).await;
    let first = given(&mut ann).await;
    let mut bob = bench.join("mailers", 0).await;
    let short = Verb::Extend(Extend { by_ms: Some(1) });
    assert_eq!(say(&ann, &first, &[], short).await, []);
    let again = given(&mut bob).await;
    assert_eq!((texts(&again), again.lease.attempts), (vec!["a".into()], vec![2]));
    let late = say(&ann, &first, &[], Verb::Ack(true)).await;
    assert_eq!(late[0].code, ErrorCode::StaleLease.number());
}
