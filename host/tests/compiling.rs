//! Artefacts are compiled by children of the built command, and found where these leave them.
#![forbid(unsafe_code)]

use std::{path::PathBuf, sync::Arc};

use prometheus::Registry;
use waypost::wasm::{
    ChildCompiler, CompileLimits, Compiler, PluginError, Sandbox, SandboxLimits, SandboxMetrics,
};
use waypost_artefacts::{Guest, import_of_env, long_function};

const LIMITS: CompileLimits = CompileLimits { seconds: 60, memory_bytes: 1 << 30 };

/// What a sandbox over children of this program says of an artefact.
fn refusal_of(program: &str, limits: CompileLimits, artefact: &[u8]) -> PluginError {
    let folder = tempfile::tempdir().expect("a folder");
    let compiler = ChildCompiler { program: PathBuf::from(program), limits };
    let compiler = Compiler::Child { compiler, folder: folder.path().join("cache") };
    let metrics = SandboxMetrics::register(&Registry::new()).expect("a new registry");
    let sandbox = Sandbox::new(compiler, Arc::new(metrics)).expect("the engine starts");
    sandbox.compile(artefact, SandboxLimits::default()).expect_err("it is no plugin")
}

fn refusal(limits: CompileLimits, artefact: &[u8]) -> PluginError {
    refusal_of(env!("CARGO_BIN_EXE_waypost"), limits, artefact)
}

#[test]
fn what_a_child_compiled_is_found_in_the_folder() {
    // It compiles and is loaded; what is wrong with it is seen after that.
    let refusal = refusal(LIMITS, &long_function(1));
    assert!(matches!(refusal, PluginError::Contract(_)), "{refusal}");
}

#[test]
fn what_a_child_says_of_an_artefact_is_what_the_router_would_say() {
    assert!(matches!(refusal(LIMITS, b"not wasm at all"), PluginError::NotWasm));
    let mut cut = long_function(100);
    cut.truncate(cut.len() - 5);
    assert!(matches!(refusal(LIMITS, &cut), PluginError::Invalid(_)));
    let stranger = refusal(LIMITS, &import_of_env());
    assert!(matches!(stranger, PluginError::UnknownImport(_)), "{stranger}");
    assert!(stranger.to_string().contains(r#"imports "open" of "env", which"#), "{stranger}");
    let lacking = Guest { process_name: "proceed", ..Guest::default() };
    let lacking = refusal(LIMITS, &lacking.artefact());
    assert!(matches!(lacking, PluginError::NotComponent(_)), "{lacking}");
}

#[test]
fn a_compiler_that_takes_too_long_is_ended_and_the_key_is_named() {
    let refusal = refusal(CompileLimits { seconds: 1, ..LIMITS }, &long_function(1_000_000));
    assert!(matches!(refusal, PluginError::CompileTime { seconds: 1 }), "{refusal}");
    assert!(refusal.to_string().contains("plugins.compile.seconds"));
}

#[test]
fn a_compiler_that_takes_too_much_memory_is_ended_and_the_key_is_named() {
    let limits = CompileLimits { memory_bytes: 256 << 20, ..LIMITS };
    let refusal = refusal(limits, &long_function(1_000_000));
    assert!(matches!(refusal, PluginError::CompileMemory { .. }), "{refusal}");
    assert!(refusal.to_string().contains("plugins.compile.memory_bytes"));
}

#[test]
fn a_compiler_that_does_not_end_is_killed_by_the_clock_on_the_wall() {
    // It writes for ever, and is no compiler.
    let limits = CompileLimits { seconds: 0, ..LIMITS };
    let refusal = refusal_of("/usr/bin/yes", limits, &long_function(1));
    assert!(matches!(refusal, PluginError::CompileWallClock { seconds: 0 }), "{refusal}");
    assert!(refusal.to_string().contains("plugins.compile.seconds"));
    assert!(refusal.is_passing(), "another time the machine may be less busy");
}

#[test]
fn a_compiler_that_does_not_work_is_no_fault_of_the_artefact() {
    for program in ["/bin/false", "/bin/true", "/no/such/program"] {
        let refusal = refusal_of(program, LIMITS, &long_function(1));
        assert!(matches!(refusal, PluginError::Compiler(_)), "{program}: {refusal}");
        assert!(refusal.is_passing());
    }
}
