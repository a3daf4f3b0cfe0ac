//! Guests that say in each message which build of them processed it.

use crate::Guest;

/// A transform that appends this number to every payload, as four bytes in little-endian order.
#[must_use]
pub fn stamping(number: u32) -> Vec<u8> {
    let definitions = DEFINITIONS.replace("NUMBER", &number.to_string());
    Guest { definitions, ..Guest::process("(call $stamp (local.get $batch))") }.artefact()
}

/// The batch record: count at 0; payloads from 72 on: `ends` at 76, `bytes` with their length at 84. The
/// output record: verdicts at 0, `emitted` from 8 on: sources at 12, payloads from 104 on: `changes` at 108,
/// `ends` at 116, `bytes` at 124.
const DEFINITIONS: &str = r#"
    (func (export "cabi_post_process") (param i32)
        (global.set $top (i32.const 4096)))
    (func $stamp (param $batch i32) (result i32)
        (local $count i32) (local $ends i32) (local $bytes i32) (local $length i32)
        (local $output i32) (local $verdict i32) (local $source i32) (local $changes i32)
        (local $end i32) (local $at i32)
        (local $message i32) (local $start i32)
        (local.set $count (i32.load (local.get $batch)))
        (local.set $ends (i32.load offset=76 (local.get $batch)))
        (local.set $bytes (i32.load offset=84 (local.get $batch)))
        (local.set $length (i32.add
            (i32.load offset=88 (local.get $batch)) (i32.shl (local.get $count) (i32.const 2))))
        (local.set $output (call $zeroed (i32.const 132)))
        (local.set $verdict (call $zeroed (i32.shl (local.get $count) (i32.const 4))))
        (local.set $source (call $take (i32.shl (local.get $count) (i32.const 2))))
        (local.set $changes (call $take (local.get $count)))
        ;; Every payload is set.
        (memory.fill (local.get $changes) (i32.const 1) (local.get $count))
        (local.set $end (call $zeroed
            (i32.shl (i32.add (local.get $count) (i32.const 1)) (i32.const 2))))
        (local.set $at (call $take (local.get $length)))
        (i32.store (local.get $output) (local.get $verdict))
        (i32.store offset=4 (local.get $output) (local.get $count))
        (i32.store8 offset=8 (local.get $output) (i32.const 1))
        (i32.store offset=12 (local.get $output) (local.get $source))
        (i32.store offset=16 (local.get $output) (local.get $count))
        (i32.store8 offset=104 (local.get $output) (i32.const 1))
        (i32.store offset=108 (local.get $output) (local.get $changes))
        (i32.store offset=112 (local.get $output) (local.get $count))
        (i32.store offset=116 (local.get $output) (local.get $end))
        (i32.store offset=120 (local.get $output) (i32.add (local.get $count) (i32.const 1)))
        (i32.store offset=124 (local.get $output) (local.get $at))
        (i32.store offset=128 (local.get $output) (local.get $length))
        (loop $next
            ;; Message i's payload is bytes[ends[i]..ends[i + 1]].
            (local.set $start (i32.load (local.get $ends)))
            (local.set $ends (i32.add (local.get $ends) (i32.const 4)))
            (local.set $length (i32.sub (i32.load (local.get $ends)) (local.get $start)))
            (memory.copy (local.get $at)
                (i32.add (local.get $bytes) (local.get $start)) (local.get $length))
            (local.set $at (i32.add (local.get $at) (local.get $length)))
            (i32.store (local.get $at) (i32.const NUMBER))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            ;; emit(1), from the message itself.
            (i32.store8 (local.get $verdict) (i32.const 2))
            (i32.store offset=8 (local.get $verdict) (i32.const 1))
            (local.set $verdict (i32.add (local.get $verdict) (i32.const 16)))
            (i32.store (local.get $source) (local.get $message))
            (local.set $source (i32.add (local.get $source) (i32.const 4)))
            (local.set $message (i32.add (local.get $message) (i32.const 1)))
            (i32.store offset=4 (local.get $end) (i32.add
                (i32.load (local.get $ends)) (i32.shl (local.get $message) (i32.const 2))))
            (local.set $end (i32.add (local.get $end) (i32.const 4)))
            (br_if $next (i32.lt_u (local.get $message) (local.get $count))))
        (local.get $output))
"#;
