//! What is said of configurations that cannot be used.

mod routes;
mod streams;

use super::*;

/// What is said of a file, one line a problem. The file's text stands indented, from its second line.
fn report(text: &str) -> String {
    let lines = text.strip_prefix('\n').unwrap_or(text).lines();
    let lines: Vec<&str> =
        lines.map(|line| line.strip_prefix("        ").unwrap_or(line)).collect();
    report_of(&lines.join("\n"), &[], &[])
}

fn report_of(text: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) -> String {
    match load_text(text, environment, overrides) {
        Ok(loaded) => render(&loaded.warnings, Style::Plain),
        Err(errors) => errors.render(Style::Plain),
    }
}

#[test]
fn an_unknown_key_is_told_what_it_probably_was() {
    insta::assert_snapshot!(report(r"
        [listen]
        adress = '127.0.0.1:1'
        threads = 2
        colour = 'red'
        [lissten]
        [[route]]
        name = 'r'
        from = 'a'
        destination = 'b'
    "), @r#"
    waypost.toml:2:1: [listen] has no key "adress"; hint: did you mean address?
    waypost.toml:3:1: [listen] has no key "threads"; hint: threads stands in [router]
    waypost.toml:4:1: [listen] has no key "colour"; hint: known are address, insecure_no_auth, certificate, key, max_connections, max_handshakes, retry_above_handshakes, max_streams, max_subscriptions, max_in_flight, handshake_timeout_ms, idle_timeout_ms, stalled_frame_timeout_ms
    waypost.toml:5:2: there is no section "lissten"; hint: did you mean listen?
    waypost.toml:6:1: route r has neither a destination nor a stage that could give one; hint: set to, or add a stage that gives messages a topic
    waypost.toml:9:1: [[route]] has no key "destination"; hint: did you mean to?
    "#);
}

#[test]
fn a_wrong_type_is_told_how_to_write_the_right_one() {
    insta::assert_snapshot!(report(r"
        [router]
        threads = '2'
        state_folder = 7
        drain_deadline_ms = 2.7
        [listen]
        address = 'localhost'
        insecure_no_auth = 'yes'
        max_streams = [1]
        [plugins]
        folder = ''
    "), @r#"
    waypost.toml:2:11: router.threads is "2", not a whole number; hint: write a whole number from 1 to 1024, without quotes
    waypost.toml:3:16: router.state_folder is 7, not a text; hint: write a path in quotes
    waypost.toml:4:21: router.drain_deadline_ms is 2.7, not a whole number; hint: write a whole number from 1 to 86400000
    waypost.toml:6:11: listen.address is "localhost", not an IP address and a port; hint: write an IP address and a port, "127.0.0.1:4433" or "[::1]:4433"
    waypost.toml:7:20: listen.insecure_no_auth is "yes", neither true nor false; hint: write true or false, without quotes
    waypost.toml:8:15: listen.max_streams is an array, not a whole number; hint: write a whole number from 1 to 100000
    waypost.toml:10:10: plugins.folder is "", which names nothing; hint: write a path in quotes
    "#);
}

#[test]
fn a_value_out_of_range_is_told_the_range() {
    insta::assert_snapshot!(report(r"
        [router]
        drain_deadline_ms = 0
        threads = -1
        [limits]
        max_headers = 65
        max_message_bytes = 99999999999999999999999999999999999999999999
        [plugins.limits]
        deadline_ms = 0
        [plugins.override.filter-json]
        deadline_ms = 0x0
    "), @r"
    waypost.toml:2:21: router.drain_deadline_ms is 0, out of range; hint: write a whole number from 1 to 86400000
    waypost.toml:3:11: router.threads is -1, out of range; hint: write a whole number from 1 to 1024
    waypost.toml:5:15: limits.max_headers is 65, out of range; hint: write a whole number from 0 to 64
    waypost.toml:6:21: limits.max_message_bytes is 99999999999999999999999999999999999999999999, out of range; hint: write a whole number from 1024 to 1114112
    waypost.toml:8:15: plugins.limits.deadline_ms is 0, out of range; hint: write a whole number from 1 to 600000
    waypost.toml:9:19: warning: no stage uses the plugin filter-json; hint: remove it, or use the plugin in a stage
    waypost.toml:10:15: plugins.override.filter-json.deadline_ms is 0x0, out of range; hint: write a whole number from 1 to 600000
    ");
}

#[test]
fn what_no_plugin_can_be_granted_is_named() {
    insta::assert_snapshot!(report_of(
        "[plugins]\ngrants = 'log'\n[plugins.override.filter-json]\ngrants = ['clok', 3]\n",
        &[("WAYPOST__PLUGINS__OVERRIDE__ROUTE_CONTENT__GRANTS", "log, files")],
        &[],
    ), @r#"
    waypost.toml:2:10: plugins.grants is "log", not a list; hint: write texts in brackets, ["log", "metrics"]
    waypost.toml:3:19: warning: no stage uses the plugin filter-json; hint: remove it, or use the plugin in a stage
    waypost.toml:4:11: plugins.override.filter-json.grants holds "clok", no interface of plugins; hint: write a list of log, metrics, clock, random
    waypost.toml:4:19: plugins.override.filter-json.grants holds 3, not a text; hint: write a list of log, metrics, clock, random
    environment variable WAYPOST__PLUGINS__OVERRIDE__ROUTE_CONTENT__GRANTS: plugins.override.route-content.grants holds "files", no interface of plugins; hint: write a list of log, metrics, clock, random
    environment variable WAYPOST__PLUGINS__OVERRIDE__ROUTE_CONTENT__GRANTS: warning: no stage uses the plugin route-content; hint: remove it, or use the plugin in a stage
    "#);
}

#[test]
fn a_batch_over_the_protocols_limits_is_refused() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = 'a'
        to = 'b'
        batch = { max_messages = 16385, max_bytes = 8388608, linger_ms = 60001 }
        lanes = 0
    "), @r"
    waypost.toml:5:26: route.batch.max_messages is 16385, out of range; hint: write a whole number from 1 to 16384
    waypost.toml:5:45: route.batch.max_bytes is 8388608, out of range; hint: write a whole number from 1024 to 7340032
    waypost.toml:5:66: route.batch.linger_ms is 60001, out of range; hint: write a whole number from 0 to 60000
    waypost.toml:6:9: route.lanes is 0, out of range; hint: write a whole number from 1 to 1024
    ");
}

#[test]
fn a_section_in_the_wrong_shape_is_told_its_heading() {
    insta::assert_snapshot!(report(r"
        router = 1
        [route]
        name = 'r'
        [plugins]
        override = { filter-json = 3, 'No Name' = {} }
        limits = []
    "), @r#"
    waypost.toml:1:10: a section is expected here, not 1; hint: begin it with [router]
    waypost.toml:2:1: there may be several of this section; hint: begin each with [[route]], in two brackets
    waypost.toml:5:14: warning: no stage uses the plugin filter-json; hint: remove it, or use the plugin in a stage
    waypost.toml:5:28: a section is expected here, not 3; hint: begin it with [plugins.override.filter-json]
    waypost.toml:5:31: "No Name" is no name; names are 1 to 64 characters of a-z 0-9 -; hint: name a plugin of a stage
    waypost.toml:6:10: a section is expected here, not an array; hint: begin it with [plugins.limits]
    "#);
    insta::assert_snapshot!(report("route = [1]\n"), @"waypost.toml:1:10: a section is expected here, not 1; hint: begin it with [[route]]");
}

#[test]
fn names_patterns_and_topics_are_told_their_grammar() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'Big Name'
        from = 'a.>.b'
        to = 'a..b'
        [[route]]
        name = ''
        from = 'b*'
        to = 'a.*'
        [[route.stage]]
        name = 'a_b'
        plugin = 'x/../y'
    "), @r#"
    waypost.toml:2:8: route.name is "Big Name", which is no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    waypost.toml:3:8: route.from is "a.>.b", not a pattern: `>` stands in level 2 of a pattern; hint: it may only be the last level
    waypost.toml:4:6: route.to is "a..b", not a topic: level 2 of a topic is empty; hint: put one dot between two levels and none at the ends
    waypost.toml:6:8: route.name is "", which is no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    waypost.toml:7:8: route.from is "b*", not a pattern: level 1 of a pattern mixes a wildcard with other characters; hint: a wildcard is a whole level
    waypost.toml:8:6: route.to is "a.*", not a topic: a topic has '*' at byte 2, counted from 0; hint: levels are made of A-Z a-z 0-9 _ -
    waypost.toml:10:8: route.stage.name is "a_b", which is no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    waypost.toml:11:10: route.stage.plugin is "x/../y", which is no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    "#);
}

#[test]
fn what_must_be_said_is_asked_for() {
    insta::assert_snapshot!(report(r"
        [[route]]
        [[route.stage]]
    "), @r"
    waypost.toml:1:1: [[route]] has no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    waypost.toml:1:1: [[route]] has no from; hint: write a topic in quotes, with * for one level or a final > for the rest
    waypost.toml:2:1: [[route.stage]] has no plugin; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    ");
}

#[test]
fn a_plugin_that_is_not_there_is_told_which_are() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = 'a'
        [[route.stage]]
        plugin = 'filter-jsn'
        [[route.stage]]
        plugin = 'unheard-of'
    "), @r#"
    waypost.toml:5:10: there is no plugin filter-jsn: "etc/plugins" holds no filter-jsn.wasm; hint: did you mean filter-json?
    waypost.toml:7:10: there is no plugin unheard-of: "etc/plugins" holds no unheard-of.wasm; hint: there are filter-json, route-content, schema-upcast, transform-json
    "#);
    insta::assert_snapshot!(report(r"
        [plugins]
        folder = 'nowhere'
        [[route]]
        name = 'r'
        from = 'a'
        [[route.stage]]
        plugin = 'filter-json'
    "), @r#"waypost.toml:2:10: the plugin folder "etc/nowhere" cannot be read: entity not found; hint: create it, or set plugins.folder"#);
}

#[test]
fn a_certificate_and_its_key_come_together() {
    insta::assert_snapshot!(report(r"
        [listen]
        certificate = 'cert.pem'
    "), @"waypost.toml:2:15: listen.certificate stands without listen.key; hint: set both, or none for a development certificate");
    insta::assert_snapshot!(report_of("", &[("WAYPOST__LISTEN__KEY", "key.pem")], &[]), @"environment variable WAYPOST__LISTEN__KEY: listen.key stands without listen.certificate; hint: set both, or none for a development certificate");
}

#[test]
fn an_address_that_lets_anyone_in_must_be_said_in_so_many_words() {
    insta::assert_snapshot!(report(r"
        [listen]
        address = '0.0.0.0:4433'
        [admin]
        address = '[::]:9464'
    "), @r"
    waypost.toml:2:11: listening on 0.0.0.0:4433 would let anyone in; hint: bind a loopback address, or set listen.insecure_no_auth = true if the network is trusted
    waypost.toml:4:11: listening on [::]:9464 would let anyone in; hint: bind a loopback address, or set admin.insecure_no_auth = true if the network is trusted
    ");
    insta::assert_snapshot!(report(r"
        [listen]
        address = '0.0.0.0:4433'
        insecure_no_auth = true
        [admin]
        enabled = false
        address = '[::]:9464'
    "), @"waypost.toml:2:11: warning: listen.address 0.0.0.0:4433 lets in anyone who can reach it; hint: keep others away by a firewall or a private network");
}

#[test]
fn a_message_must_fit_a_frame() {
    insta::assert_snapshot!(report(r"
        [limits]
        max_frame_bytes = 200000
    "), @"waypost.toml:2:19: a message of limits.max_message_bytes, 1114112, does not fit into a frame of limits.max_frame_bytes, 200000; hint: set limits.max_message_bytes to 134336 or less");
}

#[test]
fn a_configuration_of_a_stage_must_be_json() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = 'a'
        [[route.stage]]
        plugin = 'filter-json'
        config = { a = nan, b = [{ c = 99999999999999999999 }] }
        [[route.stage]]
        plugin = 'filter-json'
        name = 's'
        config = '{}'
    "), @r#"
    waypost.toml:6:16: nan is no number that a plugin's configuration can hold; hint: write a finite number of 64 bits, or text in quotes
    waypost.toml:6:32: 99999999999999999999 is no number that a plugin's configuration can hold; hint: write a finite number of 64 bits, or text in quotes
    waypost.toml:10:10: route.stage.config is "{}", not a table; hint: write keys and values in braces, { minimum = 4.5 }
    "#);
}

#[test]
fn what_is_wrong_in_the_environment_or_a_flag_names_it() {
    let environment = [
        ("WAYPOST__LISTEN__ADRESS", "127.0.0.1:1"),
        ("WAYPOST__LISTEN__MAX_STREAMS", "many"),
        ("WAYPOST__PLUGINS__OVERRIDE__FILTER_JSON__DEADLINE_MS", "0"),
        ("WAYPOST__ROUTER", "1"),
        ("WAYPOST__ROUTE__NAME", "r"),
        ("WAYPOST__router__threads", "1"),
        ("WAYPOST__", ""),
        ("WAYPOST_LISTEN_MAX_STREAMS", "7"),
        ("WAYPOST_listen__address", "127.0.0.1:1"),
        ("WAYPOST_LISTENER", "x"),
    ];
    let overrides = [("listen.max_streams", "0"), ("nonsense", "1"), ("router.thraeds", "1")];
    insta::assert_snapshot!(report_of("", &environment, &overrides), @r#"
    environment variable WAYPOST_LISTEN_MAX_STREAMS: it sets nothing; hint: did you mean WAYPOST__LISTEN__MAX_STREAMS?
    environment variable WAYPOST__: there is no key ""; hint: docs/configuration.md lists all keys
    environment variable WAYPOST__LISTEN__ADRESS: there is no key "listen.adress"; hint: did you mean WAYPOST__LISTEN__ADDRESS?
    environment variable WAYPOST__PLUGINS__OVERRIDE__FILTER_JSON__DEADLINE_MS: plugins.override.filter-json.deadline_ms is "0", out of range; hint: write a whole number from 1 to 600000
    environment variable WAYPOST__PLUGINS__OVERRIDE__FILTER_JSON__DEADLINE_MS: warning: no stage uses the plugin filter-json; hint: remove it, or use the plugin in a stage
    environment variable WAYPOST__ROUTER: there is no key "router"; hint: router is a section; set one of its keys
    environment variable WAYPOST__ROUTE__NAME: there is no key "route.name"; hint: routes are written in the file
    environment variable WAYPOST__router__threads: the name has small letters; hint: write WAYPOST__ROUTER__THREADS in capitals
    environment variable WAYPOST_listen__address: it sets nothing; hint: did you mean WAYPOST__LISTEN__ADDRESS?
    flag --set listen.max_streams: listen.max_streams is "0", out of range; hint: write a whole number from 1 to 100000
    flag --set nonsense: there is no key "nonsense"; hint: docs/configuration.md lists all keys
    flag --set router.thraeds: there is no key "router.thraeds"; hint: did you mean router.threads?
    "#);
}

#[test]
fn limits_of_a_plugin_that_no_stage_uses_are_a_warning() {
    insta::assert_snapshot!(report(r"
        [plugins.override.filter-jsno]
        [plugins.override.other]
        [[route]]
        name = 'r'
        from = 'a'
        [[route.stage]]
        plugin = 'filter-json'
    "), @r"
    waypost.toml:1:19: warning: no stage uses the plugin filter-jsno; hint: did you mean filter-json?
    waypost.toml:2:19: warning: no stage uses the plugin other; hint: remove it, or use the plugin in a stage
    ");
    insta::assert_snapshot!(report(r"
        [plugins]
        folder = 'nowhere'
    "), @r#"waypost.toml:2:10: warning: the plugin folder "etc/nowhere" cannot be read: entity not found; hint: create it, so that plugins can be dropped in"#);
}

#[test]
fn what_is_not_toml_is_said_the_same_way() {
    insta::assert_snapshot!(report(r"
        [router]
        threads = 
        state_folder = abc
    "), @r"
    waypost.toml:2:11: this is not TOML: a value is missing; hint: write text in quotes, numbers, true and false without
    waypost.toml:3:16: this is not TOML: string values must be quoted, expected literal string; hint: write text in quotes, numbers, true and false without
    ");
    insta::assert_snapshot!(report(r"
        [router
        threads = 1
    "), @"waypost.toml:1:8: this is not TOML: unclosed table, expected `]`; hint: a line is [section], [[section]], key = value or # comment");
    insta::assert_snapshot!(report(r"
        a = [1, 2
        [router]
        threads = 1
    "), @"waypost.toml:2:1: this is not TOML: missing comma between array elements, expected `,`; hint: put a comma between two elements, and the closing bracket after the last");
    insta::assert_snapshot!(report(r"
        [router]
        threads = 1
        threads = 2
        name = 3
        [router]
    "), @r#"
    waypost.toml:3:1: this key or section stands above already; hint: keep one of the two
    waypost.toml:4:1: [router] has no key "name"; hint: known are state_folder, threads, drain_deadline_ms, block_max_ms
    waypost.toml:5:2: this key or section stands above already; hint: keep one of the two
    "#);
}

#[test]
fn a_file_that_cannot_be_read_is_said_the_same_way() {
    let sources = Sources { file: Some("/nonexistent/waypost.toml".into()), ..Sources::default() };
    let errors = load(&sources, plugins).expect_err("it is not there");
    insta::assert_snapshot!(errors.to_string(), @"/nonexistent/waypost.toml: it cannot be read: No such file or directory (os error 2); hint: name a file that exists");
    let sources = Sources { file: Some("/dev/zero".into()), ..Sources::default() };
    let errors = load(&sources, plugins).expect_err("it is no configuration");
    insta::assert_snapshot!(errors.to_string(), @"/dev/zero: it is larger than 1048576 bytes; hint: name a configuration file");
    let error = syntax::document("waypost.toml", b"[router]\na = '\xff'".to_vec());
    insta::assert_snapshot!(error.expect_err("it is not UTF-8").to_string(), @"waypost.toml:2:6: the text is not UTF-8 from here on; hint: save the file as UTF-8");
}

#[test]
fn a_column_counts_characters() {
    insta::assert_snapshot!(report("router = { \"größe\" = 1, b = 2 }\n"), @r#"
    waypost.toml:1:12: [router] has no key "größe"; hint: known are state_folder, threads, drain_deadline_ms, block_max_ms
    waypost.toml:1:25: [router] has no key "b"; hint: known are state_folder, threads, drain_deadline_ms, block_max_ms
    "#);
}

#[test]
fn on_a_terminal_the_lines_of_the_file_are_shown() {
    let text = "[listen]\n# where\nadress = '127.0.0.1:1'\nmax_streams = 0\n";
    let environment = [("WAYPOST__ROUTER__THREADS", "0")];
    let errors = load_text(text, &environment, &[]).expect_err("it is wrong");
    let shown = errors.render(Style::Snippets { colour: false });
    insta::assert_snapshot!(shown, @r#"
     × [listen] has no key "adress"
      ╭─[waypost.toml:3:1]
    2 │ # where
    3 │ adress = '127.0.0.1:1'
      · ───┬──
      ·    ╰── here
    4 │ max_streams = 0
      ╰────
     help: did you mean address?

     × listen.max_streams is 0, out of range
      ╭─[waypost.toml:4:15]
    3 │ adress = '127.0.0.1:1'
    4 │ max_streams = 0
      ·               ┬
      ·               ╰── here
      ╰────
     help: write a whole number from 1 to 100000

     × environment variable WAYPOST__ROUTER__THREADS: router.threads is "0", out of range
     help: write a whole number from 1 to 1024
    "#);
    assert!(errors.render(Style::Snippets { colour: true }).contains('\u{1b}'));
}

#[test]
fn so_many_problems_that_nobody_reads_them_are_counted() {
    let lines: Vec<String> = (0..150).map(|number| format!("key{number} = 1\n")).collect();
    let errors = load_text(&lines.concat(), &[], &[]).expect_err("it is wrong");
    assert_eq!(errors.problems().len(), 100);
    assert!(errors.to_string().ends_with("50 more problems are not shown"));
}
