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

#[test]
fn of_every_key_those_that_wait_for_a_start_alone_do_not_reach_the_running_settings() {
    let (started, next) = (loaded("").settings, loaded(EVERY_KEY).settings);
    let running = reloaded(&started, next.clone());
    let expected = Settings {
        threads: started.threads,
        state_folder: started.state_folder.clone(),
        admin: started.admin.clone(),
        streams: started.streams.clone(),
        net: NetSettings {
            address: started.net.address,
            insecure_no_auth: started.net.insecure_no_auth,
            state_folder: started.net.state_folder.clone(),
            ..next.net.clone()
        },
        router: RouterSettings { lane: started.router.lane, ..next.router.clone() },
        plugins: PluginSettings {
            folder: started.plugins.folder.clone(),
            cache: started.plugins.cache.clone(),
            compile: started.plugins.compile,
            ..next.plugins.clone()
        },
        ..next
    };
    assert_eq!(format!("{running:?}"), format!("{expected:?}"));
    let back = reloaded(&running, started.clone());
    assert_eq!(format!("{back:?}"), format!("{started:?}"));
}
