//! Each offender alone: what its user is told, while the ordinary route loses nothing.

use serde_json::Value;

use super::*;

/// For what comes of what was done; the router is one process among many.
const PATIENCE: Duration = Duration::from_secs(120);

/// A router and a connection, with an ear for what it gives up on.
struct Stand {
    router: Router,
    client: Client,
    dead: Subscriber,
    _folder: tempfile::TempDir,
}

impl Stand {
    async fn start() -> Self {
        let (router, folder) = router(USUAL).await;
        let client = router.client().await.expect("a connection");
        let dead = subscribe(&client, "$dead.>").await;
        Self { router, client, dead, _folder: folder }
    }

    /// Publishes these to an offender's route beside ordinary traffic, and does what is to be awaited.
    async fn beside_traffic(
        &mut self,
        route: &str,
        payloads: Vec<String>,
        awaits: impl AsyncFnOnce(&mut Self),
    ) {
        let ordinary = Ordinary::start(&self.router).await;
        let publishing = tokio::spawn(publish(self.client.clone(), route.to_owned(), payloads));
        awaits(self).await;
        let delivered = ordinary.end().await.len();
        assert!(delivered > 0, "ordinary traffic flowed beside {route}");
        publishing.abort();
    }

    /// The next so many dead letters are of this route, and the first says what its message did.
    async fn expect_letters(&mut self, route: &str, bad: usize, code: &str, says: &str) {
        for number in 0..bad {
            let letter = self.dead.recv().await.expect("it goes on").expect("without an error");
            assert_eq!(header(&letter, "wp-dlq-route"), route);
            assert!(text(&letter).starts_with("bad"), "{route}: {}", text(&letter));
            assert_eq!(header(&letter, "wp-dlq-reason"), code, "{route}");
            let error = header(&letter, "wp-dlq-error");
            assert!(number > 0 || error.contains(says), "{route}: {error}");
        }
        let failures = format!("waypost_stage_failures_total{{reason=\"{code}\",route=\"{route}\"");
        assert!(series(&self.router, &failures).await >= 1.0, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_fails_on_is_a_dead_letter_that_says_why() {
    let mut stand = Stand::start().await;
    let is_bad = |index| BAD.contains(&index);
    for (mode, code, says) in FATAL {
        let mut output = subscribe(&stand.client, &format!("{mode}.out")).await;
        let good: Vec<String> = payloads(MESSAGES, is_bad)
            .into_iter()
            .filter(|text| text.starts_with("good"))
            .collect();
        let awaits = async |stand: &mut Stand| {
            assert_eq!(take(&mut output, good.len()).await, good, "{mode}");
            stand.expect_letters(mode, BAD.len(), code, says).await;
        };
        stand.beside_traffic(mode, payloads(MESSAGES, is_bad), awaits).await;
    }
    for (name, code, says, _) in BROKEN {
        let awaits = async |stand: &mut Stand| stand.expect_letters(name, 2, code, says).await;
        stand.beside_traffic(name, payloads(2, |_| true), awaits).await;
    }
    stand.router.stop().await.expect("it drains");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_takes_too_much_of_is_counted_and_its_messages_go_on() {
    let mut stand = Stand::start().await;
    for (mode, messages, counter) in [
        ("logs", MESSAGES, "waypost_plugin_log_lines_dropped_total{plugin=\"hostile\""),
        ("leak", LEAKS, "waypost_stage_failures_total{reason=\"PLUGIN_MEMORY\",route=\"leak\""),
    ] {
        let sent = payloads(messages, |index| mode == "leak" || BAD.contains(&index));
        let mut output = subscribe(&stand.client, &format!("{mode}.out")).await;
        let expected = sent.clone();
        let awaits = async |stand: &mut Stand| {
            assert_eq!(take(&mut output, expected.len()).await, expected, "{mode}");
            assert!(series(&stand.router, counter).await >= 1.0, "{mode}");
        };
        stand.beside_traffic(mode, sent, awaits).await;
    }
    // It passes its self-test and traps on everything else: its messages wait for a version that works.
    let awaits = async |stand: &mut Stand| {
        let opened = "waypost_stage_breaker_opened_total{route=\"sulk\"";
        let opens = async {
            while series(&stand.router, opened).await < 1.0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, opens).await.expect("the breaker opens");
        assert!(stand.router.log().contains("sulk"), "{}", stand.router.log());
    };
    stand.beside_traffic("sulk", payloads(MESSAGES, |_| true), awaits).await;
    stand.router.signal("TERM").expect("it runs");
    stand.router.wait().await.expect("it ends although messages wait");
}

/// What an operator is told of the artefact that was refused last, and how it is known.
async fn refusal(router: &Router) -> (String, String) {
    let status = router.admin("/api/v1/plugins").await.expect("the admin server answers");
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    let plugins = status["plugins"].as_array().expect("a list");
    let plugin = plugins.iter().find(|each| each["name"] == "byte-filter").expect("it is there");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&plugin["refused"]["error"]), text(&plugin["digest"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artefact_that_is_refused_is_told_to_the_operator_and_changes_nothing() {
    let _alone = ALONE.lock().await;
    let config = "
        plugins.compile.seconds = 2
        [[route]]
        name = \"quick\"
        from = \"quick.in\"
        to = \"quick.out\"
        [[route.stage]]
        plugin = \"byte-filter\"
    ";
    let plugins = [("byte-filter", built_guest("byte-filter"))];
    let router = Router::start(config, &plugins).await.expect("the router starts");
    let good = router.artefact("byte-filter").expect("it was put there");
    let picky = std::fs::read(built_guest("slow")).expect("it is built");
    let (_, digest) = refusal(&router).await;
    for Refused { artefact, kinds, says } in refused(&good, picky) {
        let ordinary = Ordinary::start(&router).await;
        let (before, _) = refusal(&router).await;
        router.put("byte-filter", &artefact).expect("it is written");
        let is_told = async {
            loop {
                let (told, runs) = refusal(&router).await;
                if told != before {
                    break (told, runs);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let is_told = tokio::time::timeout(PATIENCE, is_told).await;
        let (told, runs) = is_told.unwrap_or_else(|_| panic!("{kinds:?} is not refused"));
        assert!(told.contains(says), "{kinds:?}: {told}");
        assert_eq!(runs, digest, "{kinds:?}");
        assert!(!ordinary.end().await.is_empty(), "{kinds:?}");
    }
    let refused = router.log().matches("an artefact was refused; what ran goes on").count();
    assert!(refused >= 11, "each is in the log:\n{}", router.log());
    router.stop().await.expect("it drains");
}
