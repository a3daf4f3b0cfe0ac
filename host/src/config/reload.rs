//! What of a configuration changes in a running router, and what waits for its next start.

use std::collections::{BTreeSet, HashMap};

use waypost_core::{PluginName, RouteDefinition, StageDefinition};

use super::{Loaded, PluginSettings, Settings, key::in_schema};
use crate::{deploy::PluginRules, net::NetSettings, router::RouterSettings};

/// The keys that hold in a running router as soon as the configuration is reloaded. What is not among them is
/// kept until the router is started anew.
pub(super) const LIVE: [&str; 41] = [
    "limits.max_batch_messages",
    "limits.max_frame_bytes",
    "limits.max_headers",
    "limits.max_message_bytes",
    "listen.certificate",
    "listen.handshake_timeout_ms",
    "listen.idle_timeout_ms",
    "listen.key",
    "listen.max_connections",
    "listen.max_handshakes",
    "listen.max_in_flight",
    "listen.max_streams",
    "listen.max_subscriptions",
    "listen.retry_above_handshakes",
    "listen.stalled_frame_timeout_ms",
    "plugins.grants",
    "plugins.keep_versions",
    "plugins.limits.artefact_bytes",
    "plugins.limits.deadline_ms",
    "plugins.limits.emitted_per_message",
    "plugins.limits.log_bytes_per_second",
    "plugins.limits.memory_bytes",
    "plugins.limits.output_bytes",
    "plugins.limits.table_elements",
    "plugins.override.<plugin>.artefact_bytes",
    "plugins.override.<plugin>.deadline_ms",
    "plugins.override.<plugin>.emitted_per_message",
    "plugins.override.<plugin>.grants",
    "plugins.override.<plugin>.log_bytes_per_second",
    "plugins.override.<plugin>.memory_bytes",
    "plugins.override.<plugin>.output_bytes",
    "plugins.override.<plugin>.table_elements",
    "plugins.rollback.enabled",
    "plugins.rollback.failure_percent",
    "plugins.rollback.min_failures",
    "plugins.rollback.window_ms",
    "queues.subscription_bytes",
    "queues.subscription_messages",
    "route.stage.config",
    "router.block_max_ms",
    "router.drain_deadline_ms",
];

/// It holds for the stages that there are, whatever becomes of the other keys of routes.
const STAGE_CONFIG: &str = "route.stage.config";

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
        let is_live = |key: &String| LIVE.contains(&&*in_schema(key));
        let (mut live, _): (Vec<_>, Vec<_>) =
            differing(applied, next).into_iter().partition(is_live);
        let (_, mut restart): (Vec<_>, Vec<_>) =
            differing(started, next).into_iter().partition(is_live);
        // Which stage has which configuration is not to be seen key by key.
        live.retain(|key| key != STAGE_CONFIG);
        let routes_under = |loaded: &Loaded| routes(&started.settings, &loaded.settings);
        let running = routes_under(next);
        if running != routes_under(applied) {
            live.push(STAGE_CONFIG.to_owned());
        }
        let names_route = |key: &String| key.starts_with("route.");
        // A stage may have gone from one route to another, key by key the same.
        if running != next.settings.routes && !restart.iter().any(names_route) {
            restart.push("route".to_owned());
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
    let routes = routes(started, &next);
    Settings {
        drain_deadline: next.drain_deadline,
        net: NetSettings {
            address: started.net.address,
            insecure_no_auth: started.net.insecure_no_auth,
            state_folder: started.net.state_folder.clone(),
            ..next.net
        },
        router: RouterSettings { block_max: next.router.block_max, ..started.router.clone() },
        plugins: PluginSettings {
            keep_versions: next.plugins.keep_versions,
            rollback: next.plugins.rollback,
            overrides: overrides(&started.plugins, &next.plugins),
            rules: rules(&started.plugins.rules, &next.plugins.rules),
            ..started.plugins.clone()
        },
        routes,
        ..started.clone()
    }
}

/// The routes that there are, with the configurations that the next settings have for their stages.
fn routes(started: &Settings, next: &Settings) -> Vec<RouteDefinition> {
    let mut routes = started.routes.clone();
    for route in &mut routes {
        let Some(known) = next.routes.iter().find(|known| known.name == route.name) else {
            continue;
        };
        for stage in &mut route.stages {
            let is_same = |known: &&StageDefinition| {
                (&known.name, &known.plugin) == (&stage.name, &stage.plugin)
            };
            if let Some(known) = known.stages.iter().find(is_same) {
                stage.configuration.clone_from(&known.configuration);
            }
        }
    }
    routes
}

/// What a plugin may import and take changes; which artefacts it may be does not.
fn rules(started: &PluginRules, next: &PluginRules) -> PluginRules {
    PluginRules { policy: next.policy.clone(), trust: started.trust.clone() }
}

fn overrides(started: &PluginSettings, next: &PluginSettings) -> HashMap<PluginName, PluginRules> {
    let names = started.overrides.keys().chain(next.overrides.keys());
    let rules_of = |name: &PluginName| rules(started.rules_of(name), next.rules_of(name));
    let general = rules(&started.rules, &next.rules);
    let named = names.map(|name| (name.clone(), rules_of(name)));
    named.filter(|(_, rules)| *rules != general).collect()
}
