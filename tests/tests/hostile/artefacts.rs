//! Artefacts that no toolchain makes.

use crate::test_guest::{FORWARD, Guest};

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
        (compile_bomb(), &["compile_time", "compile_memory"]),
    ]
}

/// A component of one module of one function, which takes a compiler minutes or gigabytes.
fn compile_bomb() -> Vec<u8> {
    // i32.load (i32.const 0), i32.add
    let add = [0x41, 0, 0x28, 2, 0, 0x6a].repeat(1_000_000);
    let body = [vec![0, 0x20, 0], add, vec![0x0b]].concat();
    let code = [vec![1], leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, vec![1, 0]),
        section(5, vec![1, 0, 1]),
        section(10, code),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module.concat())].concat()
}

fn section(id: u8, content: Vec<u8>) -> Vec<u8> {
    [vec![id], leb(content.len()), content].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
