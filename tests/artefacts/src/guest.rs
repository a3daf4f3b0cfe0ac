//! Guests that do what no toolchain would let them do.

/// What a guest is made of; each field is text of the module.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Further imports, and further definitions.
    pub definitions: String,
    /// Runs at instantiation.
    pub start: String,
    /// The name in the manifest.
    pub name: &'static str,
    /// The interface that the manifest's imports name.
    pub import: &'static str,
    /// The bits of the columns that it reads.
    pub reads: u8,
    /// Gives the address of `configure`'s result.
    pub configure: String,
    /// Gives the address of `process`'s result; `$batch` is the address of the batch's record, and
    /// `$count` the number of messages.
    pub process: String,
    /// The name under which `process` is exported.
    pub process_name: &'static str,
}

/// Every message goes on: `count` verdicts that are all zero.
pub const FORWARD: &str = "(call $answer (local.get $count))";

impl Default for Guest {
    fn default() -> Self {
        Self {
            definitions: String::new(),
            start: String::new(),
            name: "guest",
            import: "log",
            reads: 0b0_1000,
            configure: "(call $zeroed (i32.const 16))".into(),
            process: FORWARD.into(),
            process_name: "process",
        }
    }
}

impl Guest {
    /// A guest that answers a batch so.
    #[must_use]
    pub fn process(text: &str) -> Self {
        Self { process: text.into(), ..Self::default() }
    }

    /// The same with the import of `log.write` as `$log`.
    #[must_use]
    pub fn with_log(mut self) -> Self {
        self.definitions += r#"
            (import "waypost:plugin/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
        self
    }

    /// The module with its metadata, as an artefact.
    ///
    /// # Panics
    ///
    /// A field is not what the text format takes.
    #[must_use]
    pub fn artefact(&self) -> Vec<u8> {
        crate::artefact(&self.text())
    }

    fn text(&self) -> String {
        let Self { definitions, start, name, import, reads, configure, process, process_name } =
            self;
        let (name_len, import_len) = (name.len(), import.len());
        format!(
            r#"(module
            {definitions}
            (memory (export "memory") 1)
            (global $top (mut i32) (i32.const 4096))
            (data (i32.const 64) "{name}")
            (data (i32.const 256) "1.0")
            (data (i32.const 320) "{import}")
            (data (i32.const 400) "a reason that is nine times eight bytes")

            ;; Memory that nobody else has, with as many pages as that takes.
            (func $take (param $bytes i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
                (global.set $top (i32.add (local.get $at) (local.get $bytes)))
                (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
                    (then (drop (memory.grow (i32.add
                        (i32.div_u (local.get $bytes) (i32.const 65536)) (i32.const 1))))))
                (local.get $at))
            (func $zeroed (param $bytes i32) (result i32)
                (local $at i32)
                (local.set $at (call $take (local.get $bytes)))
                (memory.fill (local.get $at) (i32.const 0) (local.get $bytes))
                (local.get $at))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (call $take (local.get 3)))
            ;; An output record with so many verdicts, all of them zero, and nothing emitted.
            (func $answer (param $count i32) (result i32)
                (local $at i32)
                (local.set $at (call $zeroed (i32.const 128)))
                (i32.store (local.get $at)
                    (call $zeroed (i32.mul (local.get $count) (i32.const 16))))
                (i32.store offset=4 (local.get $at) (local.get $count))
                (local.get $at))
            (func $start {start})
            (start $start)
            (func (export "manifest") (result i32)
                (local $at i32) (local $list i32)
                (local.set $at (call $zeroed (i32.const 32)))
                (local.set $list (call $zeroed (i32.const 8)))
                (i32.store (local.get $at) (i32.const 64))
                (i32.store offset=4 (local.get $at) (i32.const {name_len}))
                (i32.store offset=8 (local.get $at) (i32.const 256))
                (i32.store offset=12 (local.get $at) (i32.const 3))
                (i32.store8 offset=17 (local.get $at) (i32.const {reads}))
                (i32.store (local.get $list) (i32.const 320))
                (i32.store offset=4 (local.get $list) (i32.const {import_len}))
                (i32.store offset=20 (local.get $at) (local.get $list))
                (i32.store offset=24 (local.get $at) (i32.const 1))
                (i32.store8 offset=28 (local.get $at) (i32.const 1))
                (local.get $at))
            (func (export "configure") (param i32 i32) (result i32)
                {configure})
            (func (export "{process_name}") (param $batch i32) (result i32)
                (local $count i32) (local $at i32)
                (local.set $count (i32.load (local.get $batch)))
                {process})
        )"#
        )
    }
}
