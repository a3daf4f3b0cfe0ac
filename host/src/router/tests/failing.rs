//! Stages whose plugin fails: who is to blame, who goes on, who waits.

use std::collections::BTreeSet;

use waypost_core::Counts;

use super::*;

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_guilty_message_alone_is_a_dead_letter_and_the_others_keep_their_order() {
    let router = router(vec![(route("r", 1, Some("out")), stage("1", trap_at_13))]);
    let (mut out, mut dead) = (subscribe(&router, "out"), subscribe(&router, "$dead.r"));
    assert_eq!(publish(&router, &batch("in.a", 0..1000)).await, COMMITTED);
    let mut expected = numbers(0..1000);
    expected.remove(13);
    assert_eq!(payloads_of(&mut out, 999).await, expected);
    let letters = next(&mut dead).await;
    assert_eq!(payloads(&letters.batch), ["13"]);
    assert_eq!(letters.envelope.stages[0].version, "1");
    let letter = letters.batch.get(0).expect("one letter");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"PLUGIN_TRAP"[..]));
    assert_eq!(letter.headers().get(dead_letter::TOPIC), Some(&b"in.a"[..]));
    let attempts = letter.headers().get(dead_letter::ATTEMPTS).map(String::from_utf8_lossy);
    let attempts: u32 = attempts.expect("they are told").parse().expect("a number");
    assert!((2..=12).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_names_the_stages_that_it_met_and_no_others() {
    let mut definition = route("r", 1, Some("out"));
    let [first] = definition.stages.as_slice() else { panic!("one stage") };
    let named = |name: &str| StageName::parse(name).expect("a name");
    let stages = ["a", "b", "c"].map(|name| StageDefinition { name: named(name), ..first.clone() });
    definition.stages = stages.to_vec();
    let router = router(vec![(definition, stage("1", forward))]);
    let versions = [("a", forward as Answer), ("b", reject_second), ("c", trap_at_13)];
    for (name, answer) in versions {
        swap(&router, &["r"], &Stage { name: named(name), ..stage(name, answer) });
    }
    let mut dead = subscribe(&router, "$dead.r");
    assert_eq!(publish(&router, &batch("in.a", [11, 12, 13])).await, COMMITTED);
    for (payload, met) in [("12", &["a", "b"][..]), ("13", &["a", "b", "c"])] {
        let letters = next(&mut dead).await;
        assert_eq!(payloads(&letters.batch), [payload]);
        let versions: Vec<&str> =
            letters.envelope.stages.iter().map(|run| run.version.as_str()).collect();
        assert_eq!(versions, met);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_against_the_contract_is_a_failure_of_that_route_alone() {
    let bad = (route("bad", 1, Some("out.bad")), stage("1", nonsense));
    let good = (route("good", 1, Some("out.good")), stage("1", forward));
    let router = router(vec![bad, good]);
    let (mut out, mut dead) = (subscribe(&router, "out.*"), subscribe(&router, "$dead.bad"));
    assert_eq!(publish(&router, &batch("in.a", 0..3)).await, COMMITTED);
    assert_eq!(next(&mut out).await.batch.single_topic(), Some("out.good"));
    let letters = next(&mut dead).await.batch;
    assert_eq!(payloads(&letters), ["0", "1", "2"]);
    let letter = letters.get(0).expect("three letters");
    assert_eq!(letter.headers().get(dead_letter::REASON), Some(&b"PLUGIN_CONTRACT"[..]));
    assert_eq!(COMMITS.get(), 1, "what a call did stands only if its answer is good");
    let metrics = router.plans().metrics();
    let offences = &metrics.plugin_failures;
    assert!(offences.with_label_values(&["p", "PLUGIN_CONTRACT"]).get() >= 2);
    let memory = |route| metrics.stage_memory.with_label_values(&[route, "s"]).get();
    assert_eq!((memory("good"), memory("bad")), (1 << 16, 0), "an instance that failed is dropped");
}

#[tokio::test(start_paused = true)]
async fn while_the_breaker_is_open_messages_wait_and_a_fixed_version_drains_them_in_order() {
    let broken = stage("1", trap);
    let router = router(vec![(route("r", 1, Some("out")), broken.clone())]);
    let (mut out, mut dead) = (subscribe(&router, "out"), subscribe(&router, "$dead.r"));
    let publisher = tokio::spawn({
        let router = router.clone();
        async move {
            for start in 0..4 {
                let outcome =
                    publish(&router, &batch("in.a", start * 100..start * 100 + 100)).await;
                assert_eq!(outcome, COMMITTED);
            }
        }
    });
    // What the route gave up on is seen although the batch that held it waits.
    let mut lost = BTreeSet::new();
    while lost.len() < 5 {
        lost.extend(payloads(&next(&mut dead).await.batch));
    }
    let metrics = &router.0.fanout.metrics;
    let is_open = || metrics.breaker_open.with_label_values(&["r", "s"]).get() == 1;
    assert!(is_open(), "five in a row open it");
    assert_eq!(broken.tally.counts(), Counts { verdicts: 0, failures: 5 });
    let mended = stage("2", forward);
    swap(&router, &["r"], &mended);
    let mut found = Vec::new();
    while found.len() + lost.len() < 400 {
        tokio::select! {
            delivery = next(&mut out) => {
                assert_eq!(delivery.envelope.stages[0].version, "2");
                found.extend(payloads(&delivery.batch));
            }
            delivery = next(&mut dead) => lost.extend(payloads(&delivery.batch)),
        }
    }
    publisher.await.expect("every publish was committed");
    assert!(!is_open());
    assert!(lost.len() < 10, "{lost:?}");
    assert_eq!(mended.tally.counts(), Counts { verdicts: found.len() as u64, failures: 0 });
    let expected: Vec<_> =
        numbers(0..400).into_iter().filter(|each| !lost.contains(each)).collect();
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_recovers_by_itself_is_tried_after_the_wait() {
    use std::sync::atomic::AtomicU32;
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn fails_at_first(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed);
        if calls < 30 { trap(batch) } else { forward(batch) }
    }
    let router = router(vec![(route("r", 1, Some("out")), stage("1", fails_at_first))]);
    let (mut out, _dead) = (subscribe(&router, "out"), subscribe(&router, "$dead.r"));
    let start = tokio::time::Instant::now();
    assert_eq!(publish(&router, &batch("in.a", 0..100)).await, COMMITTED);
    assert!(start.elapsed() >= Duration::from_secs(1), "it waited");
    assert!(!payloads(&next(&mut out).await.batch).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_route_beside_a_stage_that_fails_goes_on() {
    let bad = (route("bad", 1, Some("out.bad")), stage("1", trap));
    let mut other = route("good", 1, Some("out.good"));
    other.source = Pattern::parse("other").expect("a pattern");
    let router = router(vec![bad, (other, stage("1", forward))]);
    let mut out = subscribe(&router, "out.good");
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", 0..100)).await }
    });
    for number in 0..10 {
        assert_eq!(publish(&router, &batch("other", [number])).await, COMMITTED);
    }
    assert_eq!(payloads_of(&mut out, 10).await, numbers(0..10));
    waiting.abort();
}

#[derive(Debug)]
struct NeverStarts(StageRun);

impl StageVersion for NeverStarts {
    fn run(&self) -> &StageRun {
        &self.0
    }

    fn output_limits(&self) -> OutputLimits {
        OutputLimits { max_emitted_per_message: 4 }
    }

    fn is_deterministic(&self) -> bool {
        true
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn StageInstance>, StageFailure>> {
        let failure = StageFailure { code: ErrorCode::PluginMemory, text: "no room".into() };
        Box::pin(async { Err(failure) })
    }
}

#[tokio::test(start_paused = true)]
async fn no_message_is_blamed_for_a_plugin_that_does_not_start() {
    let mut broken = stage("1", forward);
    broken.version = Arc::new(NeverStarts(broken.version.run().clone()));
    let router = router(vec![(route("r", 1, Some("out")), broken)]);
    let mut out = subscribe(&router, "out");
    let publisher = tokio::spawn({
        let router = router.clone();
        async move { publish(&router, &batch("in.a", 0..100)).await }
    });
    let opened = || router.0.fanout.metrics.breaker_opened.with_label_values(&["r", "s"]).get();
    while opened() < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    swap(&router, &["r"], &stage("2", forward));
    assert_eq!(payloads_of(&mut out, 100).await, numbers(0..100));
    assert_eq!(publisher.await.expect("it ends"), COMMITTED);
}
