//! What a configuration comes to: typed settings that cannot be wrong.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, time::Duration};

use waypost_core::{PluginName, RollbackPolicy, RouteDefinition};

use crate::{
    deploy::PluginRules, groups::GroupSettings, net::NetSettings, router::RouterSettings,
    streams::StreamSettings, wasm::CompileLimits,
};

/// Everything that a router is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the router keeps what it must find again.
    pub state_folder: PathBuf,
    /// Threads that run its tasks; one makes a current-thread runtime.
    pub threads: usize,
    /// How long a shutdown may take.
    pub drain_deadline: Duration,
    /// The endpoint.
    pub net: NetSettings,
    /// The router of memory topics.
    pub router: RouterSettings,
    /// The admin server, unless it is disabled.
    pub admin: Option<AdminSettings>,
    /// The plugins.
    pub plugins: PluginSettings,
    /// The streams, and what keeps them.
    pub streams: StreamSettings,
    /// The groups.
    pub groups: GroupSettings,
    /// The routes; they stand together.
    pub routes: Vec<RouteDefinition>,
}

/// What the admin server is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Says that an address other than loopback may be bound although clients prove nothing.
    pub insecure_no_auth: bool,
}

/// Where plugins come from, and what they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Holds each plugin as `<name>.wasm`.
    pub folder: PathBuf,
    /// Whether a change in the folder is deployed; never where no stage uses a plugin.
    pub watch: bool,
    /// Where compiled plugins are kept between runs, if at all; absolute.
    pub cache: Option<PathBuf>,
    /// What compiling one may take.
    pub compile: CompileLimits,
    /// How many versions of a plugin are kept, to go back to.
    pub keep_versions: usize,
    /// When a new version is rolled back by itself.
    pub rollback: RollbackPolicy,
    /// What holds for a plugin unless something else is said of it.
    pub rules: PluginRules,
    /// What holds for single plugins instead; complete, not only what differs.
    pub overrides: HashMap<PluginName, PluginRules>,
}

impl PluginSettings {
    /// What holds for this plugin.
    #[must_use]
    pub fn rules_of(&self, plugin: &PluginName) -> &PluginRules {
        self.overrides.get(plugin).unwrap_or(&self.rules)
    }
}
