//! Artefacts that no toolchain makes.

use waypost_artefacts::{FORWARD, Guest, long_function};

/// A guest that does this on any batch but the self-test, which has three messages.
pub(crate) fn late(process: &str, definitions: &str) -> Vec<u8> {
    let process = format!(
        "(if (result i32) (i32.eq (local.get $count) (i32.const 3)) (then {FORWARD}) (else {process}))"
    );
    Guest { definitions: definitions.into(), ..Guest::process(&process) }.artefact()
}

/// Artefacts that are refused, each with the kinds of refusal that may be counted for it.
pub(crate) fn refused(good: &[u8], picky: Vec<u8>) -> Vec<(Vec<u8>, &'static [&'static str])> {
    let guest = Guest::default();
    let missing = Guest { process_name: "proceed", ..guest.clone() };
    let open = r#"(import "env" "open" (func $open (param i32)))"#;
    let stranger = Guest { definitions: open.into(), ..guest.clone() };
    let logs =
        "(call $log (i32.const 0) (i32.const 0) (i32.const 0)) (call $answer (local.get $count))";
    let undeclared = Guest { import: "clock", ..Guest::process(logs) }.with_log();
    let trap = Guest { start: "(unreachable)".into(), ..guest };
    vec![
        (b"not wasm at all".to_vec(), &["not_wasm"]),
        (vec![0; 64 << 20], &["too_large"]),
        (good[..good.len() / 2].to_vec(), &["invalid"]),
        (missing.artefact(), &["not_component"]),
        (stranger.artefact(), &["not_component", "import"]),
        (undeclared.artefact(), &["import"]),
        (trap.artefact(), &["call"]),
        (picky, &["configuration"]),
        (Guest::process("(unreachable)").artefact(), &["self_test"]),
        (long_function(1_000_000), &["compile_time", "compile_memory"]),
    ]
}
