//! Dead letters that feed routes.

use super::{circles::publish, *};

#[tokio::test(start_paused = true)]
async fn dead_letters_feed_a_route_that_takes_them_by_name() {
    let routes = vec![
        link("bad", "in.>", Some("out"), trap_at_13),
        link("keep", "$dead.bad", Some("archive"), forward),
    ];
    let router = router(routes);
    let [mut dead, mut archive] =
        ["$dead.bad", "archive"].map(|pattern| subscribe(&router, pattern));
    assert_eq!(publish(&router, &batch("in.a", [12, 13])).await, COMMITTED);
    assert_eq!(payloads_of(&mut dead, 1).await, ["13"]);
    let kept = next(&mut archive).await;
    assert_eq!((kept.envelope.hops, kept.envelope.route.as_deref()), (2, Some("keep")));
    let kept = kept.batch.get(0).expect("one message");
    assert_eq!(kept.headers().get(dead_letter::REASON), Some(&b"PLUGIN_TRAP"[..]));
    let unseen = &router.0.fanout.metrics.dead_letters_unseen;
    assert_eq!(unseen.with_label_values(&["bad"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_fails_on_a_dead_letter_does_not_get_its_own() {
    let routes = vec![
        link("bad", "in.>", Some("out"), trap_at_13),
        link("keep", "$dead.>", Some("archive"), trap_at_13),
    ];
    let router = router(routes);
    let mut dead = subscribe(&router, "$dead.keep");
    assert_eq!(publish(&router, &batch("in.a", [13])).await, COMMITTED);
    let letter = next(&mut dead).await;
    assert_eq!((payloads(&letter.batch), letter.envelope.hops), (vec!["13".to_owned()], 2));
    router.drain(BLOCK_MAX).await;
    assert!(matches!(dead.recv().await, Received::Ended(_)), "there is one letter of it");
    assert_eq!(letters_of(&router, "keep", ErrorCode::PluginTrap), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_published_again_and_fails_again_ends() {
    let routes = vec![
        link("bad", "in.>", Some("out"), trap_at_13),
        link("again", "$dead.bad", Some("in.again"), forward),
    ];
    let router = router(routes);
    let [mut bad, mut again] = ["$dead.bad", "$dead.again"].map(|name| subscribe(&router, name));
    assert_eq!(publish(&router, &batch("in.a", [13])).await, COMMITTED);
    let last = next(&mut again).await.batch;
    let letter = last.get(0).expect("one letter");
    assert_eq!(letter.payload(), b"13");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"HOP_LIMIT"[..]));
    router.drain(BLOCK_MAX).await;
    assert_eq!(payloads_of(&mut bad, 8).await.len(), 8, "it failed each time that it came");
    for each in [&mut bad, &mut again] {
        assert!(matches!(each.recv().await, Received::Ended(_)));
    }
}
