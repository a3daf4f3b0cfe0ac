//! What one stage costs a message: columns built, the call into the sandbox, verdicts folded.
//!
//! Run by `cargo bench -p waypost --bench stage` after `cargo xtask test` has built the guests.
#![forbid(unsafe_code)]

use std::{hint::black_box, path::PathBuf, sync::Arc};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use waypost::{
    router::stage::{StageInstance, StageVersion},
    wasm::{Compiler, PluginPolicy, Sandbox, SandboxMetrics},
};
use waypost_core::{OutputLimits, PluginName, StageName, fold};
use waypost_protocol::{Batch, BatchBuilder, HeadersBuilder, Limits};

const MESSAGES: usize = 64;

/// Messages as a publisher makes them: a key, two headers, a payload.
fn batch(payload_bytes: usize) -> Batch {
    let mut headers = HeadersBuilder::new();
    headers.push("content-type", b"application/json").expect("a header");
    headers.push("trace", b"00-4bf92f3577b34da6a3ce929d0e0e4736").expect("a header");
    let payload = vec![b'x'; payload_bytes];
    let mut builder = BatchBuilder::new();
    for index in 0..MESSAGES {
        let key = format!("key-{index}");
        let pushed = builder.push(
            "bench.in",
            Some(key.as_bytes()),
            headers.as_bytes(),
            &payload,
            1_700_000_000_000,
        );
        pushed.expect("it fits");
    }
    builder.finish().expect("there are messages")
}

fn instance(runtime: &Runtime, sandbox: &Sandbox, guest: &str) -> Box<dyn StageInstance> {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../target/guests/{guest}.wasm"));
    let bytes = std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", file.display()));
    let policy = PluginPolicy::default();
    let artefact = sandbox.compile(&bytes, policy.limits).expect("it compiles");
    let plugin = PluginName::parse(guest).expect("a name");
    let stage = StageName::parse("bench").expect("a name");
    runtime
        .block_on(async {
            let version = sandbox.prepare(&artefact, &plugin, &stage, "{}", &policy).await;
            version.expect("it passes its self-test").instantiate().await
        })
        .expect("it starts")
}

fn stage(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metrics = SandboxMetrics::register(&Registry::new()).expect("a new registry");
    let sandbox = Sandbox::new(Compiler::InProcess, Arc::new(metrics)).expect("the engine starts");
    let allowed = OutputLimits { max_emitted_per_message: 1 };
    let mut group = criterion.benchmark_group("stage");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (guest, payload_bytes) in
        [("byte-filter", 128), ("key-filter", 128), ("key-filter", 16 << 10)]
    {
        let mut instance = instance(&runtime, &sandbox, guest);
        let batch = batch(payload_bytes);
        group.bench_function(BenchmarkId::new(guest, payload_bytes), |bencher| {
            bencher.iter(|| {
                let output = runtime.block_on(instance.process(&batch)).expect("it answers");
                let folded = fold(&batch, &output, allowed, Limits::default());
                black_box(folded.expect("within the contract"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stage);
criterion_main!(benches);
