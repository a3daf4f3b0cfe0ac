//! Building the router, the plugins and the test guests.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use waypost_toolchain::TARGET;

use crate::{
    command::{cargo, root, run, target},
    wasm_target,
};

/// Plugins by their names, which are their folders below `plugins/`.
pub(crate) const PLUGINS: [&str; 4] =
    ["filter-json", "route-content", "schema-upcast", "transform-json"];
/// Test guests by their names, which are their folders below `tests/guests/`.
const GUESTS: [&str; 5] = ["byte-filter", "hostile", "key-filter", "slow", "wavering"];

/// Builds the plugins into `target/plugins`, each as `<name>.wasm`, and gives that folder.
pub(crate) fn plugins() -> anyhow::Result<PathBuf> {
    artefacts("waypost-plugin-", &PLUGINS, "plugins")
}

/// Builds the test guests into `target/guests`.
pub(crate) fn guests() -> anyhow::Result<PathBuf> {
    artefacts("waypost-guest-", &GUESTS, "guests")
}

/// Builds the `waypost` command and gives its path.
pub(crate) fn router() -> anyhow::Result<PathBuf> {
    cargo(&["build", "--locked", "--package", "waypost", "--bin", "waypost"])?;
    Ok(target().join("debug/waypost"))
}

/// Builds the library that makes faults beneath a router, and gives its path.
pub(crate) fn faults() -> anyhow::Result<PathBuf> {
    cargo(&["build", "--locked", "--package", "waypost-faults"])?;
    Ok(target().join("debug/libwaypost_faults.so"))
}

fn artefacts(prefix: &str, names: &[&str], folder: &str) -> anyhow::Result<PathBuf> {
    let wasm_target = wasm_target::ensure()?;
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["build", "--locked", "--profile", "plugin"]);
    wasm_target.apply(&mut command);
    for name in names {
        command.arg("--package").arg(format!("{prefix}{name}"));
    }
    run(&mut command)?;
    let built = target().join(TARGET).join("plugin");
    let folder = target().join(folder);
    fs::create_dir_all(&folder)?;
    for name in names {
        let file = built.join(format!("{prefix}{name}.wasm").replace('-', "_"));
        // Cargo writes underscores into the stem alone.
        let place = folder.join(format!("{name}.wasm"));
        fs::copy(&file, &place).with_context(|| format!("{} was not built", file.display()))?;
    }
    Ok(folder)
}
