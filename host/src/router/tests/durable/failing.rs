//! What does not go through: dead letters, breakers, messages that went through too many routes.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_the_route_gives_up_on_is_a_dead_letter_in_its_stream_and_says_where_it_stood() {
    let stand = Stand::usual().await;
    let router = stand.router(vec![durable("out.a", trap_at_13)]).await;
    stand.put(0..20).await;
    let mut through = stand.until("out", 19).await;
    through.push("13".to_owned());
    through.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    assert_eq!(through, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(stand.until("dead", 1).await, ["13"]);
    let mut letters = stand.stored("dead", 0).await;
    letters.extend(stand.stored("dead", 1).await);
    let letter = letters[0].batch.get(0).expect("one letter");
    let header =
        |name| letter.headers().get(name).map(String::from_utf8_lossy).expect("it is there");
    assert_eq!((letter.topic(), &*header(dead_letter::REASON)), ("$dead.r", "PLUGIN_TRAP"));
    assert_eq!((&*header(dead_letter::STREAM), &*header(dead_letter::TOPIC)), ("in", "in.a"));
    let index: u32 = header(dead_letter::PARTITION).parse().expect("a number");
    let offset: u64 = header(dead_letter::OFFSET).parse().expect("a number");
    let stood = &stand.stored("in", index).await[0].batch;
    let stood = stood.get(usize::try_from(offset).expect("few")).expect("it stands there");
    assert_eq!(stood.payload(), b"13");
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn what_is_through_is_stored_although_the_rest_of_its_batch_waits_for_the_breaker() {
    static MENDED: AtomicBool = AtomicBool::new(false);
    fn trap_from_10(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let is_bad = |payload: &[u8]| payload.len() > 1 && !MENDED.load(Ordering::Relaxed);
        match batch.iter().any(|message| is_bad(message.payload())) {
            true => trap(batch),
            false => forward(batch),
        }
    }
    // Lanes share the breaker of their route.
    let stand = Stand::of(1).await;
    let (mut definition, stage) = durable("out.a", trap_from_10);
    definition.breaker.failures = 2;
    definition.breaker.open_ms = 3_600_000;
    definition.breaker.max_open_ms = 3_600_000;
    let routes = vec![(definition, stage)];
    let router = stand.router(routes.clone()).await;
    stand.put(0..100).await;
    stand.until("out", 10).await;
    let told: u64 = stand.progress().await.iter().flatten().sum();
    let dead = stand.held("dead").await.len() as u64;
    assert_eq!(told, 10 + dead, "what is through is told, and nothing else");
    assert!(dead > 0 && told < 100);
    drop(router);
    MENDED.store(true, Ordering::Relaxed);
    let router = stand.router(routes).await;
    let through = stand.until("out", 100 - usize::try_from(dead).expect("few")).await;
    let mut all = [through, stand.held("dead").await].concat();
    all.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    assert_eq!(all, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_circle_over_streams_ends_in_a_dead_letter() {
    let stand = Stand::usual().await;
    let (mut there, stage) = durable("out.a", forward);
    there.name = RouteName::parse("there").expect("a name");
    let back = RouteDefinition {
        name: RouteName::parse("back").expect("a name"),
        source: Pattern::parse("out.>").expect("a pattern"),
        destination: Destination::Topic(Topic::parse("in.a").expect("a topic")),
        ..there.clone()
    };
    let router = stand.router(vec![(there, stage.clone()), (back, stage)]).await;
    stand.put([7]).await;
    assert_eq!(stand.until("dead", 1).await, ["7"]);
    assert_eq!((stand.held("in").await.len(), stand.held("out").await.len()), (9, 8));
    let letters = [stand.stored("dead", 0).await, stand.stored("dead", 1).await].concat();
    let letter = letters[0].batch.get(0).expect("one letter");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"HOP_LIMIT"[..]));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stand.held("dead").await.len(), 1, "it went no further");
    drop(router);
}

#[tokio::test(start_paused = true)]
async fn a_route_over_dead_letters_gets_no_letter_about_a_letter() {
    let stand = Stand::usual().await;
    let first = durable("out.a", reject_all);
    let second = RouteDefinition {
        name: RouteName::parse("second").expect("a name"),
        source: Pattern::parse("$dead.>").expect("a pattern"),
        ..first.0.clone()
    };
    let router = stand.router(vec![first, (second, stage("1", reject_all))]).await;
    stand.put([7]).await;
    stand.until("dead", 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let held = [stand.stored("dead", 0).await, stand.stored("dead", 1).await].concat();
    let topics: Vec<_> = held.iter().filter_map(|each| each.batch.single_topic()).collect();
    assert_eq!(topics, ["$dead.r", "$dead.second"]);
    drop(router);
}

fn reject_all(batch: &Batch) -> Result<StageOutput, StageFailure> {
    let verdicts = vec![Verdict::Reject("no".into()); batch.len()];
    Ok(StageOutput { verdicts, emitted: None })
}
