//! A short run of what `cargo xtask chaos` runs for long.
#![forbid(unsafe_code)]

use waypost_tests::{
    built, built_guest, built_plugin,
    chaos::{self, ChaosOptions},
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_however_router_producer_and_members_die() {
    let wavering = ("wavering".to_owned(), built_guest("wavering"));
    let transform = ("transform-json".to_owned(), built_plugin("transform-json"));
    let options = ChaosOptions {
        cycles: 20,
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
