//! The rules of CONTRIBUTING.md and ARCHITECTURE.md that a machine can check, over the manifests and
//! sources as they stand in the repository.
//!
//! Each rule is a pure function from what was read to the breaches it finds, and has a test of its
//! own that feeds it a bad sample. An exception is a line of a table, with its reason.
#![forbid(unsafe_code)]

mod borders;
mod code;
mod form;
mod purity;
mod tree;

use std::sync::LazyLock;

use tree::Tree;

static TREE: LazyLock<Tree> = LazyLock::new(Tree::read);

fn check(breaches: &[String]) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn crates_depend_on_what_they_may_import() {
    check(&borders::manifests(&TREE.manifests));
}

#[test]
fn the_host_imports_the_client_only_in_its_command_line() {
    check(&borders::client_in_host(&TREE.sources));
}

#[test]
fn net_and_wasm_never_import_each_other() {
    check(&borders::net_and_wasm(&TREE.sources));
}

#[test]
fn pure_crates_do_no_io_and_read_no_clock() {
    check(&purity::sources(&TREE.sources));
}

#[test]
fn pure_crates_depend_on_nothing_that_does_io() {
    check(&purity::manifests(&TREE.manifests));
}

#[test]
fn no_channel_is_unbounded() {
    check(&purity::channels(&TREE.sources));
}

#[test]
fn every_crate_root_forbids_unsafe_code() {
    check(&form::unsafe_code(&TREE.sources, form::MAY_BE_UNSAFE));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    check(&form::lengths(&TREE.sources));
}

#[test]
fn every_file_begins_with_its_documentation() {
    check(&form::module_docs(&TREE.sources));
}

#[test]
fn no_text_names_a_place_on_somebodys_machine() {
    check(&form::machine_paths(TREE.sources.iter().chain(&TREE.texts)));
}

#[test]
fn the_tree_was_read_whole() {
    for path in ["protocol/src/lib.rs", "core/src/lib.rs", "host/src/main.rs", "bench/src/main.rs"]
    {
        assert!(TREE.sources.iter().any(|file| file.path == path), "{path} was not read");
    }
    for name in ["waypost", "waypost-protocol", "waypost-protocol-fuzz", "waypost-sdk-macros"] {
        assert!(TREE.manifests.iter().any(|manifest| manifest.name == name), "no crate {name}");
    }
    assert!(TREE.texts.iter().any(|file| file.path == "ARCHITECTURE.md"));
}
