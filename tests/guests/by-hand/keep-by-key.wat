;; A filter without an SDK: it keeps the messages whose key begins with the byte that its configuration
;; names, { "first": "e" }, and drops the others. README.md says how it is built.
;;
;; Memory: what stands for ever below 1024, then an arena that holds the arguments and the result of one
;; call. The router asks for room by `cabi_realloc` and says by `cabi_post_*` that it has read the result,
;; which empties the arena.
(module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  ;; The byte that a key must begin with.
  (global $first (mut i32) (i32.const 0))

  ;; The manifest record: name, version, role, reads, imports, deterministic.
  (data (i32.const 0)
    "\40\00\00\00" "\0b\00\00\00"       ;; name: 11 bytes at 64
    "\50\00\00\00" "\05\00\00\00"       ;; version: 5 bytes at 80
    "\00"                               ;; role: filter, the first of its enum
    "\02"                               ;; reads: keys, the second of its flags
    "\00\00"
    "\00\00\00\00" "\00\00\00\00"       ;; imports: none
    "\01")                              ;; deterministic: true
  (data (i32.const 64) "keep-by-key")
  (data (i32.const 80) "1.0.0")
  ;; What a configuration begins and ends with, and what is said of another one.
  (data (i32.const 96) "{\"first\":\"")
  (data (i32.const 112) "\"}")
  (data (i32.const 128) "write { first = \"e\" }, one ASCII character")

  ;; Room in the arena, a multiple of 8 from its beginning; a trap when there is none.
  (func $take (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $bytes)))
    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
      (then
        (if (i32.eq
              (memory.grow (i32.add (i32.shr_u (local.get $bytes) (i32.const 16)) (i32.const 1)))
              (i32.const -1))
          (then unreachable))))
    (local.get $at))

  ;; The same with every byte zero.
  (func $zeroed (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at (call $take (local.get $bytes)))
    (memory.fill (local.get $at) (i32.const 0) (local.get $bytes))
    (local.get $at))

  ;; The old place, its size, the alignment, the new size: nothing here grows what it has.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $take (local.get 3)))

  (func $empty (param i32)
    (global.set $top (i32.const 1024)))
  (export "cabi_post_manifest" (func $empty))
  (export "cabi_post_configure" (func $empty))
  (export "cabi_post_process" (func $empty))

  (func (export "manifest") (result i32)
    (i32.const 0))

  ;; Whether so many bytes at two places are the same.
  (func $same (param $left i32) (param $right i32) (param $bytes i32) (result i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $bytes)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
        (br_if $next
          (i32.eq
            (i32.load8_u (i32.add (local.get $left) (local.get $bytes)))
            (i32.load8_u (i32.add (local.get $right) (local.get $bytes)))))
        (return (i32.const 0))))
    (i32.const 1))

  ;; The configuration is JSON as the router writes it, without white space: 10 bytes, the character, 2
  ;; bytes. A character that JSON escapes, or that is longer than a byte, is refused by its length.
  (func (export "configure") (param $text i32) (param $bytes i32) (result i32)
    (local $result i32)
    (local.set $result (call $zeroed (i32.const 12)))
    (if (i32.eq (local.get $bytes) (i32.const 13))
      (then
        (if (i32.and
              (call $same (local.get $text) (i32.const 96) (i32.const 10))
              (call $same
                (i32.add (local.get $text) (i32.const 11)) (i32.const 112) (i32.const 2)))
          (then
            (global.set $first (i32.load8_u offset=10 (local.get $text)))
            ;; result::ok, the first of its variant.
            (return (local.get $result))))))
    ;; result::err with 42 bytes at 128.
    (i32.store8 (local.get $result) (i32.const 1))
    (i32.store offset=4 (local.get $result) (i32.const 128))
    (i32.store offset=8 (local.get $result) (i32.const 42))
    (local.get $result))

  ;; The batch record: count at 0; keys from 24 on, which are there because the manifest reads them:
  ;; `present` at 28, `ends` at 36, `bytes` at 44.
  (func (export "process") (param $batch i32) (result i32)
    (local $count i32) (local $ends i32) (local $keys i32)
    (local $output i32) (local $verdicts i32)
    (local $message i32) (local $start i32) (local $end i32)
    (local.set $count (i32.load (local.get $batch)))
    (local.set $ends (i32.load offset=36 (local.get $batch)))
    (local.set $keys (i32.load offset=44 (local.get $batch)))
    ;; The output record: verdicts at 0, and `emitted` from 8 on, none. A verdict has 16 bytes, of which
    ;; the first is its case: 0 is forward, 1 is drop.
    (local.set $output (call $zeroed (i32.const 132)))
    (local.set $verdicts
      (call $zeroed (i32.shl (local.get $count) (i32.const 4))))
    (i32.store (local.get $output) (local.get $verdicts))
    (i32.store offset=4 (local.get $output) (local.get $count))
    (loop $next
      ;; Message i's key is keys[ends[i]..ends[i + 1]]; a message without one has an empty range.
      (local.set $start (i32.load (local.get $ends)))
      (local.set $ends (i32.add (local.get $ends) (i32.const 4)))
      (local.set $end (i32.load (local.get $ends)))
      (block $kept
        (block $dropped
          (br_if $dropped (i32.eq (local.get $start) (local.get $end)))
          (br_if $kept
            (i32.eq
              (i32.load8_u (i32.add (local.get $keys) (local.get $start)))
              (global.get $first))))
        (i32.store8
          (i32.add (local.get $verdicts) (i32.shl (local.get $message) (i32.const 4)))
          (i32.const 1)))
      (local.set $message (i32.add (local.get $message) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $message) (local.get $count))))
    (local.get $output)))
