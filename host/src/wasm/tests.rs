//! The sandbox against guests of every manner.

mod refusals;

use std::time::Duration;

use waypost_core::{PluginName, StageName, StageOutput, Verdict, fold};
use waypost_protocol::{Batch, BatchBuilder, ErrorCode, Limits};

use waypost_artefacts::{FORWARD, Guest};

use super::*;
use crate::router::stage::{StageFailure, StageVersion};

/// Only batches of this size meet the guest's bad side: the self-test has another.
const BAD_SIZE: usize = 5;

fn sandbox() -> Sandbox {
    let metrics = SandboxMetrics::register(&prometheus::Registry::new()).expect("a new registry");
    Sandbox::new(Compiler::InProcess, std::sync::Arc::new(metrics)).expect("the engine starts")
}

/// What a guest that ends has time for, however busy the machine is: it is ended on the wall clock as well.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an endless one has; long enough for its start and its self-test on a busy machine.
const DEADLINE: Duration = Duration::from_millis(500);
const ENDLESS: &str = "(loop $again (br $again)) (unreachable)";

fn limits() -> SandboxLimits {
    SandboxLimits {
        memory_bytes: 4 << 20,
        deadline: PATIENCE,
        output_bytes: 1 << 20,
        ..SandboxLimits::default()
    }
}

fn policy() -> PluginPolicy {
    PluginPolicy { grants: Interfaces::from([Interface::Log]), limits: limits() }
}

/// For guests that do not end.
fn short_policy() -> PluginPolicy {
    PluginPolicy { limits: SandboxLimits { deadline: DEADLINE, ..limits() }, ..policy() }
}

fn batch(messages: usize) -> Batch {
    let mut builder = BatchBuilder::new();
    for index in 0..messages {
        builder.push("a.b", None, &[], format!("payload {index}").as_bytes(), 7).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

/// What a guest that behaves until it meets a batch of [`BAD_SIZE`] then makes of it.
async fn run(guest: Guest) -> Result<StageOutput, StageFailure> {
    run_under(policy(), guest).await
}

async fn run_under(policy: PluginPolicy, guest: Guest) -> Result<StageOutput, StageFailure> {
    let bad = &guest.process;
    let process = format!(
        "(if (result i32) (i32.eq (local.get $count) (i32.const {BAD_SIZE})) (then {bad}) (else {FORWARD}))"
    );
    // The sandbox must outlive the call: its epoch thread ends the guest's time.
    let sandbox = sandbox();
    let artefact = Guest { process, ..guest }.artefact();
    let artefact = sandbox.compile(&artefact, limits()).expect("it compiles");
    let plugin = PluginName::parse("guest").expect("a name");
    let stage = StageName::parse("stage").expect("a name");
    let version = sandbox.prepare(&artefact, &plugin, &stage, "{}", &policy);
    let version = version.await.expect("it passes its self-test");
    let mut instance = version.instantiate().await.expect("it passed before");
    let good = batch(BAD_SIZE + 1);
    assert_eq!(instance.process(&good).await.expect("a good batch").verdicts.len(), good.len());
    instance.process(&batch(BAD_SIZE)).await
}

async fn check_fails(process: &str, code: ErrorCode, text: &str) {
    let policy = if code == ErrorCode::PluginTimeout { short_policy() } else { policy() };
    let failure = run_under(policy, Guest::process(process)).await;
    let failure = failure.expect_err("the guest misbehaves");
    assert_eq!(failure.code, code, "{process}: {failure}");
    assert!(failure.text.contains(text), "{process}: {failure}");
}

#[tokio::test]
async fn a_guest_that_forwards_gets_its_column_and_keeps_every_message() {
    // It forwards when the payload column is there and names the right length.
    let output = run(Guest::process(
        "(if (i32.or (i32.eqz (i32.load8_u offset=72 (local.get $batch)))
                     (i32.load8_u offset=4 (local.get $batch)))
             (then (unreachable)))
         (call $answer (local.get $count))",
    ))
    .await
    .expect("it answers");
    assert_eq!(output.verdicts, vec![Verdict::Forward; BAD_SIZE]);
}

#[tokio::test]
async fn every_kind_of_verdict_arrives_as_it_was_said() {
    let output = run(Guest::process(
        "(local.set $at (i32.load (call $answer (local.get $count))))
         (i32.store8 offset=16 (local.get $at) (i32.const 1))
         (i32.store8 offset=32 (local.get $at) (i32.const 3))
         (i64.store offset=40 (local.get $at) (i64.const 250))
         (i32.store8 offset=48 (local.get $at) (i32.const 4))
         (i32.store offset=56 (local.get $at) (i32.const 400))
         (i32.store offset=60 (local.get $at) (i32.const 8))
         (i32.store (global.get $top) (local.get $at))
         (i32.store offset=4 (global.get $top) (local.get $count))
         (i32.store offset=8 (global.get $top) (i32.const 0))
         (global.get $top)",
    ))
    .await
    .expect("it answers");
    let expected = [
        Verdict::Forward,
        Verdict::Drop,
        Verdict::Retry(250),
        Verdict::Reject("a reason".into()),
        Verdict::Forward,
    ];
    assert_eq!(output.verdicts, expected);
}

#[tokio::test]
async fn a_guest_that_misbehaves_fails_with_its_kind() {
    for (process, code, text) in [
        ("(unreachable)", ErrorCode::PluginTrap, "unreachable"),
        ("(i32.load (i32.const -1))", ErrorCode::PluginTrap, "out of bounds memory access"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", ErrorCode::PluginTrap, "divide by zero"),
        (ENDLESS, ErrorCode::PluginTimeout, "its deadline is 500 ms"),
        (
            "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
             (unreachable)",
            ErrorCode::PluginMemory,
            "its limit is 4194304",
        ),
        // Verdicts that lie outside the memory, of no known kind, with a reason that is not UTF-8.
        (
            "(local.set $at (call $answer (local.get $count)))
             (i32.store (local.get $at) (i32.const -16))
             (local.get $at)",
            ErrorCode::PluginContract,
            "out of bounds",
        ),
        (
            "(local.set $at (call $answer (local.get $count)))
             (i32.store8 (i32.load (local.get $at)) (i32.const 99))
             (local.get $at)",
            ErrorCode::PluginContract,
            "discriminant",
        ),
        (
            "(local.set $at (call $answer (local.get $count)))
             (i32.store8 (i32.load (local.get $at)) (i32.const 4))
             (i32.store offset=8 (i32.load (local.get $at)) (i32.const 512))
             (i32.store offset=12 (i32.load (local.get $at)) (i32.const 1))
             (i32.store8 (i32.const 512) (i32.const 255))
             (local.get $at)",
            ErrorCode::PluginContract,
            "utf-8",
        ),
        ("(i32.const -4)", ErrorCode::PluginContract, "out of bounds"),
        // Two million verdicts.
        (
            "(local.set $at (call $answer (i32.const 1)))
             (i32.store offset=4 (local.get $at) (i32.const 200000))
             (drop (call $take (i32.const 3200000)))
             (local.get $at)",
            ErrorCode::PluginOutput,
            "output_bytes",
        ),
    ] {
        check_fails(process, code, text).await;
    }
}

#[tokio::test]
async fn deep_recursion_is_a_trap_and_not_the_end_of_the_router() {
    let guest = Guest {
        definitions: "(func $deep (param i32) (result i32)
            (i32.add (call $deep (local.get 0)) (i32.const 1)))"
            .into(),
        ..Guest::process("(call $deep (i32.const 1))")
    };
    let failure = run(guest).await.expect_err("the stack ends");
    assert_eq!(failure.code, ErrorCode::PluginTrap);
    assert!(failure.text.contains("call stack exhausted"), "{failure}");
}

#[tokio::test]
async fn a_table_over_its_limit_is_a_memory_failure() {
    let guest = Guest {
        definitions: "(table $table 1 funcref)".into(),
        ..Guest::process(
            "(drop (table.grow $table (ref.null func) (i32.const 1000000))) (unreachable)",
        )
    };
    let failure = run(guest).await.expect_err("the table is too large");
    assert_eq!(failure.code, ErrorCode::PluginMemory, "{failure}");
}

#[tokio::test]
async fn another_number_of_verdicts_than_messages_breaks_the_contract() {
    let output = run(Guest::process("(call $answer (i32.const 3))")).await.expect("it answers");
    let allowed = waypost_core::OutputLimits { max_emitted_per_message: 1 };
    let error = fold(&batch(BAD_SIZE), &output, allowed, Limits::default());
    let error = error.expect_err("three verdicts for five messages");
    assert_eq!(error.code(), ErrorCode::PluginContract);
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_the_batch_goes_on() {
    let guest = Guest::process(
        "(local.set $at (i32.const 2000))
         (loop $again
             (call $log (i32.const 2) (i32.const 0) (i32.const 4000))
             (local.set $at (i32.sub (local.get $at) (i32.const 1)))
             (br_if $again (local.get $at)))
         (call $answer (local.get $count))",
    );
    let guest = Guest { definitions: String::new(), ..guest }.with_log();
    let output = run(guest).await.expect("it answers");
    assert_eq!(output.verdicts, vec![Verdict::Forward; BAD_SIZE]);
}

#[tokio::test]
async fn a_running_guest_lets_other_tasks_of_its_thread_go_on() {
    // Without yields the loop would keep this test's only thread until its deadline, and the counting
    // task would not have run once.
    let running = run_under(short_policy(), Guest::process(ENDLESS));
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = turns.clone();
    let counting = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    running.await.expect_err("it never ends");
    counting.abort();
    assert!(turns.load(std::sync::atomic::Ordering::Relaxed) > 3);
}

#[tokio::test]
async fn what_is_emitted_without_being_there_breaks_the_contract() {
    // The first verdict promises two messages in place of its own.
    let output = run(Guest::process(
        "(local.set $at (call $answer (local.get $count)))
         (i32.store8 (i32.load (local.get $at)) (i32.const 2))
         (i32.store offset=8 (i32.load (local.get $at)) (i32.const 2))
         (local.get $at)",
    ))
    .await
    .expect("it answers");
    assert_eq!(output.verdicts[0], Verdict::Emit(2));
    let allowed = waypost_core::OutputLimits { max_emitted_per_message: 64 };
    let error = fold(&batch(BAD_SIZE), &output, allowed, Limits::default());
    assert_eq!(error.expect_err("nothing was emitted").code(), ErrorCode::PluginContract);
}
