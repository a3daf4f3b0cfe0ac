//! The four plugins of this repository as one route, over a week of real earthquakes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use waypost_plugin_filter_json::FilterJson;
use waypost_plugin_route_content::RouteContent;
use waypost_plugin_schema_upcast::SchemaUpcast;
use waypost_plugin_transform_json::TransformJson;
use waypost_sdk::{
    Plugin,
    testing::{Harness, Outcome, TestMessage},
};

/// The route's stages, configured as quakes.toml says.
struct Route {
    keep: Harness<FilterJson>,
    flatten: Harness<TransformJson>,
    upcast: Harness<SchemaUpcast>,
    route: Harness<RouteContent>,
}

/// Where a message ended.
#[derive(Debug, PartialEq)]
enum End {
    Published(TestMessage),
    Dropped(&'static str),
    Rejected(&'static str, String),
}

impl Route {
    fn new() -> Self {
        let file: toml::Table =
            toml::from_str(include_str!("quakes.toml")).expect("the fixture is well formed");
        let mut stages =
            file["route"][0]["stage"].as_array().expect("the fixture is well formed").iter();
        let mut config = |plugin: &str| {
            let stage = stages.next().expect("the fixture is well formed");
            assert_eq!(stage["plugin"].as_str(), Some(plugin));
            stage["config"].clone()
        };
        Self {
            keep: Harness::new(config("filter-json")).expect("the fixture is well formed"),
            flatten: Harness::new(config("transform-json")).expect("the fixture is well formed"),
            upcast: Harness::new(config("schema-upcast")).expect("the fixture is well formed"),
            route: Harness::new(config("route-content")).expect("the fixture is well formed"),
        }
    }

    fn run(&mut self, payload: &str) -> End {
        let message = TestMessage::new("quakes.raw", payload);
        stage("keep", &mut self.keep, message)
            .and_then(|message| stage("flatten", &mut self.flatten, message))
            .and_then(|message| stage("upcast", &mut self.upcast, message))
            .and_then(|message| stage("route", &mut self.route, message))
            .map_or_else(|end| end, End::Published)
    }
}

/// The message that goes on to the next stage, or where it ended.
fn stage<P: Plugin>(
    name: &'static str,
    plugin: &mut Harness<P>,
    message: TestMessage,
) -> Result<TestMessage, End> {
    match plugin.run_one(message.clone()) {
        Outcome::Forwarded => Ok(message),
        Outcome::Emitted(mut messages) if messages.len() == 1 => Ok(messages.remove(0)),
        Outcome::Dropped => Err(End::Dropped(name)),
        Outcome::Rejected(reason) => Err(End::Rejected(name, reason)),
        other => panic!("{name}: {other:?}"),
    }
}

fn feed() -> impl Iterator<Item = &'static str> {
    include_str!("../../../tests/data/earthquakes.ndjson").lines()
}

#[test]
fn a_week_of_earthquakes_is_kept_flattened_upcast_and_routed() {
    let mut route = Route::new();
    let mut dropped = 0;
    let mut topics = BTreeMap::<String, u32>::new();
    for line in feed() {
        match route.run(line) {
            End::Published(message) => {
                let feature: Value =
                    serde_json::from_str(line).expect("the fixture is well formed");
                let event: Value =
                    serde_json::from_slice(&message.payload).expect("the fixture is well formed");
                assert_eq!(event, expected(&feature));
                *topics.entry(message.topic).or_default() += 1;
            }
            End::Dropped("keep") => dropped += 1,
            other => panic!("{other:?} of {line}"),
        }
    }
    assert_eq!(dropped, 28);
    assert_eq!(topics.values().sum::<u32>(), 1679);
    assert_eq!(topics.remove("quakes.alert"), Some(85));
    let regions: Vec<_> =
        topics.keys().filter_map(|topic| topic.strip_prefix("quakes.region.")).collect();
    assert_eq!(regions, ["ak", "ci", "hv", "mb", "nc", "nm", "nn", "pr", "se", "us", "uu", "uw"]);
}

/// The event of a feature, made without the plugins.
fn expected(feature: &Value) -> Value {
    let (properties, place) = (&feature["properties"], &feature["geometry"]["coordinates"]);
    let severity = match properties["mag"].as_f64() {
        None => "unknown",
        Some(magnitude) if magnitude < 3.0 => "micro",
        Some(magnitude) if magnitude < 4.0 => "minor",
        Some(magnitude) if magnitude < 5.0 => "light",
        Some(magnitude) if magnitude < 6.0 => "moderate",
        Some(magnitude) if magnitude < 7.0 => "strong",
        Some(_) => "major",
    };
    json!({
        "version": 2,
        "id": feature["id"],
        "magnitude": properties["mag"],
        "severity": severity,
        "place": properties["place"],
        "time": properties["time"],
        "net": properties["net"],
        "longitude": place[0],
        "latitude": place[1],
        "depth": place[2],
    })
}

#[test]
fn an_earthquake_without_magnitude_goes_to_its_region() {
    let feature = feed().next().expect("the fixture is well formed");
    for without in
        [feature.replace(r#""mag":0.31"#, r#""mag":null"#), feature.replace(r#""mag":0.31,"#, "")]
    {
        let End::Published(message) = Route::new().run(&without) else { panic!("{without}") };
        assert_eq!(message.topic, "quakes.region.uw");
        assert!(message.payload_text().contains(r#""severity":"unknown""#));
    }
}

#[test]
fn what_is_not_json_is_rejected_by_the_first_stage() {
    for broken in ["", "oops", &feed().next().expect("the fixture is well formed")[..400]] {
        let End::Rejected("keep", reason) = Route::new().run(broken) else { panic!("{broken}") };
        assert!(reason.starts_with("the payload is not JSON: "), "{reason}");
    }
}
