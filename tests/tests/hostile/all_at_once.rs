//! All offenders at once, again and again, while artefacts come that none may accept.

use futures_util::future::join_all;
use waypost_artefacts::stamping;

use super::*;

/// The offenders' routes, with an ear for what comes of each.
struct Offenders {
    client: Client,
    dead: Subscriber,
    /// Of each offender that goes on, every message that it published, and those that are to come out of it.
    published: BTreeMap<&'static str, (Vec<String>, Vec<String>)>,
    outputs: BTreeMap<&'static str, Subscriber>,
    /// The dead letters of the guest that works on nothing.
    sulked: Vec<String>,
}

impl Offenders {
    async fn new(router: &Router) -> Self {
        let client = router.client().await.expect("a connection");
        let dead = subscribe(&client, "$dead.>").await;
        let is_bad = |index: usize| BAD.contains(&index);
        let all = |is_bad: &dyn Fn(usize) -> bool, count| payloads(count, is_bad);
        let mut published = BTreeMap::new();
        for (mode, ..) in FATAL {
            let sent = all(&is_bad, MESSAGES);
            let good = sent.iter().filter(|text| text.starts_with("good")).cloned().collect();
            published.insert(mode, (sent, good));
        }
        for (mode, sent) in [("logs", all(&is_bad, MESSAGES)), ("leak", all(&|_| true, LEAKS))] {
            published.insert(mode, (sent.clone(), sent));
        }
        for (name, ..) in BROKEN {
            published.insert(name, (all(&|_| true, 2), Vec::new()));
        }
        let mut outputs = BTreeMap::new();
        for mode in published.keys().chain([&"sulk"]) {
            outputs.insert(*mode, subscribe(&client, &format!("{mode}.out")).await);
        }
        Self { client, dead, published, outputs, sulked: Vec::new() }
    }

    /// Every offender that goes on does its harm.
    fn offend(&self) {
        for (route, (sent, _)) in &self.published {
            tokio::spawn(publish(self.client.clone(), (*route).to_owned(), sent.clone()));
        }
    }

    /// Every good message is delivered in order, whatever stood beside it, and every bad one is a dead letter
    /// that says why. Gives the letters by route.
    async fn expect(&mut self) -> BTreeMap<String, Vec<Delivered>> {
        for (route, (_, expected)) in &self.published {
            let output = self.outputs.get_mut(route).expect("it is there");
            assert_eq!(take(output, expected.len()).await, *expected, "{route}");
        }
        let codes = FATAL.iter().map(|(route, code, says)| (*route, *code, *says));
        let codes = codes.chain(BROKEN.iter().map(|(route, code, says, _)| (*route, *code, *says)));
        let codes: Vec<_> = codes.collect();
        let mut letters: BTreeMap<String, Vec<Delivered>> = BTreeMap::new();
        while letters.values().map(Vec::len).sum::<usize>() < 2 * codes.len() {
            let letter = self.dead.recv().await.expect("it goes on").expect("without an error");
            let route = header(&letter, "wp-dlq-route");
            match route.as_str() {
                "sulk" => self.sulked.push(text(&letter)),
                _ => letters.entry(route).or_default().push(letter),
            }
        }
        for (route, code, says) in codes {
            let found = letters.get(route).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(found.len(), 2, "{route}");
            for letter in found {
                assert!(text(letter).starts_with("bad"), "{route}: {}", text(letter));
                assert_eq!(header(letter, "wp-dlq-reason"), code, "{route}");
            }
            let error = header(&found[0], "wp-dlq-error");
            assert!(error.contains(says), "{route}: {error}");
        }
        letters
    }

    /// A version that works is deployed for what works on nothing: what waited drains in order, and each
    /// message came out or was a dead letter.
    async fn mend(&mut self, router: &Router) {
        let fixed = router.deploy("hostile", stamping(FIXED)).await.expect("it is accepted");
        assert_eq!(fixed["swapped"], true);
        let output = self.outputs.get_mut("sulk").expect("it is there");
        let mut drained = Vec::new();
        while drained.len() + self.sulked.len() < SULKED {
            tokio::select! {
                delivered = output.recv() => {
                    let delivered = delivered.expect("it goes on").expect("without an error");
                    let payload = delivered.payload().strip_suffix(&FIXED.to_le_bytes());
                    let payload = payload.expect("the fixed version processed it");
                    drained.push(String::from_utf8_lossy(payload).into_owned());
                }
                letter = self.dead.recv() => {
                    let letter = letter.expect("it goes on").expect("without an error");
                    assert_eq!(header(&letter, "wp-dlq-route"), "sulk");
                    self.sulked.push(text(&letter));
                }
            }
        }
        let mut expected = payloads(SULKED, |_| true);
        expected.retain(|payload| !self.sulked.contains(payload));
        assert_eq!(drained, expected);
        assert!(drained.len() > SULKED / 2, "the breaker tries few of them: {:?}", self.sulked);
    }
}

/// Artefacts that none may accept are handed in all at once for the ordinary route; each is refused for what is
/// wrong with it, and counted so.
async fn refuse_all(router: &Router) {
    let good = router.artefact("byte-filter").expect("it was put there");
    let picky = std::fs::read(built_guest("slow")).expect("it is built");
    let digest = router.digest_of("byte-filter").await.expect("it runs");
    let artefacts = refused(&good, picky);
    let mut expected: BTreeMap<&[&str], f64> = BTreeMap::new();
    for Refused { kinds, .. } in &artefacts {
        *expected.entry(*kinds).or_default() += 1.0;
    }
    let kinds: Vec<_> = expected.keys().copied().collect();
    let before = join_all(kinds.iter().map(|kinds| refusals(router, kinds))).await;

    let handed_in =
        artefacts.iter().map(|each| router.deploy("byte-filter", each.artefact.clone()));
    let answers = join_all(handed_in).await;
    for (answer, Refused { kinds, says, .. }) in answers.into_iter().zip(&artefacts) {
        let error = answer.expect_err("it is refused").to_string();
        assert!(error.contains(says), "{kinds:?}: {error}");
    }
    let after = join_all(kinds.iter().map(|kinds| refusals(router, kinds))).await;
    for ((kinds, before), after) in kinds.iter().zip(before).zip(after) {
        assert_eq!(after - before, expected[kinds], "{kinds:?}:\n{}", router.log());
    }
    assert_eq!(router.digest_of("byte-filter").await.expect("it runs"), digest);
}

/// How many artefacts of the ordinary route's plugin were refused for one of these.
async fn refusals(router: &Router, kinds: &[&str]) -> f64 {
    let counted = kinds.iter().map(async |kind| {
        let labels = format!("kind=\"{kind}\",plugin=\"byte-filter\"");
        series(router, &format!("waypost_plugin_refusals_total{{{labels}}}")).await
    });
    join_all(counted).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_guests_do_the_router_stands_and_ordinary_traffic_goes_on() {
    let _alone = ALONE.lock().await;
    let (router, _folder) = router(NEVER).await;
    let mut offenders = Offenders::new(&router).await;
    let ordinary = Ordinary::start(&router).await;
    let sulk = payloads(SULKED, |_| true);
    tokio::spawn(publish(offenders.client.clone(), "sulk".into(), sulk));
    let mut memory = Vec::new();
    for round in 1..=ROUNDS {
        offenders.offend();
        refuse_all(&router).await;
        let letters = offenders.expect().await;
        let backtrace = header(&letters["panic"][0], "wp-dlq-error");
        assert!(backtrace.contains("harm"), "functions have names: {backtrace}");
        let codes = FATAL.iter().map(|(route, code, _)| (route, code));
        for (route, code) in codes.chain(BROKEN.iter().map(|(route, code, ..)| (route, code))) {
            let failures =
                format!("waypost_stage_failures_total{{reason=\"{code}\",route=\"{route}\"");
            assert!(series(&router, &failures).await >= (2 * round) as f64, "{route}");
        }
        memory.push(router.memory_bytes().expect("it runs"));
    }
    // Each of the other guests stands in a route of its own name; the hostile one is in several.
    let by_plugin = FATAL.iter().map(|(_, code, _)| ("hostile", *code));
    let by_plugin = by_plugin.chain(BROKEN.iter().map(|(name, code, ..)| (*name, *code)));
    for (plugin, code) in by_plugin {
        let offences =
            format!("waypost_plugin_failures_total{{plugin=\"{plugin}\",reason=\"{code}\"");
        let of_stages =
            format!("waypost_stage_failures_total{{reason=\"{code}\",route=\"{plugin}\"");
        let counted = series(&router, &offences).await;
        assert!(counted >= (2 * ROUNDS) as f64, "{plugin} {code}: {counted}");
        if plugin != "hostile" {
            assert_eq!(counted, series(&router, &of_stages).await, "{plugin} {code}");
        }
    }
    let leaked = "waypost_stage_failures_total{reason=\"PLUGIN_MEMORY\",route=\"leak\"";
    assert!(series(&router, leaked).await >= ROUNDS as f64, "the leak met its limit");
    let lines = "waypost_plugin_log_lines_dropped_total{plugin=\"hostile\"";
    assert!(series(&router, lines).await > 0.0);
    let opened = "waypost_stage_breaker_opened_total{route=\"sulk\"";
    assert!(series(&router, opened).await >= 1.0, "its messages wait:\n{}", router.log());
    println!(
        "memory after each round: {:?} MiB",
        memory.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>()
    );
    let most = memory.iter().max().copied().unwrap_or_default();
    assert!(memory[0] < MOST_MEMORY_BYTES, "{memory:?}");
    assert!(most < memory[0] + GROWTH_BYTES, "it grows with each round: {memory:?}");

    offenders.mend(&router).await;
    let waits = ordinary.end().await;
    let given_up = offenders.sulked.len();
    println!("{} ordinary messages, p99 {:?}", waits.len(), p99(waits.clone()));
    println!("of {SULKED} messages that waited, {given_up} became dead letters");
    offenders.client.close().await;
    router.stop().await.expect("it drains, since nothing waits any more");
}
