//! The contract is enough: a guest without the SDK filters in a router.
#![forbid(unsafe_code)]

use std::fs;

use tempfile::TempDir;
use waypost_artefacts::{KEEP_BY_KEY, artefact, component};
use waypost_client::{Message, PublisherOptions, SubscriberOptions};
use waypost_tests::Router;

fn config(first: &str) -> String {
    format!(
        "[plugins.override.keep-by-key]\nmemory_bytes = 65536\n\
         [[route]]\nname = \"keep\"\nfrom = \"keys.in\"\nto = \"keys.out\"\n\
         [[route.stage]]\nname = \"by-key\"\nplugin = \"keep-by-key\"\n\
         config = {{ first = \"{first}\" }}\n"
    )
}

async fn router(config: &str, artefact: &[u8]) -> (anyhow::Result<Router>, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keep-by-key.wasm");
    fs::write(&file, artefact).expect("the folder takes a file");
    (Router::start(config, &[("keep-by-key", file)]).await, folder)
}

#[tokio::test]
async fn a_filter_written_by_hand_keeps_what_its_configuration_says() {
    keeps_what_its_configuration_says(&artefact(KEEP_BY_KEY)).await;
}

#[tokio::test]
async fn a_finished_component_does_what_the_module_does_that_it_was_made_of() {
    let component = component(KEEP_BY_KEY);
    // The header's last two bytes are the layer, which is 1 for a component and 0 for a module.
    assert_eq!(component[4..8], [0x0d, 0, 1, 0], "it is no module");
    keeps_what_its_configuration_says(&component).await;
}

async fn keeps_what_its_configuration_says(artefact: &[u8]) {
    let (router, _folder) = router(&config("e"), artefact).await;
    let router = router.expect("the router starts");
    let client = router.client().await.expect("a connection");
    let mut kept =
        client.subscribe("keys.out", SubscriberOptions::default()).await.expect("a pattern");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    // Its one page of memory is too small for all of these if it gives nothing back.
    const ROUNDS: usize = 1000;
    let payload = "x".repeat(64);
    let keys = [Some("emma"), Some("tom"), None, Some("e"), Some(""), Some("ten"), Some("Eve")];
    for round in 0..ROUNDS {
        for key in keys {
            let text = format!("{round} {} {payload}", key.unwrap_or("none"));
            let mut message = Message::new("keys.in", text.into_bytes());
            if let Some(key) = key {
                message = message.key(key.as_bytes().to_vec());
            }
            drop(publisher.publish(message).await.expect("it is taken"));
        }
    }
    publisher.flush().await;
    for round in 0..ROUNDS {
        for key in ["emma", "e"] {
            let delivered = kept.recv().await.expect("it goes on").expect("without an error");
            let expected = format!("{round} {key} {payload}");
            assert_eq!(delivered.payload(), expected.as_bytes());
        }
    }
    let failures = router.metric("waypost_stage_failures_total").await.expect("a series");
    assert_eq!(failures, 0.0, "{}", router.log());
    let plugins = router.admin("/api/v1/plugins").await.expect("the admin server answers");
    assert!(plugins.contains(r#""imports":[]"#), "{plugins}");
    publisher.close().await;
    client.close().await;
    router.stop().await.expect("it drains");
}

#[tokio::test]
async fn a_configuration_that_it_does_not_take_is_refused_in_its_own_words() {
    for wrong in ["", "ab", "ä", "\\n"] {
        let (router, _folder) = router(&config(wrong), &artefact(KEEP_BY_KEY)).await;
        let error = router.err().unwrap_or_else(|| panic!("{wrong:?} is taken")).to_string();
        assert!(error.contains("write { first = \"e\" }, one ASCII character"), "{error}");
    }
}
