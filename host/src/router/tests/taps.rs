//! Taps on routes whose plugins are plain functions.

use waypost_core::{Change, ChangeColumn};

use super::*;

fn filter(pattern: &str) -> TapFilter {
    TapFilter {
        pattern: Pattern::parse(pattern).expect("a pattern"),
        route: None,
        per_second: 1000,
        payload_bytes: 64,
    }
}

/// 0 is dropped, 1 emitted on `elsewhere`, 2 rejected, 3 retried; the others are forwarded.
fn one_of_each(batch: &Batch) -> Result<StageOutput, StageFailure> {
    let verdict = |payload: String| match payload.as_str() {
        "0" => Verdict::Drop,
        "1" => Verdict::Emit(1),
        "2" => Verdict::Reject("two".to_owned()),
        "3" => Verdict::Retry(7),
        _ => Verdict::Forward,
    };
    let verdicts: Vec<Verdict> = payloads(batch).into_iter().map(verdict).collect();
    let emits = verdicts.iter().position(|verdict| matches!(verdict, Verdict::Emit(_)));
    let emitted = emits.map(|index| Emitted {
        sources: vec![u32::try_from(index).expect("it is small")],
        topics: Some(ChangeColumn {
            changes: vec![Change::Set],
            ends: vec![0, 9],
            bytes: b"elsewhere".to_vec(),
        }),
        ..Emitted::default()
    });
    Ok(StageOutput { verdicts, emitted })
}

/// Everything is emitted on a topic that would steer a terminal.
fn emit_nowhere(batch: &Batch) -> Result<StageOutput, StageFailure> {
    let topic = b"a\x1b[2J";
    let messages = u32::try_from(batch.len()).expect("they are few");
    let emitted = Emitted {
        sources: (0..messages).collect(),
        topics: Some(ChangeColumn {
            changes: vec![Change::Set; batch.len()],
            ends: (0..=messages).map(|end| end * 5).collect(),
            bytes: topic.repeat(batch.len()),
        }),
        ..Emitted::default()
    };
    Ok(StageOutput { verdicts: vec![Verdict::Emit(1); batch.len()], emitted: Some(emitted) })
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_on_no_topic_is_shown_as_the_reject_that_comes_of_it() {
    let router = router(vec![(route("r", 1, None), stage("1", emit_nowhere))]);
    let mut tap = router.tap(filter("in.*")).expect("there is room");
    assert_eq!(publish(&router, &batch("in.a", [0])).await, COMMITTED);
    let told: Vec<String> = seen(&mut tap).iter().map(told).collect();
    let [_, verdict, dead] = told.as_slice() else { panic!("three sights: {told:?}") };
    assert!(verdict.starts_with(r#"in.a 0: r/s 1 Reject("the plugin gave the topic"#), "{verdict}");
    assert_eq!(dead, r#"in.a 0: r Some("s") BAD_DESTINATION"#);
}

/// What is seen until nothing more is.
fn seen(tap: &mut Tap) -> Vec<Sight> {
    std::iter::from_fn(|| tap.try_next()).collect()
}

fn told(sight: &Sight) -> String {
    let payload = match &sight.payload {
        ShownPayload::Payload(text) => text.clone(),
        ShownPayload::PayloadHex(hex) => format!("0x{hex}"),
    };
    let event = match &sight.event {
        TapEvent::Published { routes, subscriptions } => {
            format!("published to {routes:?} and {subscriptions}")
        }
        TapEvent::Verdict { route, stage, version, verdict } => {
            format!("{route}/{stage} {version} {verdict:?}")
        }
        TapEvent::Dead { route, stage, reason, .. } => format!("{route} {stage:?} {reason}"),
        TapEvent::Left { route, routes, subscriptions } => {
            format!("left {route} to {routes:?} and {subscriptions}")
        }
    };
    format!("{} {payload}: {event}", sight.topic)
}

#[tokio::test(start_paused = true)]
async fn a_tap_shows_each_message_at_each_place_with_what_became_of_it() {
    let router = router(vec![(route("r", 1, None), stage("1.2.0", one_of_each))]);
    let _out = subscribe(&router, "elsewhere");
    let mut tap = router.tap(filter(">")).expect("there is room");
    assert_eq!(publish(&router, &batch("in.a", [0, 1, 2, 3, 8])).await, COMMITTED);
    let told: Vec<String> = seen(&mut tap).iter().map(told).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    in.a 0: published to ["r"] and 0
    in.a 1: published to ["r"] and 0
    in.a 2: published to ["r"] and 0
    in.a 3: published to ["r"] and 0
    in.a 8: published to ["r"] and 0
    in.a 0: r/s 1.2.0 Drop
    in.a 1: r/s 1.2.0 Emit(["elsewhere"])
    in.a 2: r/s 1.2.0 Reject("two")
    in.a 3: r/s 1.2.0 Retry(7)
    in.a 8: r/s 1.2.0 Wait
    in.a 2: r Some("s") PLUGIN_REJECTED
    elsewhere 1: left r to [] and 1
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_tap_shows_only_what_it_asks_for() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    let mut elsewhere = router.tap(filter("other.*")).expect("there is room");
    let only = TapFilter { route: Some("r".to_owned()), payload_bytes: 1, ..filter("in.*") };
    let mut only = router.tap(only).expect("there is room");
    assert_eq!(publish(&router, &batch("in.a", 12..13)).await, COMMITTED);
    assert_eq!(seen(&mut elsewhere), []);
    let sights = seen(&mut only);
    assert_eq!(sights.iter().map(told).collect::<Vec<_>>(), ["in.a 1: r/s 1 Forward"]);
    assert_eq!(sights[0].payload_bytes, 2, "how long it is is told whole");
    assert_eq!(sights[0].key, Some(ShownKey::Key("2".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_tap_that_nobody_reads_holds_nothing_up_and_counts_what_it_passes_over() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", forward))]);
    let all = TapFilter { route: Some("r".to_owned()), per_second: 10_000, ..filter("in.*") };
    let mut tap = router.tap(all).expect("there is room");
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(publish(&router, &batch("in.a", 0..1000)).await, COMMITTED);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    let (shown, passed_over) = (seen(&mut tap).len() as u64, tap.take_passed_over());
    assert_eq!(shown + passed_over, 3000);
    assert!(passed_over > 1000, "{passed_over}");
    assert_eq!(tap.take_passed_over(), 0);
}

#[tokio::test]
async fn so_many_watch_and_no_more() {
    let router = router(Vec::new());
    let mut taps: Vec<Tap> =
        (0..8).map(|_| router.tap(filter(">")).expect("there is room")).collect();
    assert!(router.tap(filter(">")).is_none());
    taps.pop();
    assert!(router.tap(filter(">")).is_some(), "one has gone");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
    let router = router(Vec::new());
    let mut tap = router.tap(TapFilter { payload_bytes: 2, ..filter(">") }).expect("there is room");
    let mut builder = BatchBuilder::new();
    for payload in [b"\xff\x00\x01".as_slice(), "aé".as_bytes(), "éa".as_bytes()] {
        builder.push("a", None, &[], payload, 0).expect("it fits");
    }
    publish(&router, &builder.finish().expect("there are messages")).await;
    let payloads: Vec<ShownPayload> = seen(&mut tap).into_iter().map(|s| s.payload).collect();
    let text = |text: &str| ShownPayload::Payload(text.to_owned());
    assert_eq!(payloads, [ShownPayload::PayloadHex("ff00".to_owned()), text("a"), text("é")]);
}
