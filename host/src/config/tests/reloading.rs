//! What changes in a running router, and what waits for its next start.

use super::{documentation::PAGE, *};
use crate::config::reload::LIVE;

fn changes(started: &str, next: &str) -> Changes {
    let (started, next) = (loaded(started), loaded(next));
    Changes::between(&started, &started, &next)
}

#[test]
fn the_reference_lists_the_keys_that_hold_at_a_reload() {
    let (_, section) = PAGE.split_once("## Reloading").expect("there is a section");
    let (section, _) = section.split_once("\n## ").expect("another follows");
    let listed: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("- `")?.strip_suffix('`')).collect();
    assert_eq!(listed, BTreeSet::from(LIVE));
    let known: BTreeSet<String> = documentation::keys().into_iter().map(|key| key.path).collect();
    for key in LIVE {
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
    let limits = |key: &&String| key.starts_with("plugins.override.filter-json.");
    assert_eq!(live.iter().filter(limits).count(), 8, "{live:?}");
    let others: Vec<&String> = live.iter().filter(|key| !limits(key)).collect();
    assert_eq!(others, ["listen.max_streams", "router.block_max_ms"]);
    for expected in ["listen.address", "route.name", "router.threads"] {
        assert!(restart.iter().any(|key| key == expected), "{restart:?} lacks {expected}");
    }
}

#[test]
fn a_stage_that_goes_to_another_route_is_a_change() {
    let route = |name: &str| format!("[[route]]\nname = '{name}'\nfrom = 'in.{name}'\nto = 'b'\n");
    let stage = "[[route.stage]]\nplugin = 'filter-json'\n";
    let (a, b) = (route("a"), route("b"));
    let Changes { restart, .. } = changes(&format!("{a}{stage}{b}"), &format!("{a}{b}{stage}"));
    assert_eq!(restart, ["route"]);
}

#[test]
fn a_stage_takes_its_configuration_whatever_becomes_of_other_routes() {
    let route = |name: &str, minimum: u32| {
        format!(
            "[[route]]\nname = '{name}'\nfrom = 'in.{name}'\nto = 'b'\n[[route.stage]]\n\
             plugin = 'filter-json'\nconfig = {{ minimum = {minimum} }}\n"
        )
    };
    let (a, b) = (route("a", 1), route("b", 2));
    let Changes { live, restart } = changes(&a, &route("a", 3));
    assert_eq!((live, restart), (vec!["route.stage.config".to_owned()], Vec::new()));
    let Changes { live, restart } = changes(&a, &format!("{b}{a}"));
    assert!(live.is_empty() && restart.contains(&"route.name".to_owned()), "{live:?} {restart:?}");
    let swapped = format!("{}{}", route("a", 2), route("b", 1));
    let Changes { live, .. } = changes(&format!("{a}{b}"), &swapped);
    assert_eq!(live, ["route.stage.config"]);

    let running = reloaded(&loaded(&a).settings, loaded(&format!("{b}{}", route("a", 3))).settings);
    let configurations = running.routes.iter().map(|route| &*route.stages[0].configuration);
    assert_eq!(configurations.collect::<Vec<_>>(), [r#"{"minimum":3}"#]);
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
fn of_every_key_those_that_may_be_reloaded_reach_the_running_settings_and_no_others() {
    let (started, next) = (loaded("").settings, loaded(EVERY_KEY).settings);
    let running = reloaded(&started, next.clone());
    assert_eq!(running.drain_deadline, next.drain_deadline);
    assert_eq!(running.router.block_max, next.router.block_max);
    assert_eq!(running.plugins.keep_versions, next.plugins.keep_versions);
    assert_eq!(running.plugins.rollback, next.plugins.rollback);
    let net = NetSettings {
        address: started.net.address,
        insecure_no_auth: started.net.insecure_no_auth,
        state_folder: started.net.state_folder.clone(),
        ..next.net.clone()
    };
    assert_eq!(format!("{:?}", running.net), format!("{net:?}"));
    let back = reloaded(&running, started.clone());
    assert_eq!(format!("{back:?}"), format!("{started:?}"));
}
