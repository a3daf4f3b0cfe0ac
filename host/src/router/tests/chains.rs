//! Routes that feed routes.

mod circles;
mod letters;
mod waiting;

use waypost_core::{Change, ChangeColumn};

use super::*;

/// A route with one stage and one lane.
pub(super) fn link(
    name: &str,
    from: &str,
    to: Option<&str>,
    answer: Answer,
) -> (RouteDefinition, Stage) {
    let source = Pattern::parse(from).expect("a pattern");
    (RouteDefinition { source, ..route(name, 1, to) }, stage("1", answer))
}

fn on_lanes(lanes: u16, (definition, stage): (RouteDefinition, Stage)) -> (RouteDefinition, Stage) {
    let lanes = NonZeroU16::new(lanes).expect("not zero");
    (RouteDefinition { lanes, ..definition }, stage)
}

/// Replaces each message by one on each of these topics.
fn to_all(batch: &Batch, topics: &[&str]) -> StageOutput {
    let mut column = ChangeColumn { changes: Vec::new(), ends: vec![0], bytes: Vec::new() };
    let mut sources = Vec::new();
    for source in (0_u32..).take(batch.len()) {
        for topic in topics {
            sources.push(source);
            column.changes.push(Change::Set);
            column.bytes.extend_from_slice(topic.as_bytes());
            column.ends.push(u32::try_from(column.bytes.len()).expect("short texts"));
        }
    }
    let each = u32::try_from(topics.len()).expect("few topics");
    let emitted = Emitted { sources, topics: Some(column), ..Emitted::default() };
    StageOutput { verdicts: vec![Verdict::Emit(each); batch.len()], emitted: Some(emitted) }
}

fn to_a(batch: &Batch) -> Result<StageOutput, StageFailure> {
    Ok(to_all(batch, &["a.in"]))
}

fn to_b(batch: &Batch) -> Result<StageOutput, StageFailure> {
    Ok(to_all(batch, &["b.in"]))
}

fn to_two(batch: &Batch) -> Result<StageOutput, StageFailure> {
    Ok(to_all(batch, &["mid.one", "mid.two"]))
}

fn drop_odd(batch: &Batch) -> Result<StageOutput, StageFailure> {
    let is_odd = |payload: String| payload.parse::<u32>().expect("a number") % 2 == 1;
    let verdict = |payload| if is_odd(payload) { Verdict::Drop } else { Verdict::Forward };
    Ok(StageOutput { verdicts: payloads(batch).into_iter().map(verdict).collect(), emitted: None })
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn letters_of(router: &Router, route: &str, reason: ErrorCode) -> u64 {
    let labels = [route, reason.name()];
    router.0.fanout.metrics.dead_letters.with_label_values(&labels).get()
}

#[tokio::test(start_paused = true)]
async fn what_leaves_a_route_goes_through_the_next_one_in_order() {
    let routes = vec![
        link("a", "in.>", Some("mid"), forward),
        link("b", "mid", Some("late"), forward),
        link("c", "late", Some("out"), forward),
    ];
    let router = router(routes);
    let (mut mid, mut out) = (subscribe(&router, "mid"), subscribe(&router, "out"));
    for start in 0..20 {
        assert_eq!(publish(&router, &batch("in.a", start * 10..start * 10 + 10)).await, COMMITTED);
    }
    assert_eq!(payloads_of(&mut out, 200).await, numbers(0..200));
    assert_eq!(payloads_of(&mut mid, 200).await, numbers(0..200), "subscribers see each step");
}

#[tokio::test(start_paused = true)]
async fn the_envelope_counts_the_routes_and_names_the_last_one_with_its_stages() {
    let (a, b) = (link("a", "in.>", Some("mid"), forward), link("b", "mid", Some("out"), forward));
    let router = router(vec![a, (b.0, stage("2", forward))]);
    let (mut mid, mut out) = (subscribe(&router, "mid"), subscribe(&router, "out"));
    assert_eq!(publish(&router, &batch("in.a", 0..1)).await, COMMITTED);
    let (mid, out) = (next(&mut mid).await.envelope, next(&mut out).await.envelope);
    for (envelope, hops, route, version) in [(&mid, 1, "a", "1"), (&out, 2, "b", "2")] {
        assert_eq!((envelope.hops, envelope.route.as_deref()), (hops, Some(route)));
        let versions: Vec<&str> = envelope.stages.iter().map(|run| &*run.version).collect();
        assert_eq!(versions, [version]);
    }
    assert_eq!(mid.ingest_ms, out.ingest_ms, "it came into the router once");
}

#[tokio::test(start_paused = true)]
async fn verdicts_hold_in_each_route_for_what_comes_there() {
    let routes = vec![
        link("a", "in.>", None, to_two),
        link("b", "mid.>", Some("out.b"), drop_odd),
        link("c", "mid.two", Some("out.c"), reject_second),
    ];
    let router = router(routes);
    let [mut b, mut c, mut dead] =
        ["out.b", "out.c", "$dead.c"].map(|pattern| subscribe(&router, pattern));
    assert_eq!(publish(&router, &batch("in.a", 0..4)).await, COMMITTED);
    assert_eq!(payloads_of(&mut b, 4).await, ["0", "0", "2", "2"]);
    assert_eq!(payloads_of(&mut c, 3).await, ["0", "2", "3"]);
    let letter = next(&mut dead).await;
    assert_eq!((payloads(&letter.batch), letter.envelope.hops), (vec!["1".to_owned()], 2));
}

#[tokio::test(start_paused = true)]
async fn messages_with_one_key_keep_their_order_over_lanes_of_several_routes() {
    let routes = vec![
        on_lanes(3, link("a", "in.>", Some("mid"), forward)),
        on_lanes(4, link("b", "mid", Some("out"), forward)),
    ];
    let router = router(routes);
    let mut out = subscribe(&router, "out");
    for start in 0..50 {
        assert_eq!(publish(&router, &batch("in.a", start * 20..start * 20 + 20)).await, COMMITTED);
    }
    let mut last = [None; 5];
    for payload in payloads_of(&mut out, 1000).await {
        let number: u32 = payload.parse().expect("a number");
        let last = &mut last[number as usize % 5];
        assert!(last.is_none_or(|last| last < number));
        *last = Some(number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_is_answered_when_the_last_route_has_handed_on_what_came_of_it() {
    let routes =
        vec![link("a", "in.>", Some("mid"), forward), link("b", "mid", Some("out"), forward)];
    let router = router(routes);
    let limits = QueueLimits { messages: 1, bytes: 1 << 20 };
    let mut out =
        router.subscribe(ConnectionId(9), &Pattern::parse("out").expect("a pattern"), limits);
    assert_eq!(publish(&router, &batch("in.a", [1])).await, COMMITTED);
    let mut second = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", [2])).await }
    });
    let early = tokio::time::timeout(BLOCK_MAX / 2, &mut second).await;
    assert!(early.is_err(), "what comes of it is in no queue");
    assert_eq!(payloads_of(&mut out, 2).await, ["1", "2"]);
    assert_eq!(second.await.expect("it ends"), COMMITTED);
}
