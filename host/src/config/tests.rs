//! Whole configurations: what they come to, and what is said when they come to nothing.

mod documentation;
mod hostile;
mod reloading;
mod reports;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use waypost_core::{Destination, PluginName};

use super::*;
use crate::{
    deploy::PluginRules,
    wasm::{Interface, SandboxLimits},
};

/// The plugins that stand in every folder of these tests but `nowhere`.
const PLUGINS: [&str; 4] = ["filter-json", "route-content", "schema-upcast", "transform-json"];

/// A file with every key of the configuration, none at its default where it can be avoided.
const EVERY_KEY: &str = include_str!("tests/every_key.toml");

fn plugins(folder: &Path) -> io::Result<BTreeSet<PluginName>> {
    if folder.ends_with("nowhere") {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(PLUGINS.iter().map(|name| PluginName::parse(name).expect("a name")).collect())
}

/// Loads the text of a file at `etc/waypost.toml` under an environment and flags.
fn load_text(
    text: &str,
    environment: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Loaded, ConfigErrors> {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let sources =
        Sources { file: None, environment: owned(environment), overrides: owned(overrides) };
    let document = Document::new("waypost.toml", text.to_owned());
    load_document(Some(&document), Path::new("etc"), &sources, &plugins)
}

fn loaded(text: &str) -> Loaded {
    load_text(text, &[], &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn without_any_source_the_defaults_hold() {
    let settings = load(&Sources::default(), plugins).expect("the defaults are sound").settings;
    assert_eq!(settings.net.address.to_string(), "127.0.0.1:4433");
    assert_eq!(settings.state_folder, Path::new(".waypost"));
    assert_eq!(settings.plugins.rules, PluginRules::default());
    let cache = settings.plugins.cache.expect("it is on");
    assert!(cache.is_absolute() && cache.ends_with(".waypost/cache"), "{}", cache.display());
    assert_eq!(settings.threads, 1);
    assert!(settings.routes.is_empty());
    assert!(settings.admin.is_some_and(|admin| admin.address.ip().is_loopback()));
}

#[test]
fn every_key_reaches_the_settings() {
    let settings = loaded(EVERY_KEY).settings;
    insta::assert_snapshot!(format!("{settings:#?}"));
}

#[test]
fn a_flag_stands_over_a_variable_over_the_file_over_the_default() {
    let text = "[router]\nthreads = 2\nblock_max_ms = 2\ndrain_deadline_ms = 2";
    let environment = [("WAYPOST__ROUTER__THREADS", "3"), ("WAYPOST__ROUTER__BLOCK_MAX_MS", "3")];
    let settings =
        load_text(text, &environment, &[("router.threads", "4")]).expect("all are sound").settings;
    assert_eq!(settings.threads, 4);
    assert_eq!(settings.router.block_max, Duration::from_millis(3));
    assert_eq!(settings.drain_deadline, Duration::from_millis(2));
    assert_eq!(settings.router.lane.batches, 64);
}

#[test]
fn relative_paths_begin_at_the_file_or_at_the_working_directory() {
    let text =
        "[plugins]\nfolder = '../built'\n[listen]\ncertificate = '/tls/cert.pem'\nkey = 'key.pem'";
    let environment = [("WAYPOST__ROUTER__STATE_FOLDER", "state")];
    let settings = load_text(text, &environment, &[]).expect("all are sound").settings;
    assert_eq!(settings.plugins.folder, Path::new("etc/../built"));
    let tls = settings.net.tls.expect("both files are named");
    assert_eq!(tls.certificate, Path::new("/tls/cert.pem"));
    assert_eq!(tls.key, Path::new("etc/key.pem"));
    assert_eq!(settings.state_folder, Path::new("state"));
}

#[test]
fn a_folder_is_watched_only_for_a_plugin_that_a_stage_uses() {
    let route = "[[route]]\nname = 'r'\nfrom = 'a'\nto = 'b'\n";
    assert!(!loaded(route).settings.plugins.watch);
    let stage = format!("{route}[[route.stage]]\nplugin = 'filter-json'\n");
    assert!(loaded(&stage).settings.plugins.watch);
    assert!(!loaded(&format!("plugins.watch = false\n{stage}")).settings.plugins.watch);
}

#[test]
fn a_folder_that_nobody_named_or_needs_may_be_missing() {
    let none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let loaded = load(&Sources::default(), none).expect("the defaults are sound");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn an_override_begins_at_what_all_plugins_may() {
    let text = "
        [plugins]
        grants = ['log']
        [plugins.limits]
        deadline_ms = 100
        [plugins.override.filter-json]
        memory_bytes = 65536
    ";
    let environment = [
        ("WAYPOST__PLUGINS__OVERRIDE__ROUTE_CONTENT__DEADLINE_MS", "7"),
        ("WAYPOST__PLUGINS__OVERRIDE__ROUTE_CONTENT__GRANTS", "clock, random"),
    ];
    let plugins = load_text(text, &environment, &[]).expect("all are sound").settings.plugins;
    let rules_of = |name| plugins.rules_of(&PluginName::parse(name).expect("a name"));
    let policy_of = |name| &rules_of(name).policy;
    let limits_of = |name| policy_of(name).limits;
    let grants_of = |name| policy_of(name).grants.iter().copied().collect::<Vec<_>>();
    let all = SandboxLimits { deadline: Duration::from_millis(100), ..SandboxLimits::default() };
    assert_eq!(limits_of("schema-upcast"), all);
    assert_eq!(limits_of("filter-json"), SandboxLimits { memory_bytes: 65_536, ..all });
    let quick = SandboxLimits { deadline: Duration::from_millis(7), ..all };
    assert_eq!(limits_of("route-content"), quick);
    assert_eq!(grants_of("filter-json"), [Interface::Log]);
    assert_eq!(grants_of("route-content"), [Interface::Clock, Interface::Random]);
}

#[test]
fn a_stage_has_its_plugins_name_and_an_empty_configuration_unless_it_says_otherwise() {
    let text = "
        [[route]]
        name = 'r'
        from = 'in.>'
        [[route.stage]]
        plugin = 'filter-json'
        [[route.stage]]
        name = 'second'
        plugin = 'filter-json'
        config = { minimum = 4.5, since = 2024-01-01, list = [1, { b = true }], a = 'x' }
    ";
    let settings = loaded(text).settings;
    let route = settings.routes.first().expect("there is one");
    assert_eq!(route.destination, Destination::FromPlugin);
    let stages: Vec<_> =
        route.stages.iter().map(|stage| (stage.name.as_str(), &*stage.configuration)).collect();
    let json = r#"{"a":"x","list":[1,{"b":true}],"minimum":4.5,"since":"2024-01-01"}"#;
    assert_eq!(stages, [("filter-json", "{}"), ("second", json)]);
}

#[test]
fn the_effective_configuration_loads_as_the_same_settings() {
    let first = loaded(EVERY_KEY);
    let document = Document::new("effective", first.effective_toml());
    let again = load_document(Some(&document), Path::new(""), &Sources::default(), &plugins)
        .expect("sound");
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", first.settings));
}

#[test]
fn the_effective_configuration_says_where_each_value_came_from_and_no_secret() {
    let text = "
        [router]
        threads = 2
        [[route]]
        name = 'r'
        from = 'in.>'
        [[route.stage]]
        plugin = 'filter-json'
        config = { api_token = 'hunter2', field = 'mag' }
    ";
    let environment = [("WAYPOST__LISTEN__ADDRESS", "[::1]:1")];
    let loaded = load_text(text, &environment, &[("listen.max_streams", "7")]).expect("sound");
    insta::assert_snapshot!(loaded.effective_toml());
    let lines: Vec<String> = loaded.set_json().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"key":"router.threads","place":{"column":19,"file":"waypost.toml","line":3},"value":2}
    {"key":"listen.address","place":{"variable":"WAYPOST__LISTEN__ADDRESS"},"value":"[::1]:1"}
    {"key":"listen.max_streams","place":{"flag":"listen.max_streams"},"value":7}
    {"key":"route[0].name","place":{"column":16,"file":"waypost.toml","line":5},"value":"r"}
    {"key":"route[0].from","place":{"column":16,"file":"waypost.toml","line":6},"value":"in.>"}
    {"key":"route[0].stage[0].plugin","place":{"column":18,"file":"waypost.toml","line":8},"value":"filter-json"}
    {"key":"route[0].stage[0].config","place":{"column":18,"file":"waypost.toml","line":9},"value":{"api_token":"[redacted]","field":"mag"}}
    "#);
    let all = loaded.effective_json();
    let default = all.iter().find(|value| value["key"] == "admin.enabled").expect("it holds");
    assert_eq!((&default["value"], &default["place"]), (&true.into(), &serde_json::Value::Null));
    insta::assert_snapshot!(loaded.set_toml(), @r#"
    [router]
    threads = 2 # waypost.toml:3:19

    [listen]
    address = "[::1]:1" # environment variable WAYPOST__LISTEN__ADDRESS
    max_streams = 7 # flag --set listen.max_streams

    [[route]]
    name = "r" # waypost.toml:5:16
    from = "in.>" # waypost.toml:6:16

    [[route.stage]]
    plugin = "filter-json" # waypost.toml:8:18
    config = { api_token = "[redacted]", field = "mag" } # waypost.toml:9:18
    "#);
}

#[test]
fn a_file_is_read_with_its_folder_as_the_base() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("waypost.toml");
    fs::write(&file, "[router]\nthreads = 3\n").expect("it is written");
    fs::create_dir(folder.path().join("plugins")).expect("it is made");
    for name in ["filter-json.wasm", "notes.txt", "Not A Name.wasm"] {
        fs::write(folder.path().join("plugins").join(name), "").expect("it is written");
    }
    let sources = Sources::new(Some(file), [], Vec::new());
    let loaded = load(&sources, plugins_in).expect("it is sound");
    assert_eq!(loaded.settings.threads, 3);
    assert_eq!(loaded.settings.plugins.folder, folder.path().join("plugins"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let there = plugins_in(&loaded.settings.plugins.folder).expect("it can be read");
    assert_eq!(there.iter().map(PluginName::as_str).collect::<Vec<_>>(), ["filter-json"]);
}

#[test]
fn what_is_not_ours_in_the_environment_is_not_kept() {
    let pair = |name: &str| (name.to_owned(), "x".to_owned());
    let names = [pair("PATH"), pair("WAYPOST_ADDR"), pair("WAYPOST__ROUTER__THREADS")];
    assert_eq!(Sources::new(None, names, Vec::new()).environment.len(), 2);
}

#[test]
fn the_commands_own_variables_are_not_taken_for_keys() {
    // What `env` of the command's options names, and what the command of a reply is told.
    let names = ["CONFIG", "STATE", "ADDRESS", "CA", "ADMIN", "ADMIN_TOKEN_FILE", "TOPIC"];
    let environment = names.map(|name| (format!("WAYPOST_{name}"), "x".to_owned()));
    load(&Sources::new(None, environment, Vec::new()), plugins).expect("they set no keys");
}

#[test]
fn the_committed_configurations_load() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            let sources = Sources { file: Some(file), ..Sources::default() };
            let loaded = load(&sources, plugins).unwrap_or_else(|errors| panic!("{errors}"));
            // The one for production is open to a network.
            let is_expected = |warning: &Problem| warning.message.contains("lets in anyone");
            assert!(loaded.warnings.iter().all(is_expected), "{:?}", loaded.warnings);
            count += 1;
        }
    }
    assert!(count > 0);
}
