//! Every promise is kept in the stories of a thousand seeds, and a seed tells one story.
#![forbid(unsafe_code)]

use std::{num::NonZero, thread};

use waypost_sim::{Counts, Report, run, tell};

/// `cargo xtask sim` tells as many as it is asked for.
const SEEDS: u64 = 1000;

/// The stories, shared out over the processors.
fn reports() -> Vec<Report> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let seeds = |first: usize| (0..SEEDS).skip(first).step_by(processors);
        let tellers = (0..processors)
            .map(|first| scope.spawn(move || seeds(first).map(run).collect::<Vec<_>>()));
        let tellers: Vec<_> = tellers.collect();
        tellers.into_iter().flat_map(|teller| teller.join().expect("no story panics")).collect()
    })
}

#[test]
fn every_promise_is_kept_in_a_thousand_stories() {
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    for Report { seed, counts: own, failure } in reports() {
        counts += own;
        failures.extend(failure.map(|failure| format!("seed {seed}, {failure}")));
    }
    assert!(failures.is_empty(), "see `cargo xtask sim --trace SEED`: {failures:#?}");
    let Counts { acknowledged, duplicates, outputs, dead, confirmed, .. } = counts;
    let Counts { replayed, passed, trimmed, crashes, torn, lost, .. } = counts;
    // What never happens would prove nothing.
    for count in [acknowledged, outputs, dead, confirmed] {
        assert!(count > 10 * SEEDS, "{counts:?}");
    }
    for count in [duplicates, replayed, passed, trimmed, crashes, torn, lost] {
        assert!(count > SEEDS / 2, "{counts:?}");
    }
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..20 {
        let (report, story) = tell(seed);
        assert!(!story.is_empty(), "something happens");
        assert_eq!(run(seed), report, "seed {seed}");
        assert_eq!(tell(seed), (report, story), "seed {seed}");
    }
}
