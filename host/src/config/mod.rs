//! The configuration: a file, the environment and flags become [`Settings`], or a list of everything
//! that is wrong with them.
//!
//! Defaults stand under the file, the file under the environment, the environment under the flags.
//! Nothing here reads the environment: the caller passes it. `docs/configuration.md` is the reference of
//! all keys, and a test holds it against the code.
//!
//! The `config` crate reads the environment's layer. The file's is our own: that crate stops at the first
//! error, forgets where in the file a value stood, and takes 2.7 for a whole number.

mod checks;
mod effective;
mod given;
mod groups;
mod key;
mod origins;
mod problem;
mod reader;
mod reload;
mod routes;
mod scalar;
mod section;
mod sections;
mod settings;
mod streams;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod topics;
mod value;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use effective::Effective;
use given::Given;
pub use origins::Origins;
pub use problem::{ConfigErrors, Document, Place, Problem, Severity, Style, render};
use reader::Reader;
pub use reload::{Changes, conflicts, reloaded};
use sections::Draft;
pub use settings::{AdminSettings, PluginSettings, Settings};
use waypost_core::PluginName;

use crate::{net::NetSettings, router::RouterSettings, streams::StreamSettings};

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; without one the defaults hold.
    pub file: Option<PathBuf>,
    /// Names and values of the environment's variables. Those whose name begins with `WAYPOST__` set
    /// keys.
    pub environment: Vec<(String, String)>,
    /// Dotted keys and values of flags.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// Gathers the sources; of the environment it keeps what sets keys, or is perhaps meant to.
    pub fn new(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: Vec<(String, String)>,
    ) -> Self {
        let is_ours = |(name, _): &(String, String)| name.starts_with(given::NEARLY);
        Self { file, environment: environment.into_iter().filter(is_ours).collect(), overrides }
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it comes to.
    pub settings: Settings,
    /// What is probably not meant, in the order of the file.
    pub warnings: Vec<Problem>,
    /// Where it says what runs in each stage.
    pub origins: Origins,
    effective: Effective,
}

impl Loaded {
    /// Every value that holds as TOML, each with where it came from in a comment. Secrets are
    /// redacted; apart from them the text loads as the same settings. Relative paths in it begin at
    /// the working directory.
    #[must_use]
    pub fn effective_toml(&self) -> String {
        self.effective.to_toml(|_| true)
    }

    /// [`effective_toml`](Self::effective_toml) without what nobody set.
    #[must_use]
    pub fn set_toml(&self) -> String {
        self.effective.to_toml(Place::is_set)
    }

    /// An object for each value that holds: `key`, `value`, and the `place` where it came from, which is null
    /// for a default. Secrets are redacted.
    #[must_use]
    pub fn effective_json(&self) -> Vec<serde_json::Value> {
        self.effective.to_json(|_| true)
    }

    /// [`effective_json`](Self::effective_json) without what nobody set.
    #[must_use]
    pub fn set_json(&self) -> Vec<serde_json::Value> {
        self.effective.to_json(Place::is_set)
    }
}

/// Loads a configuration. `list` gives the plugins that are in a folder: [`plugins_in`], outside tests.
///
/// # Errors
///
/// Everything that is wrong, at once: what is not TOML, unknown keys, wrong types, values out of
/// range, keys that contradict each other, plugins that are not in the folder, routes that do not
/// stand together.
pub fn load(
    sources: &Sources,
    list: impl Fn(&Path) -> io::Result<BTreeSet<PluginName>>,
) -> Result<Loaded, ConfigErrors> {
    let document = sources.file.as_deref().map(syntax::read).transpose();
    let document = document.map_err(|problem| ConfigErrors::new(vec![problem]))?;
    let folder = sources.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    load_document(document.as_ref(), folder, sources, &list)
}

/// The plugins in a folder: what is named `<name>.wasm`.
///
/// # Errors
///
/// The folder cannot be read.
pub fn plugins_in(folder: &Path) -> io::Result<BTreeSet<PluginName>> {
    let mut plugins = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".wasm"));
        plugins.extend(stem.and_then(|stem| PluginName::parse(stem).ok()));
    }
    Ok(plugins)
}

fn load_document(
    document: Option<&Document>,
    folder: &Path,
    sources: &Sources,
    list: checks::ListPlugins<'_>,
) -> Result<Loaded, ConfigErrors> {
    let mut problems = Vec::new();
    let table = document.map(|document| syntax::parse(document, &mut problems));
    if matches!(table, Some(None)) {
        return Err(ConfigErrors::new(problems));
    }
    let table = table.flatten();
    let given = Given::new(&sources.environment, &sources.overrides, &mut problems);
    let mut reader = Reader::new(document.zip(table.as_ref()), folder, given);
    reader.problems = problems;
    let draft = reader.read(sections::read);
    checks::check(&draft, list, &mut reader);
    let origins = Origins::of(&draft, &reader);
    let Reader { problems: mut warnings, effective, .. } = reader;
    if warnings.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(ConfigErrors::new(warnings));
    }
    problem::sort(&mut warnings);
    Ok(Loaded { settings: settings(draft), warnings, origins, effective })
}

/// A draft without an error is whole.
fn settings(draft: Draft) -> Settings {
    let Draft { router, listen, limits, queues, admin, plugins, .. } = draft;
    let Draft { storage, streams, groups, group, topics, routes, .. } = draft;
    let cache = plugins.compile_cache.then(|| absolute(router.state_folder.join("cache")));
    let is_any_used = routes.iter().any(|route| !route.plugins.is_empty());
    let streams: Vec<_> = streams.into_iter().filter_map(|stream| stream.definition).collect();
    Settings {
        threads: router.threads,
        drain_deadline: router.drain_deadline,
        net: NetSettings {
            address: listen.address,
            insecure_no_auth: listen.insecure_no_auth,
            tls: listen.tls,
            state_folder: router.state_folder.clone(),
            incoming: listen.incoming,
            max_streams: listen.max_streams,
            max_subscriptions: listen.max_subscriptions,
            max_in_flight: listen.max_in_flight,
            handshake_timeout: listen.handshake_timeout,
            idle_timeout: listen.idle_timeout,
            stalled_frame_timeout: listen.stalled_frame_timeout,
            limits,
            queue: queues.subscription,
        },
        router: RouterSettings {
            lane: queues.lane,
            block_max: router.block_max,
            topics: topics.into_iter().filter_map(|topic| topic.rule).collect(),
        },
        admin: admin.enabled.then_some(AdminSettings {
            address: admin.address,
            insecure_no_auth: admin.insecure_no_auth,
        }),
        plugins: PluginSettings {
            folder: plugins.folder,
            watch: plugins.watch && is_any_used,
            cache,
            compile: plugins.compile,
            keep_versions: plugins.keep_versions,
            rollback: plugins.rollback,
            rules: plugins.rules,
            overrides: plugins.overrides.into_iter().collect(),
        },
        streams: StreamSettings {
            folder: storage.folder.unwrap_or_else(|| router.state_folder.join("storage")),
            reserve_bytes: storage.reserve_bytes,
            queue_bytes: storage.queue_bytes,
            tail_bytes: storage.tail_bytes,
            cache_bytes: storage.cache_bytes,
            max_producers: storage.max_producers,
            forget_producers_after: storage.forget_producers_after,
            trim_interval: storage.trim_interval,
            accept_loss: storage.accept_loss,
            definitions: streams,
        },
        groups: groups::settings(groups, group),
        routes: routes.into_iter().filter_map(|route| route.definition).collect(),
        state_folder: router.state_folder,
    }
}

/// The compiler's cache takes no relative path.
fn absolute(path: PathBuf) -> PathBuf {
    // It fails where there is no working directory; whoever opens the path then says so.
    std::path::absolute(&path).unwrap_or(path)
}
