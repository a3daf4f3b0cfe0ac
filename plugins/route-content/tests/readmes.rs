//! The example in each plugin's README is a stage that the plugin accepts.
#![forbid(unsafe_code)]

use waypost_plugin_filter_json::FilterJson;
use waypost_plugin_route_content::RouteContent;
use waypost_plugin_schema_upcast::SchemaUpcast;
use waypost_plugin_transform_json::TransformJson;
use waypost_sdk::{Plugin, testing::Harness};

fn check<P: Plugin>(readme: &str) {
    let (_, example) = readme.split_once("```toml\n").expect("the fixture is well formed");
    let (example, _) = example.split_once("```").expect("the fixture is well formed");
    let example: toml::Table = toml::from_str(example).expect("the fixture is well formed");
    let stage = &example["route"][0]["stage"][0];
    assert_eq!(stage["plugin"].as_str(), Some(P::manifest().name));
    Harness::<P>::new(stage["config"].clone()).expect("the fixture is well formed");
}

#[test]
fn every_example_is_accepted() {
    check::<FilterJson>(include_str!("../../filter-json/README.md"));
    check::<TransformJson>(include_str!("../../transform-json/README.md"));
    check::<SchemaUpcast>(include_str!("../../schema-upcast/README.md"));
    check::<RouteContent>(include_str!("../README.md"));
}
