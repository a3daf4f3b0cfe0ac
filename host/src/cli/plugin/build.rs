//! `waypost plugin build`: a crate becomes an artefact that a router takes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use wasmparser::{Parser, Payload};
use waypost_core::{PluginName, StageName};
use waypost_toolchain::WasmTarget;

use super::sandbox;
use crate::{
    cli::{
        Failure,
        connection::runtime,
        output::{Format, write_line},
        print::write_out,
        progress::Progress,
    },
    wasm::{Digest, Manifest, PluginPolicy},
};

/// What to build.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Build {
    /// The plugin's crate.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// The folder that the artefact goes into, such as a router's plugin folder, made if it is not there;
    /// target/waypost of the crate, if not said.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to tell what was built: pretty is the artefact's path on standard output, json all of it.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    output: Format,
}

pub(super) fn build(options: &Build) -> Result<(), Failure> {
    // Before the compiler runs, which takes a while.
    if let Some(out) = options.out.as_ref().filter(|out| out.exists() && !out.is_dir()) {
        return Err(anyhow!("{} is no folder; name another with --out", out.display()).into());
    }
    let manifest_file = options.path.join("Cargo.toml");
    if !manifest_file.is_file() {
        return Err(anyhow!(
            "there is no {}; name the plugin's crate with --path, or make one with `waypost plugin new`",
            manifest_file.display()
        )
        .into());
    }
    let target = WasmTarget::ensure(&options.path, |line| eprintln!("{line}"))?;
    let built = cargo_build(&options.path, &manifest_file, target)?;
    let bytes = fs::read(&built).with_context(|| built.display().to_string())?;
    // Cargo draws a line of its own before.
    let trying = options.output == Format::Pretty;
    let trying = trying.then(|| Progress::of_wait("trying the artefact in the sandbox"));
    let Manifest { name, version, role, .. } = inspect(&bytes)?;
    drop(trying);
    let folder = match &options.out {
        Some(out) => out.clone(),
        None => target_folder(&built)?.join("waypost"),
    };
    let place = place(&bytes, &folder, &name)
        .with_context(|| format!("{name}.wasm was not written to {}", folder.display()))?;
    let (digest, has_names) = (Digest::of(&bytes), has_names(&bytes));
    if !has_names {
        eprintln!(
            "it has no names of functions, so the backtrace of a trap says little; set strip = \"debuginfo\" \
             in [profile.release]"
        );
    }
    if options.output == Format::Json {
        return Ok(write_line(&json!({
            "plugin": name,
            "version": version,
            "role": role,
            "artefact": place.to_string_lossy(),
            "bytes": bytes.len(),
            "digest": digest.to_string(),
            "function_names": has_names,
        }))?);
    }
    let kibibytes = bytes.len().div_ceil(1024);
    eprintln!("{name} {version}, a {role}: {kibibytes} KiB, sha256 {digest}");
    Ok(write_out(&format!("{}\n", place.display()))?)
}

/// Builds the crate, and gives the module that cargo says it made of it.
fn cargo_build(folder: &Path, manifest: &Path, target: WasmTarget) -> anyhow::Result<PathBuf> {
    let manifest = fs::canonicalize(manifest)?;
    let mut command = Command::new("cargo");
    // As a module and nothing else: cargo optimises over the borders of crates only where no other crate may
    // link what it makes, and without that the artefact is half as large again.
    command.current_dir(folder).args(["rustc", "--release", "--lib", "--crate-type", "cdylib"]);
    target.apply(&mut command);
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo did not start; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!("the plugin was not built; see what cargo says above");
    }
    let said = String::from_utf8_lossy(&output.stdout);
    module(&said, &manifest)
        .with_context(|| format!("cargo names no module that it built of {}", manifest.display()))
}

/// The module among what cargo says it made of this crate.
fn module(said: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_crate = messages.filter(|message| {
        let path = message.get("manifest_path").and_then(Value::as_str).map(Path::new);
        message.get("reason").is_some_and(|reason| reason == "compiler-artifact")
            && path == Some(manifest)
    });
    let files: Vec<Value> = of_crate
        .filter_map(|message| message.get("filenames")?.as_array().cloned())
        .flatten()
        .collect();
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// The target folder, above the target's name and the profile's.
fn target_folder(built: &Path) -> anyhow::Result<&Path> {
    built.ancestors().nth(3).with_context(|| format!("{} has no target folder", built.display()))
}

/// What the plugin says of itself, once it is known to fit the contract.
fn inspect(bytes: &[u8]) -> Result<Manifest, Failure> {
    let policy = PluginPolicy::default();
    let (plugin, stage) = (PluginName::parse("plugin")?, StageName::parse("build")?);
    let sandbox = sandbox()?;
    let artefact = sandbox.compile(bytes, policy.limits)?;
    Ok(runtime()?.block_on(sandbox.manifest(&artefact, &plugin, &stage, &policy))?)
}

/// Puts the artefact into its folder at once: a router that watches never sees half of it.
fn place(bytes: &[u8], folder: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let place = folder.join(format!("{name}.wasm"));
    let beside = folder.join(format!(".{name}.wasm.{}", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &place));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written.map(|()| place)
}

/// Whether functions have names, which backtraces show.
fn has_names(bytes: &[u8]) -> bool {
    let is_name = |payload: &Payload<'_>| matches!(payload, Payload::CustomSection(section) if section.name() == "name");
    Parser::new(0).parse_all(bytes).filter_map(Result::ok).any(|payload| is_name(&payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_the_crates_own() {
        let said = r#"{"reason":"compiler-artifact","manifest_path":"/b/Cargo.toml","filenames":["/t/b.wasm"]}
a line that is not JSON
{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","filenames":["/t/liba.rlib","/t/a.wasm"]}
{"reason":"build-finished","success":true}"#;
        let of = |manifest: &str| module(said, Path::new(manifest));
        assert_eq!(of("/a/Cargo.toml"), Some(PathBuf::from("/t/a.wasm")));
        assert_eq!(of("/c/Cargo.toml"), None);
    }

    #[test]
    fn the_target_folder_is_above_target_and_profile() {
        let built = Path::new("/t/wasm32-unknown-unknown/release/a.wasm");
        assert_eq!(target_folder(built).ok(), Some(Path::new("/t")));
    }

    #[test]
    fn an_artefact_is_put_in_place_of_the_one_before_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for bytes in [b"first", b"other"] {
            let path = place(bytes, folder.path(), "felt").expect("the folder takes a file");
            assert_eq!(fs::read(path).expect("it is there"), bytes);
        }
        let count = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(count, 1);
    }

    #[test]
    fn a_module_without_names_is_told_from_one_with() {
        let bare = b"\0asm\x01\0\0\0";
        // Section 0, the length of the rest, the section's name with its length, nothing in it.
        let named = [&bare[..], b"\0\x05\x04name"].concat();
        assert!(has_names(&named) && !has_names(bare));
    }
}
