//! What `waypost plugin build` does on a machine whose compiler cannot build for Wasm.
//!
//! The toolchain is one of scripts that write down what they are asked for: the real one is not touched.
#![forbid(unsafe_code)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Output};

use tempfile::TempDir;
use waypost_tests::{text, waypost};

const TARGET: &str = "wasm32-unknown-unknown";
const ASKED: &str = "the target wasm32-unknown-unknown is missing: running `rustup target add wasm32-unknown-unknown`";

/// A folder with a crate and a toolchain that has no target.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().expect("a folder"));
        for folder in ["bin", "crate", "sysroot/lib/rustlib"] {
            fs::create_dir_all(machine.path(folder)).expect("the folder takes a folder");
        }
        fs::write(machine.path("crate/Cargo.toml"), "").expect("the folder takes a file");
        let sysroot = machine.path("sysroot");
        machine.program("rustc", &format!("echo '{}'", sysroot.display()));
        // It builds nothing: what counts is whether it is asked to.
        machine.program("cargo", "exit 1");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, does: &str) {
        let (file, asked) = (self.path("bin").join(name), self.path(name));
        let script = format!("#!/bin/sh\necho \"$@\" >> '{}'\n{does}\n", asked.display());
        fs::write(&file, script).expect("the folder takes a file");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&file, executable).expect("it is ours");
    }

    /// What a program was asked for, a line each time.
    fn asked(&self, program: &str) -> Vec<String> {
        let asked = fs::read_to_string(self.path(program)).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn build(&self) -> Output {
        let mut build = waypost(&["plugin", "build"]);
        build.env("PATH", self.path("bin")).current_dir(self.path("crate"));
        build.output().expect("the command starts")
    }
}

#[test]
fn where_rustup_is_missing_or_fails_one_line_says_what_to_install() {
    for rustup in [None, Some("exit 1")] {
        let machine = Machine::new();
        if let Some(does) = rustup {
            machine.program("rustup", does);
        }
        let built = machine.build();
        assert_eq!(built.status.code(), Some(1));
        let said = text(&built.stderr);
        let lines: Vec<&str> = said.lines().collect();
        let [asked, error] = lines.as_slice() else { panic!("{said}") };
        assert_eq!(*asked, ASKED);
        assert!(
            error.contains("install it with `rustup target add wasm32-unknown-unknown`"),
            "{error}"
        );
        assert_eq!(machine.asked("cargo"), [""; 0], "nothing is built");
    }
}

#[test]
fn where_rustup_adds_the_target_the_plugin_is_built_for_it() {
    let machine = Machine::new();
    let lib = machine.path("sysroot/lib/rustlib").join(TARGET).join("lib");
    // It must not need programs: none is on its path.
    machine.program("rustup", "echo 'info: it is there'");
    let said = text(&machine.build().stderr);
    assert_eq!(machine.asked("rustup"), [format!("target add {TARGET}")], "{said}");
    assert!(said.starts_with(ASKED), "{said}");
    let asked = machine.asked("cargo").join(" ");
    assert!(
        asked.contains(&format!("--target {TARGET}")) && !asked.contains("build-std"),
        "{asked}"
    );

    // The next time it is there, and nothing is said or asked.
    fs::create_dir_all(lib).expect("the folder takes a folder");
    let said = text(&machine.build().stderr);
    assert!(!said.contains(TARGET), "{said}");
    assert_eq!(machine.asked("rustup").len(), 1);
    assert_eq!(machine.asked("cargo").len(), 2);
}

#[test]
fn where_there_are_sources_alone_the_standard_library_is_built_with_the_plugin() {
    let machine = Machine::new();
    let std = machine.path("sysroot/lib/rustlib/src/rust/library/std");
    fs::create_dir_all(&std).expect("the folder takes a folder");
    fs::write(std.join("Cargo.toml"), "").expect("the folder takes a file");
    let said = text(&machine.build().stderr);
    assert!(
        said.contains(&format!("building the standard library for {TARGET} from its sources")),
        "{said}"
    );
    let asked = machine.asked("cargo").join(" ");
    assert!(asked.contains("-Z build-std=std,panic_abort"), "{asked}");
}
