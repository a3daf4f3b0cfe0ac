//! Artefacts that no toolchain makes.

use waypost_artefacts::{FORWARD, Guest, long_function};

/// A guest that does this on any batch but the self-test, which has three messages.
pub(crate) fn late(process: &str, definitions: &str) -> Vec<u8> {
    let process = format!(
        "(if (result i32) (i32.eq (local.get $count) (i32.const 3)) (then {FORWARD}) (else {process}))"
    );
    Guest { definitions: definitions.into(), ..Guest::process(&process) }.artefact()
}

/// An artefact that no stage may run.
pub(crate) struct Refused {
    pub(crate) artefact: Vec<u8>,
    /// The kinds of refusal that may be counted for it.
    pub(crate) kinds: &'static [&'static str],
    /// What an operator is told, among other things.
    pub(crate) says: &'static str,
}

/// Artefacts that are refused as the plugin `byte-filter`.
pub(crate) fn refused(good: &[u8], picky: Vec<u8>) -> Vec<Refused> {
    let guest = Guest::default();
    let missing = Guest { process_name: "proceed", ..guest.clone() };
    let open = r#"(import "env" "open" (func $open (param i32)))"#;
    let stranger = Guest { definitions: open.into(), ..guest.clone() };
    let logs =
        "(call $log (i32.const 0) (i32.const 0) (i32.const 0)) (call $answer (local.get $count))";
    let undeclared = Guest { import: "clock", ..Guest::process(logs) }.with_log();
    let now = r#"(import "waypost:plugin/clock@1.0.0" "now" (func $now (result i64)))"#;
    let punctual = "(drop (call $now)) (call $answer (local.get $count))";
    let ungranted = Guest { definitions: now.into(), import: "clock", ..Guest::process(punctual) };
    let trap = Guest { start: "(unreachable)".into(), ..guest };
    let refused = |artefact, kinds, says| Refused { artefact, kinds, says };
    vec![
        refused(b"not wasm at all".to_vec(), &["not_wasm"], "the file is no WebAssembly"),
        refused(
            vec![0; 64 << 20],
            &["too_large"],
            "the artefact has 67108864 bytes, at most 16777216 are allowed; raise artefact_bytes",
        ),
        refused(good[..good.len() / 2].to_vec(), &["invalid"], "not valid WebAssembly"),
        refused(missing.artefact(), &["not_component"], "process"),
        refused(stranger.artefact(), &["import"], ", which the router does not offer"),
        refused(
            undeclared.artefact(),
            &["import"],
            "imports log, which its manifest does not name",
        ),
        refused(
            ungranted.artefact(),
            &["grant"],
            "under [plugins.override.byte-filter] in the configuration: grants = [",
        ),
        refused(trap.artefact(), &["call"], "the plugin failed in its start"),
        refused(
            picky,
            &["configuration"],
            "in stage quick/byte-filter: the plugin refuses its configuration",
        ),
        refused(
            Guest::process("(unreachable)").artefact(),
            &["self_test"],
            "the plugin failed its self-test",
        ),
        refused(
            long_function(1_000_000),
            &["compile_time", "compile_memory"],
            "compiling the artefact took more than",
        ),
    ]
}
