//! What is logged of plugins that fail.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;

/// The texts of warnings with how many failures they say were not told.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<(String, u64)>>>);

impl Warnings {
    fn take(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            let mut told = Told::default();
            event.record(&mut told);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((told.text, told.untold));
        }
    }
}

#[derive(Debug, Default)]
struct Told {
    text: String,
    untold: u64,
}

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "untold" {
            self.untold = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_on_a_share_of_all_messages_does_not_flood_the_log() {
    fn trap_at_odd(batch: &Batch) -> Result<StageOutput, StageFailure> {
        let is_odd = |payload: &String| payload.ends_with(['1', '3', '5', '7', '9']);
        if payloads(batch).iter().any(is_odd) { trap(batch) } else { forward(batch) }
    }
    let warnings = Warnings::default();
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
    let router = router(vec![(route("r", 1, None), stage("1", trap_at_odd))]);
    for number in 0..200 {
        assert_eq!(publish(&router, &batch("in.a", [number])).await, COMMITTED);
    }
    let failures = router.0.fanout.metrics.failures_of(["r", "s"]);
    assert!(failures >= 100, "{failures}");
    let told = warnings.take();
    assert_eq!(told, vec![("a plugin failed on a batch".to_owned(), 0); 10]);

    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(publish(&router, &batch("in.a", [0])).await, COMMITTED);
    let told = warnings.take();
    let [(text, untold)] = told.as_slice() else { panic!("one summary: {told:?}") };
    assert_eq!(text, "further failures of the plugin were not told");
    assert!(*untold >= 90, "{untold}");
}
