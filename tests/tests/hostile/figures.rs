//! What ordinary traffic feels of the offenders, as figures: printed, and nothing is asserted of them.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use waypost_client::Client;
use waypost_tests::Router;

use super::{BROKEN, FATAL, MESSAGES, Ordinary, USUAL, p99, payloads, publish, router};

/// The three ways take turns, as what the machine does otherwise meets all of them alike.
const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(5);
/// What has begun is done by then.
const PAUSE: Duration = Duration::from_secs(2);
/// Open breakers try after 1, 3, 7, 15 and 31 seconds, and then after 63.
const SETTLED: Duration = Duration::from_secs(35);

/// Publishes bad messages to a route again and again while it may, as far as the route takes them.
async fn offend(client: Client, route: &'static str, mut may: watch::Receiver<bool>) {
    while may.wait_for(|may| *may).await.is_ok() {
        publish(client.clone(), route.to_owned(), payloads(MESSAGES, |index| index % 7 == 3)).await;
    }
}

/// The p99 of ordinary traffic through a router, in microseconds.
async fn felt(router: &Router) -> f64 {
    let ordinary = Ordinary::start(router).await;
    sleep(TURN).await;
    p99(ordinary.end().await).as_secs_f64() * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures of a quiet machine, and asserts nothing of them"]
async fn ordinary_traffic_is_measured_quiet_beside_open_breakers_and_beside_offenders() {
    let (quiet, _folder) = router(USUAL).await;
    let (beset, _its_folder) = router(USUAL).await;
    let client = beset.client().await.expect("a connection");
    let (broken, always) = watch::channel(true);
    for name in BROKEN.iter().map(|(name, ..)| *name).chain(["sulk"]) {
        tokio::spawn(offend(client.clone(), name, always.clone()));
    }
    let open = async || beset.metric("waypost_stage_breaker_open").await.expect("a series");
    while open().await < (1 + BROKEN.len()) as f64 {
        sleep(Duration::from_millis(20)).await;
    }
    println!("beside breakers that have just opened: p99 {:.0} us", felt(&beset).await);
    sleep(SETTLED).await;
    let (may, at_times) = watch::channel(false);
    for (mode, ..) in FATAL {
        tokio::spawn(offend(client.clone(), mode, at_times.clone()));
    }
    let (mut beside_open, mut beside_offenders) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let [alone, open] = [felt(&quiet).await, felt(&beset).await];
        may.send_replace(true);
        let offended = felt(&beset).await;
        may.send_replace(false);
        sleep(PAUSE).await;
        println!(
            "round {round}: p99 {alone:.0} us, beside open breakers {open:.0}, beside offenders {offended:.0}"
        );
        beside_open.push(open / alone);
        beside_offenders.push(offended / alone);
    }
    let [open, offended] = [beside_open, beside_offenders].map(median);
    println!(
        "medians: beside open breakers {open:.2} of the quiet p99, beside offenders {offended:.2}"
    );
    drop(broken);
}
