//! A short run of what `cargo xtask chaos` runs for long.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use waypost_tests::{
    built, built_guest, built_plugin,
    chaos::{self, ChaosOptions, Deaths},
};

async fn check(deaths: Deaths, cycles: u32) {
    let wavering = ("wavering".to_owned(), built_guest("wavering"));
    let transform = ("transform-json".to_owned(), built_plugin("transform-json"));
    let options = ChaosOptions {
        cycles,
        deaths,
        seed: 1,
        router: built("debug/waypost"),
        producer: env!("CARGO_BIN_EXE_waypost-chaos").into(),
        plugins: Vec::from([wavering, transform]),
    };
    let report = chaos::run(&options).await.expect("every part goes on");
    println!("{report:?}");
    assert!(report.is_good(), "{report:?}");
    assert!(report.producer_lives > 1 && report.members_died > 0, "{report:?}");
}

/// What fails beneath a router.
fn faults() -> PathBuf {
    built("debug/libwaypost_faults.so")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_however_router_producer_and_members_die() {
    check(Deaths::Kill, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_when_the_power_is_cut() {
    check(Deaths::PowerCut(faults()), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_when_writes_and_syncs_fail_and_the_router_ends_with_75()
 {
    check(Deaths::Fault(faults()), 18).await;
}
