//! What the compiler says of plugins that are written wrongly. Each file of `ui/` is one of them, and the
//! text beside it what it gets to hear: what is wrong, and what to write.
//!
//! The texts are those of the Rust version of CONTRIBUTING.md. `TRYBUILD=overwrite` writes them anew.
#![forbid(unsafe_code)]

#[test]
fn a_mistake_is_told_with_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
