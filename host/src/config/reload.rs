//! What of a configuration changes in a running router, and what waits for its next start.

use std::collections::BTreeSet;

use waypost_core::StreamDefinition;

use super::{Loaded, PluginSettings, Settings, key::in_schema};
use crate::{net::NetSettings, router::RouterSettings};

/// The keys that keep what they were until the router is started anew. All others hold as soon as the
/// configuration is reloaded.
pub(super) const RESTART: [&str; 30] = [
    "admin.address",
    "admin.enabled",
    "admin.insecure_no_auth",
    "listen.address",
    "listen.insecure_no_auth",
    "plugins.compile.memory_bytes",
    "plugins.compile.seconds",
    "plugins.compile_cache",
    "plugins.folder",
    "queues.lane_batches",
    "queues.lane_bytes",
    "router.state_folder",
    "router.threads",
    "storage.accept_loss",
    "storage.cache_bytes",
    "storage.folder",
    "storage.forget_producers_after_ms",
    "storage.max_producers",
    "storage.queue_bytes",
    "storage.reserve_bytes",
    "storage.tail_bytes",
    "storage.trim_interval_ms",
    "stream.fsync",
    "stream.name",
    "stream.partitions",
    "stream.retention.max_age_ms",
    "stream.retention.max_bytes",
    "stream.retention.max_messages",
    "stream.topics",
    "stream.ttl_ms",
];

/// The keys in which a configuration differs from what runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Those that hold at once.
    pub live: Vec<String>,
    /// Those that hold after the next start.
    pub restart: Vec<String>,
}

impl Changes {
    /// What changes from a configuration that was applied last, in a router that was started with another, to
    /// the next one.
    #[must_use]
    pub fn between(started: &Loaded, applied: &Loaded, next: &Loaded) -> Self {
        let waits = |key: &String| RESTART.contains(&&*in_schema(key));
        let mut live: Vec<String> =
            differing(applied, next).into_iter().filter(|key| !waits(key)).collect();
        let restart = differing(started, next).into_iter().filter(waits).collect();
        // A stage may have gone from one route to another, key by key the same.
        let has_route = live.iter().any(|key| key.starts_with("route."));
        if !has_route && applied.settings.routes != next.settings.routes {
            live.push("route".to_owned());
        }
        Self { live, restart }
    }
}

fn differing(one: &Loaded, other: &Loaded) -> Vec<String> {
    let (one, other) = (one.effective.values(), other.effective.values());
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// The settings that hold in a router that was started with some and is to have others.
#[must_use]
pub fn reloaded(started: &Settings, next: Settings) -> Settings {
    Settings {
        threads: started.threads,
        state_folder: started.state_folder.clone(),
        admin: started.admin.clone(),
        streams: started.streams.clone(),
        net: NetSettings {
            address: started.net.address,
            insecure_no_auth: started.net.insecure_no_auth,
            state_folder: started.net.state_folder.clone(),
            ..next.net
        },
        router: RouterSettings { lane: started.router.lane, ..next.router },
        plugins: PluginSettings {
            folder: started.plugins.folder.clone(),
            cache: started.plugins.cache.clone(),
            compile: started.plugins.compile,
            ..next.plugins
        },
        ..next
    }
}

/// What a router is asked for that it cannot do before its next start: to drop messages that a stream keeps which
/// still runs, although the configuration has it no more.
#[must_use]
pub fn conflicts(settings: &Settings) -> Vec<String> {
    let streams = &settings.streams.definitions;
    let rules = settings.router.topics.iter();
    let kept = rules.filter_map(|rule| {
        let pattern = &rule.pattern;
        let overlaps = |stream: &&StreamDefinition| {
            stream.topics.iter().any(|topics| topics.overlaps(pattern))
        };
        let stream = &streams.iter().find(overlaps)?.name;
        Some(format!(
            "topic.pattern {pattern} matches topics that the stream {stream} keeps until the router is started \
             anew: they are never dropped; narrow the pattern, or start the router anew"
        ))
    });
    kept.collect()
}
