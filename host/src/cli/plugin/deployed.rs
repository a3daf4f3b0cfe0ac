//! What runs in a router, and how that changes: `list`, `deploy`, `rollback`.

use std::{fmt::Write as _, fs, io, path::PathBuf};

use anyhow::Context as _;
use waypost_core::PluginName;

use crate::{
    admin::{DeployOutcome, Plugins, RollbackOutcome},
    cli::{
        Failure,
        admin::{AdminOptions, LOOK_AT_PLUGINS},
        output::{Format, OutcomeOptions, short, span, write_line},
        print::write_shown,
        progress::Progress,
    },
    deploy::PluginStatus,
    router::StageStatus,
    time::now_ms,
};

/// What to print.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

/// What to deploy.
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    /// The artefact.
    file: PathBuf,
    /// The stage whose plugin it is, as route/stage; all stages that use the plugin get it.
    #[arg(long, value_name = "ROUTE/STAGE", value_parser = stage, conflicts_with = "plugin")]
    stage: Option<Stage>,
    /// The plugin; the name of the file, if neither this nor --stage is given.
    #[arg(long, value_name = "NAME", value_parser = plugin)]
    plugin: Option<PluginName>,
    /// Its signature by minisign; the file's name with .minisig behind it, if that is there.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

/// What to roll back.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// The plugin.
    #[arg(value_parser = plugin)]
    plugin: PluginName,
    /// The version to go back to, by the beginning of its digest; otherwise the one that ran before.
    #[arg(long, value_name = "DIGEST", value_parser = beginning)]
    to: Option<String>,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, Clone)]
struct Stage {
    route: String,
    stage: String,
}

fn stage(text: &str) -> Result<Stage, String> {
    let is_name = |text: &str| PluginName::parse(text).is_ok();
    match text.split_once('/') {
        Some((route, stage)) if is_name(route) && is_name(stage) => {
            Ok(Stage { route: route.to_owned(), stage: stage.to_owned() })
        }
        _ => Err("write the names of a route and of its stage, as in quakes/keep".to_owned()),
    }
}

fn plugin(text: &str) -> Result<PluginName, String> {
    PluginName::parse(text).map_err(|error| error.to_string())
}

/// The beginning of a digest.
fn beginning(text: &str) -> Result<String, String> {
    match text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => {
            Err("write the first digits of a digest, as waypost plugin list shows it".to_owned())
        }
        false => Ok(text.to_ascii_lowercase()),
    }
}

pub(super) async fn list(options: &List) -> Result<(), Failure> {
    let plugins: Plugins = options.admin.get("/api/v1/plugins").await?;
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&plugins)?),
        Format::Pretty => Ok(write_shown(&table(&plugins.plugins, now_ms()))?),
    }
}

pub(super) async fn deploy(options: &Deploy) -> Result<(), Failure> {
    let file = &options.file;
    let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let path = match (&options.stage, &options.plugin) {
        (Some(Stage { route, stage }), _) => format!("/api/v1/stages/{route}/{stage}/versions"),
        (None, Some(plugin)) => format!("/api/v1/plugins/{plugin}/versions"),
        (None, None) => {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let named = PluginName::parse(&name).with_context(|| {
                "the file's name does not say which plugin it is; say so with --plugin or --stage"
            })?;
            format!("/api/v1/plugins/{named}/versions")
        }
    };
    let signature = signature(options)?;
    let waiting = options.outcome.format() == Format::Pretty;
    let waiting = waiting.then(|| Progress::of_wait("the router compiles and tries the artefact"));
    let done: DeployOutcome = options.admin.deploy(&path, bytes, signature.as_deref()).await?;
    drop(waiting);
    let DeployOutcome { plugin, swapped, status } = &done;
    let (version, digest) = (&status.version, short(&status.digest));
    let mut pretty = if *swapped {
        format!("{plugin} {version} ({digest}) runs in {}", stages(status))
    } else {
        format!("{plugin} {version} ({digest}) runs already")
    };
    if let Some(note) = other_name(status) {
        pretty = format!("{pretty}\n{note}");
    }
    Ok(options.outcome.tell(&done, &pretty)?)
}

/// What is said of an artefact that was made as another plugin, which may be a mistake.
fn other_name(status: &PluginStatus) -> Option<String> {
    let PluginStatus { name, manifest_name, .. } = status;
    (name != manifest_name).then(|| format!("{name}: its artefact calls itself {manifest_name}"))
}

/// The signature that is named, or that lies beside the artefact.
fn signature(options: &Deploy) -> anyhow::Result<Option<Vec<u8>>> {
    let mut beside = options.file.clone().into_os_string();
    beside.push(".minisig");
    let file = options.signature.clone().unwrap_or_else(|| beside.into());
    match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.signature.is_none() => {
            Ok(None)
        }
        read => Ok(Some(read.with_context(|| format!("{} cannot be read", file.display()))?)),
    }
}

pub(super) async fn rollback(options: &Rollback) -> Result<(), Failure> {
    let path = format!("/api/v1/plugins/{}/rollback", options.plugin);
    let body = match &options.to {
        Some(to) => serde_json::to_vec(&serde_json::json!({ "to": to }))?,
        None => Vec::new(),
    };
    let done: RollbackOutcome = options.admin.post(&path, body, Some(LOOK_AT_PLUGINS)).await?;
    let RollbackOutcome { plugin, status } = &done;
    let (version, digest) = (&status.version, short(&status.digest));
    let pretty = format!("{plugin} {version} ({digest}) runs again in {}", stages(status));
    Ok(options.outcome.tell(&done, &pretty)?)
}

fn stages(status: &PluginStatus) -> String {
    let names: Vec<String> =
        status.stages.iter().map(|stage| format!("{}/{}", stage.route, stage.stage)).collect();
    names.join(", ")
}

/// A line a stage, and below each plugin its earlier versions and what was refused.
fn table(plugins: &[PluginStatus], now_ms: u64) -> String {
    let head = [
        "PLUGIN",
        "VERSION",
        "DIGEST",
        "SINCE",
        "STAGE",
        "CALLS",
        "MESSAGES",
        "FAILED CALLS",
        "PER MESSAGE",
        "MEMORY",
        "BREAKER",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    let mut notes = String::new();
    for plugin in plugins {
        for stage in &plugin.stages {
            rows.push([
                plugin.name.clone(),
                plugin.version.clone(),
                short(&plugin.digest).to_owned(),
                age(now_ms.saturating_sub(plugin.since_ms)),
                format!("{}/{}", stage.route, stage.stage),
                stage.calls.to_string(),
                stage.messages.to_string(),
                stage.failures.to_string(),
                per_message(stage),
                indicatif::BinaryBytes(stage.memory_bytes).to_string(),
                stage.breaker.to_string(),
            ]);
        }
        if let Some(note) = other_name(plugin) {
            // A string takes any text.
            let _ = writeln!(notes, "{note}");
        }
        for version in
            plugin.versions.iter().filter(|kept| kept.digest.to_string() != plugin.digest)
        {
            let digest = version.digest.to_string();
            let rolled_back = version.rolled_back.as_ref();
            let why = rolled_back.map_or_else(String::new, |why| format!(", rolled back: {why}"));
            // A string takes any text.
            let _ = writeln!(
                notes,
                "{} {} ({}) is kept{why}",
                plugin.name,
                version.version,
                short(&digest)
            );
        }
        if let Some(refused) = &plugin.refused {
            let _ = writeln!(notes, "{}: an artefact was refused: {}", plugin.name, refused.error);
        }
    }
    let mut widths = [0; 11];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text + &notes
}

fn per_message(stage: &StageStatus) -> String {
    if stage.messages == 0 {
        return "-".to_owned();
    }
    span(stage.seconds * 1e9 / stage.messages as f64)
}

fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::BreakerStatus;

    #[test]
    fn a_table_tells_what_runs_and_what_is_kept() {
        let version = |digest: u8, rolled_back: Option<&str>| {
            serde_json::json!({
                "digest": format!("{digest:02x}").repeat(32), "version": digest.to_string(),
                "since_ms": 0, "via": "folder", "rolled_back": rolled_back,
            })
        };
        let plugin: PluginStatus = serde_json::from_value(serde_json::json!({
            "name": "filter-json", "manifest_name": "filter-json-2", "file": "plugins/filter-json.wasm", "digest": "11".repeat(32),
            "version": "17", "role": "filter", "deterministic": true, "imports": [],
            "stages": [{
                "route": "quakes", "stage": "keep", "calls": 3, "messages": 1000, "failures": 1,
                "seconds": 0.0025, "memory_bytes": 1114112, "breaker": "open",
            }],
            "since_ms": 1000, "deploys": 2, "refused": null,
            "versions": [version(0x11, None), version(0x12, Some("it failed"))],
        }))
        .expect("it is a status");
        assert_eq!(plugin.stages[0].breaker, BreakerStatus::Open);
        insta::assert_snapshot!(table(&[plugin], 91_000), @r"
        PLUGIN       VERSION  DIGEST        SINCE  STAGE        CALLS  MESSAGES  FAILED CALLS  PER MESSAGE  MEMORY    BREAKER
        filter-json  17       111111111111  90 s   quakes/keep  3      1000      1             2.5 µs       1.06 MiB  open
        filter-json: its artefact calls itself filter-json-2
        filter-json 18 (121212121212) is kept, rolled back: it failed
        ");
    }

    #[test]
    fn a_digest_is_known_by_its_first_digits() {
        assert_eq!(beginning("0A9f"), Ok("0a9f".to_owned()));
        for wrong in ["", "1.0.0", "latest"] {
            beginning(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_stage_is_a_route_and_a_name() {
        assert!(stage("quakes/keep").is_ok());
        for wrong in ["", "quakes", "/", "quakes/", "/keep", "a/b/c", "A/b"] {
            assert!(stage(wrong).is_err(), "{wrong}");
        }
    }
}
