//! What is said of routes and topics that cannot be used, or not together.

use super::*;

#[test]
fn routes_that_do_not_stand_together_are_refused_where_they_stand() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = 'in.*'
        to = '$dead.r'
        [[route.stage]]
        plugin = 'filter-json'
        [[route.stage]]
        plugin = 'filter-json'
        [[route]]
        name = 'r'
        from = 'other'
        to = 'in.again'
        [[route]]
        name = 'r'
        from = 'third'
    "), @r#"
    waypost.toml:4:6: route.to is "$dead.r", which belongs to the router; hint: choose a topic that does not begin with $
    waypost.toml:7:1: route r has two stages named filter-json; hint: give each stage its own name; without one it has its plugin's
    waypost.toml:10:8: two routes are named r; hint: give each route its own name
    waypost.toml:13:1: route r has neither a destination nor a stage that could give one; hint: set to, or add a stage that gives messages a topic
    waypost.toml:14:8: two routes are named r; hint: give each route its own name
    "#);
}

#[test]
fn routes_that_lead_in_a_circle_are_told_the_whole_of_it() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'first'
        from = 'a'
        to = 'b'
        [[route]]
        name = 'second'
        from = 'b'
        to = 'c.d'
        [[route]]
        name = 'third'
        from = 'c.>'
        to = 'a'
    "), @"waypost.toml:4:6: routes lead in a circle: first leads to b, second leads to c.d, third leads to a, which first takes; hint: let one of them lead to a topic that no route before it takes, or choose its topics in a stage");
}

#[test]
fn what_is_wrong_with_one_key_of_a_route_hides_nothing_else_of_it() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = 'a'
        to = 'b'
        [[route]]
        name = 'r'
        from = 'a..b'
        to = '$dead.r'
        [[route.stage]]
        plugin = 'filter-jsn'
    "), @r#"
    waypost.toml:6:8: two routes are named r; hint: give each route its own name
    waypost.toml:7:8: route.from is "a..b", not a pattern: in a pattern: level 2 of a topic is empty; hint: put one dot between two levels and none at the ends
    waypost.toml:8:6: route.to is "$dead.r", which belongs to the router; hint: choose a topic that does not begin with $
    waypost.toml:10:10: there is no plugin filter-jsn: "etc/plugins" holds no filter-jsn.wasm; hint: did you mean filter-json?
    "#);
}

#[test]
fn a_route_from_topics_that_pass_routes_by_is_refused() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = '$inbox.>'
        to = 'b'
        [[route]]
        name = 'dead'
        from = '$dead.r'
        to = 'graveyard'
    "), @r#"waypost.toml:3:8: route.from is "$inbox.>", which no route sees; hint: take $dead.<route>, or a pattern that does not begin with $"#);
}

#[test]
fn a_topic_is_told_its_policies_and_what_never_holds() {
    insta::assert_snapshot!(report(r"
        [[topic]]
        pattern = 'a.>'
        on_full = 'drop'
        [[topic]]
        pattern = 'a.b'
        on_full = 'drop-newest'
        block_max_ms = 7
        [[topic]]
        block_max_ms = 0
    "), @r#"
    waypost.toml:3:11: topic.on_full is "drop", which is no policy; hint: write "block", "drop-newest" or "drop-oldest"
    waypost.toml:5:11: warning: this table never holds: an earlier one takes a.>, which covers a.b; hint: put the narrower pattern first, or remove this table
    waypost.toml:7:16: warning: topic.block_max_ms means nothing beside on_full = "drop-newest"; hint: remove it: such messages wait for nobody
    waypost.toml:8:1: [[topic]] has no pattern; hint: write a topic in quotes, with * for one level or a final > for the rest
    waypost.toml:9:16: topic.block_max_ms is 0, out of range; hint: write a whole number from 1 to 86400000
    "#);
}

#[test]
fn a_route_with_a_broken_stage_is_not_also_said_to_lead_nowhere() {
    insta::assert_snapshot!(report(r"
        [[route]]
        name = 'r'
        from = 'a'
        [[route.stage]]
        plugin = 'NO'
    "), @r#"waypost.toml:5:10: route.stage.plugin is "NO", which is no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes"#);
}
