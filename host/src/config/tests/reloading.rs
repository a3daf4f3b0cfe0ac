//! What changes in a running router, and what waits for its next start.

use super::{documentation::PAGE, *};
use crate::config::reload::RESTART;

fn changes(started: &str, next: &str) -> Changes {
    let (started, next) = (loaded(started), loaded(next));
    Changes::between(&started, &started, &next)
}

#[test]
fn the_reference_lists_the_keys_that_wait_for_a_start() {
    let (_, section) = PAGE.split_once("## Reloading").expect("there is a section");
    let (section, _) = section.split_once("\n## ").expect("another follows");
    let listed: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("- `")?.strip_suffix('`')).collect();
    assert_eq!(listed, BTreeSet::from(RESTART));
    let known: BTreeSet<String> = documentation::keys().into_iter().map(|key| key.path).collect();
    for key in RESTART {
        assert!(known.contains(key), "there is no key {key}");
    }
}

#[test]
fn the_same_configuration_changes_nothing() {
    assert_eq!(changes(EVERY_KEY, EVERY_KEY), Changes::default());
}

#[test]
fn each_key_that_differs_is_told_on_its_side() {
    let next = "
        [router]
        threads = 2
        block_max_ms = 7
        [listen]
        address = '127.0.0.1:1'
        max_streams = 8
        [plugins.override.filter-json]
        memory_bytes = 65536
        [[route]]
        name = 'r'
        from = 'a'
        to = 'b'
    ";
    let Changes { live, restart } = changes("", next);
    for expected in ["listen.max_streams", "route.name", "router.block_max_ms"] {
        assert!(live.iter().any(|key| key == expected), "{live:?} lacks {expected}");
    }
    assert_eq!(restart, ["listen.address", "router.threads"]);
}

#[test]
fn a_stage_that_goes_to_another_route_is_a_change() {
    let route = |name: &str| format!("[[route]]\nname = '{name}'\nfrom = 'in.{name}'\nto = 'b'\n");
    let stage = "[[route.stage]]\nplugin = 'filter-json'\n";
    let (a, b) = (route("a"), route("b"));
    let Changes { live, .. } = changes(&format!("{a}{stage}{b}"), &format!("{a}{b}{stage}"));
    assert_eq!(live, ["route"]);
}

#[test]
fn what_waits_for_a_start_is_told_until_it_is_undone() {
    let (started, first) = (loaded(""), loaded("router.threads = 2\nrouter.block_max_ms = 7"));
    let second = loaded("router.threads = 2\nrouter.block_max_ms = 8");
    let changes = Changes::between(&started, &first, &second);
    assert_eq!(changes.live, ["router.block_max_ms"]);
    assert_eq!(changes.restart, ["router.threads"]);
    assert_eq!(Changes::between(&started, &second, &started).restart, [""; 0]);
}

/// A value that differs from that in the file with every key, for those keys that cannot be left out of it or
/// stand at their default.
const OTHERS: [(&str, &str); 11] = [
    ("group.name", "'others'"),
    ("admin.enabled", "false"),
    ("limits.max_message_bytes", "3000"),
    ("listen.certificate", "'other.pem'"),
    ("listen.key", "'other.pem'"),
    ("route.from", "'other.raw'"),
    ("route.name", "'other'"),
    ("route.stage.plugin", "'transform-json'"),
    ("stream.name", "'other'"),
    ("stream.topics", "['other.>']"),
    ("topic.pattern", "'other.>'"),
];

/// The file with every key, but for this one.
fn all_but(path: &str) -> String {
    let mut table: toml::Table = toml::from_str(&every_key()).expect("it is TOML");
    let other = OTHERS.iter().find(|(key, _)| *key == path).map(|(_, text)| {
        let text = format!("value = {text}");
        toml::from_str::<toml::Table>(&text).expect("it is TOML")["value"].clone()
    });
    let path: Vec<&str> = path.split('.').collect();
    change(&mut table, &path, other.as_ref());
    toml::to_string(&table).expect("it was TOML before")
}

/// Gives a key another value, or takes it away, in all tables of its kind.
fn change(table: &mut toml::Table, path: &[&str], other: Option<&toml::Value>) {
    let [first, rest @ ..] = path else { panic!("a path has an end") };
    if rest.is_empty() {
        table.remove(*first);
        table.extend(other.map(|other| ((*first).to_owned(), other.clone())));
        return;
    }
    let is_named = |name: &str| *first == name || *first == "<plugin>";
    for (_, inner) in table.iter_mut().filter(|(name, _)| is_named(name)) {
        match inner {
            toml::Value::Table(inner) => change(inner, rest, other),
            toml::Value::Array(tables) => {
                let tables = tables.iter_mut().filter_map(toml::Value::as_table_mut);
                tables.for_each(|inner| change(inner, rest, other));
            }
            _ => {}
        }
    }
}

/// Every key, with addresses that need nobody's leave.
fn every_key() -> String {
    EVERY_KEY.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
}

#[test]
fn each_key_reaches_the_running_settings_unless_it_waits_for_a_start() {
    let shown = |settings: &Settings| format!("{settings:#?}");
    let next = loaded(&every_key()).settings;
    for key in documentation::keys() {
        let started = loaded(&all_but(&key.path)).settings;
        assert_ne!(shown(&started), shown(&next), "no setting shows {}", key.path);
        let running = reloaded(&started, next.clone());
        let expected = if RESTART.contains(&&*key.path) { &started } else { &next };
        assert_eq!(shown(&running), shown(expected), "{}", key.path);
    }
}

#[test]
fn topics_of_a_stream_that_runs_are_not_dropped_although_the_next_configuration_has_no_stream() {
    let started = loaded("[[stream]]\nname = 'orders'\ntopics = ['orders.>']").settings;
    let next = |pattern: &str| {
        let text = format!("[[topic]]\npattern = '{pattern}'\non_full = 'drop-newest'");
        conflicts(&reloaded(&started, loaded(&text).settings))
    };
    let conflicts = next("*.eu");
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    for said in ["*.eu", "the stream orders", "start the router anew"] {
        assert!(conflicts[0].contains(said), "{conflicts:?}");
    }
    assert_eq!(next("quakes.>"), [""; 0]);
}
