//! The outbox under any order of events.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Push,
    Transmit,
    Result(prop::sample::Index),
    Lose,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Push),
        3 => Just(Step::Transmit),
        3 => any::<prop::sample::Index>().prop_map(Step::Result),
        1 => Just(Step::Lose),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// Whatever happens, the bounds hold, the sequence has no gap, and every message has exactly one
    /// outcome in the end.
    #[test]
    fn every_message_ends_once_and_nothing_grows_beyond_its_bound(
        steps in steps(), resend_unknown in any::<bool>(), lingers in any::<bool>(),
    ) {
        let linger = if lingers { LINGER } else { Duration::ZERO };
        let mut outbox = outbox(PublisherOptions { linger, resend_unknown, ..options() });
        let (mut now, mut receipts) = (Instant::now(), Vec::new());
        let (mut in_flight, mut next) = (Vec::<(u64, u32)>::new(), 0);
        for step in steps {
            match step {
                Step::Push => receipts.extend(push(&mut outbox, now, 1)),
                Step::Transmit => for (first, count) in transmit(&mut outbox, now) {
                    prop_assert_eq!(first, next);
                    next += u64::from(count);
                    in_flight.push((first, count));
                },
                Step::Result(which) => if !in_flight.is_empty() {
                    let (first, count) = in_flight.remove(which.index(in_flight.len()));
                    settle(&mut outbox, committed(first, count));
                },
                Step::Lose => {
                    for (resolver, outcome) in outbox.handle_lost(&lost()) {
                        resolver.resolve(outcome);
                    }
                    (next, in_flight) = (0, Vec::new());
                    outbox.begin_stream(Limits::default(), &[]);
                }
                Step::Wait => now += LINGER,
            }
            prop_assert!(in_flight.len() <= 2);
        }
        outbox.close();
        while !outbox.is_finished() {
            in_flight.extend(transmit(&mut outbox, now));
            for (first, count) in in_flight.drain(..) {
                settle(&mut outbox, committed(first, count));
            }
        }
        let ends = outcomes(receipts);
        prop_assert!(!ends.contains(&"pending") && !ends.contains(&"rejected"));
        prop_assert!(!resend_unknown || !ends.contains(&"unknown"));
    }
}
