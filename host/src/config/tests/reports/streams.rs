//! What is said of streams that do not stand together.

use super::*;

#[test]
fn streams_that_keep_the_same_topics_are_named_with_both_places() {
    insta::assert_snapshot!(report(r"
        [[stream]]
        name = 'orders'
        topics = ['orders.>']
        [[stream]]
        name = 'orders'
        topics = ['audit', 'orders.*.paid']
    "), @r#"
    waypost.toml:5:8: two streams are named orders; hint: give each stream its own name
    waypost.toml:6:10: orders.*.paid of the stream orders and orders.> of the stream orders at waypost.toml:3:10 match the same topics; hint: let each topic belong to one stream
    "#);
}

#[test]
fn a_stream_says_what_it_keeps_and_keeps_nothing_of_the_router() {
    insta::assert_snapshot!(report(r"
        [[stream]]
        name = 'Orders'
        topics = []
        [[stream]]
        name = 'dead'
        topics = ['$inbox.>', '$dead.>', 'a..b']
        partitions = 0
        [[stream]]
        name = 'none'
    "), @r#"
    waypost.toml:2:8: stream.name is "Orders", which is no name; hint: write a name of 1 to 64 characters of a-z 0-9 - in quotes
    waypost.toml:3:10: stream.topics is empty; hint: write patterns in brackets, ["orders.>"]
    waypost.toml:6:11: stream.topics holds "$inbox.>", which belongs to the router; hint: keep $dead.<route>, $dead.>, or topics that do not begin with $
    waypost.toml:6:34: stream.topics holds "a..b", not a pattern: in a pattern: level 2 of a topic is empty; hint: put one dot between two levels and none at the ends
    waypost.toml:7:14: stream.partitions is 0, out of range; hint: write a whole number from 1 to 1024
    waypost.toml:8:1: [[stream]] has no topics; hint: write patterns in brackets, ["orders.>"]
    "#);
}

#[test]
fn what_a_stream_keeps_is_never_dropped() {
    insta::assert_snapshot!(report(r"
        [[stream]]
        name = 'orders'
        topics = ['orders.>']
        [[topic]]
        pattern = 'orders.*'
        on_full = 'drop-oldest'
    "), @r#"
    waypost.toml:5:11: orders.* matches topics of orders.>, which the stream orders at waypost.toml:3:10 keeps: they are never dropped; hint: narrow the pattern to topics that no stream keeps
    "#);
}

#[test]
fn a_route_that_reads_a_stream_has_its_dead_letters_kept() {
    let config = r"
        [[stream]]
        name = 'dead'
        topics = ['orders.>']
        [[route]]
        name = 'r'
        from = '*.a'
        to = 'other'
        [[route]]
        name = 'm'
        from = 'memory'
        to = 'orders.b'
    ";
    insta::assert_snapshot!(report(config), @r#"waypost.toml:6:8: the route r reads the stream dead, and no stream keeps its dead letters, $dead.r; hint: add [[stream]] with name = "dead-letters" and topics = ["$dead.>"] to the file"#);
    let kept = config.to_owned() + "[[stream]]\nname = 'letters'\ntopics = ['$dead.r']\n";
    insta::assert_snapshot!(report(&kept), @"");
}
