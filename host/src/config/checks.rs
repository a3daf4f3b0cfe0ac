//! What no key is guilty of alone: keys that contradict each other, plugins that are not there, routes
//! that do not stand together.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    net::SocketAddr,
    path::Path,
};

use waypost_core::{
    Destination, PluginName, RouteDefinition, RouteName, RouteSetError, StageName, check_routes,
};

use super::{
    groups::check_groups,
    reader::Reader,
    routes::DraftRoute,
    sections::{Draft, PluginsSection},
    streams::{check_dead_letters, check_streams},
    suggest::nearest,
    topics::check_topics,
    value::quoted,
};

/// What a delivery frame may hold beside its one message: 64 KiB of control part, and the batch's own.
const DELIVERY_OVERHEAD_BYTES: u32 = (64 << 10) + 128;

/// Gives the names of the plugins that are in a folder.
pub(super) type ListPlugins<'a> = &'a dyn Fn(&Path) -> io::Result<BTreeSet<PluginName>>;

/// Checks everything that takes more than one key.
pub(super) fn check(draft: &Draft, list: ListPlugins<'_>, reader: &mut Reader<'_>) {
    check_exposure(reader, "listen", draft.listen.address, draft.listen.insecure_no_auth);
    if draft.admin.enabled {
        check_exposure(reader, "admin", draft.admin.address, draft.admin.insecure_no_auth);
    }
    check_limits(draft, reader);
    check_plugins(draft, list, reader);
    check_overrides(draft, reader);
    check_topics(&draft.topics, reader);
    check_streams(&draft.streams, &draft.topics, reader);
    check_dead_letters(&draft.streams, &draft.routes, reader);
    check_groups(&draft.group, reader);
    check_names(&draft.routes, reader);
    check_route_set(&draft.routes, reader);
}

/// Who may bind what. `net` and `admin` refuse it again; here the line is known.
fn check_exposure(reader: &mut Reader<'_>, section: &str, address: SocketAddr, insecure: bool) {
    if address.ip().is_loopback() {
        return;
    }
    let place = reader.place(&format!("{section}.address"));
    if insecure {
        let message = format!("{section}.address {address} lets in anyone who can reach it");
        reader.warning(place, message, "keep others away by a firewall or a private network");
    } else {
        let message = format!("listening on {address} would let anyone in");
        let hint = format!(
            "bind a loopback address, or set {section}.insecure_no_auth = true if the network is trusted"
        );
        reader.error(place, message, hint);
    }
}

fn check_limits(draft: &Draft, reader: &mut Reader<'_>) {
    let (message, frame) = (draft.limits.max_message_bytes, draft.limits.max_frame_bytes);
    let most = frame.saturating_sub(DELIVERY_OVERHEAD_BYTES);
    if message <= most {
        return;
    }
    let keys = ["limits.max_message_bytes", "limits.max_frame_bytes"];
    let set = keys.into_iter().find(|key| reader.is_set(key));
    let place = reader.place(set.unwrap_or("limits"));
    let text = format!(
        "a message of limits.max_message_bytes, {message}, does not fit into a frame of \
         limits.max_frame_bytes, {frame}"
    );
    reader.error(place, text, format!("set limits.max_message_bytes to {most} or less"));
}

fn check_plugins(draft: &Draft, list: ListPlugins<'_>, reader: &mut Reader<'_>) {
    let used: Vec<_> = draft.routes.iter().flat_map(|route| &route.plugins).collect();
    let folder = &draft.plugins.folder;
    let place = reader.place("plugins.folder");
    let shown = quoted(&folder.to_string_lossy());
    let there = match list(folder) {
        Ok(there) => there,
        // Nobody needs it, and nobody named it.
        Err(_) if used.is_empty() && !reader.is_set("plugins.folder") => return,
        Err(error) if used.is_empty() => {
            let message = format!("the plugin folder {shown} cannot be read: {error}");
            return reader.warning(place, message, "create it, so that plugins can be dropped in");
        }
        Err(error) => {
            let message = format!("the plugin folder {shown} cannot be read: {error}");
            return reader.error(place, message, "create it, or set plugins.folder");
        }
    };
    for (plugin, path) in used {
        if there.contains(plugin) {
            continue;
        }
        let message = format!("there is no plugin {plugin}: {shown} holds no {plugin}.wasm");
        let names: Vec<&str> = there.iter().map(PluginName::as_str).take(16).collect();
        let hint = match nearest(plugin.as_str(), there.iter().map(PluginName::as_str)) {
            Some(meant) => format!("did you mean {meant}?"),
            None if names.is_empty() => "the folder is empty; build the plugin into it".to_owned(),
            None => format!("there are {}", names.join(", ")),
        };
        reader.error(reader.place(path), message, hint);
    }
}

fn check_overrides(draft: &Draft, reader: &mut Reader<'_>) {
    let used: BTreeSet<&PluginName> =
        draft.routes.iter().flat_map(|route| &route.plugins).map(|(plugin, _)| plugin).collect();
    let PluginsSection { overrides, .. } = &draft.plugins;
    for (plugin, _) in overrides.iter().filter(|(plugin, _)| !used.contains(plugin)) {
        let place = reader.place(&format!("plugins.override.{plugin}"));
        let hint = match nearest(plugin.as_str(), used.iter().map(|plugin| plugin.as_str())) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "remove it, or use the plugin in a stage".to_owned(),
        };
        reader.warning(place, format!("no stage uses the plugin {plugin}"), hint);
    }
}

/// Names stand twice although something else is wrong with their routes.
fn check_names(drafts: &[DraftRoute], reader: &mut Reader<'_>) {
    let mut seen = HashSet::new();
    for draft in drafts {
        let Some(name) = &draft.name else {
            continue;
        };
        if !seen.insert(name) {
            let place = reader.place(&format!("{}.name", draft.path));
            let message = format!("two routes are named {name}");
            reader.error(place, message, "give each route its own name");
        }
    }
}

fn check_route_set(drafts: &[DraftRoute], reader: &mut Reader<'_>) {
    let whole = drafts.iter().filter_map(|draft| Some((draft, draft.definition.as_ref()?)));
    let mut finder = Finder { drafts: whole.collect(), seen: HashMap::new() };
    let routes: Vec<RouteDefinition> =
        finder.drafts.iter().map(|(_, route)| (*route).clone()).collect();
    for error in check_routes(&routes) {
        let Some((key, hint)) = finder.key_of(&error).zip(hint(&error)) else {
            continue;
        };
        let is_incomplete =
            |(draft, _): &(&DraftRoute, _)| draft.is_incomplete && draft.path == key;
        if matches!(&error, RouteSetError::NoDestination(_))
            && finder.drafts.iter().any(is_incomplete)
        {
            continue;
        }
        let place = reader.place(&key);
        let text = error.to_string();
        let message = text.split_once("; ").map_or(&*text, |(message, _)| message);
        reader.error(place, message, hint);
    }
}

/// What mends it, in the words of the configuration; `None` for what was told before, of one route alone.
fn hint(error: &RouteSetError) -> Option<&'static str> {
    Some(match error {
        RouteSetError::DuplicateRoute(_) | RouteSetError::SystemDestination { .. } => return None,
        RouteSetError::DuplicateStage { .. } => {
            "give each stage its own name; without one it has its plugin's"
        }
        RouteSetError::Circle(_) => {
            "let one of them lead to a topic that no route before it takes, or choose its topics in a stage"
        }
        RouteSetError::NoDestination(_) => "set to, or add a stage that gives messages a topic",
    })
}

/// Finds the key that an error is about: the errors name routes, and a name can stand twice.
struct Finder<'a> {
    drafts: Vec<(&'a DraftRoute, &'a RouteDefinition)>,
    /// How many errors of this text were found before.
    seen: HashMap<String, usize>,
}

impl Finder<'_> {
    fn key_of(&mut self, error: &RouteSetError) -> Option<String> {
        let seen = self.seen.entry(error.to_string()).or_insert(0);
        let before = *seen;
        *seen += 1;
        let of = |name: &RouteName| {
            let name = name.clone();
            self.drafts.iter().filter(move |(_, route)| route.name == name)
        };
        match error {
            RouteSetError::DuplicateRoute(_) | RouteSetError::SystemDestination { .. } => None,
            RouteSetError::DuplicateStage { route, stage } => {
                of(route).flat_map(|(draft, route)| repeated(draft, route, stage)).nth(before)
            }
            RouteSetError::Circle(links) => {
                let first = links.first()?;
                let destination = Destination::Topic(first.topic.clone());
                let mut at_fault =
                    of(&first.route).filter(|(_, route)| route.destination == destination);
                at_fault.nth(before).map(|(draft, _)| format!("{}.to", draft.path))
            }
            RouteSetError::NoDestination(route) => {
                let mut at_fault = of(route).filter(|(_, route)| {
                    route.destination == Destination::FromPlugin && route.stages.is_empty()
                });
                at_fault.nth(before).map(|(draft, _)| draft.path.clone())
            }
        }
    }
}

/// The paths of the second and further stages of a name.
fn repeated(draft: &DraftRoute, route: &RouteDefinition, name: &StageName) -> Vec<String> {
    let stages = route.stages.iter().zip(&draft.stages);
    let of_name = stages.filter(|(stage, _)| stage.name == *name).skip(1);
    of_name.map(|(_, path)| path.clone()).collect()
}
