//! Artefacts that the configuration refuses, and what becomes of them under another one.

use super::*;
use crate::wasm::{Interface, Interfaces};

/// A guest that imports the time.
fn punctual() -> Vec<u8> {
    let definitions = r#"(import "waypost:plugin/clock@1.0.0" "now" (func $now (result i64)))"#;
    let process = "(drop (call $now)) (call $answer (local.get $count))";
    Guest { definitions: definitions.into(), import: "clock", ..Guest::process(process) }.artefact()
}

/// The same folder and record after a restart under another policy.
fn restarted(stand: Stand, policy: PluginPolicy) -> Stand {
    let path = stand.folder.path().to_owned();
    stand_under(policy, &path, vec![stage("only", "{}")], stand.folder)
}

#[tokio::test]
async fn a_file_that_is_not_granted_what_it_imports_runs_after_a_restart_that_grants_it() {
    let first_run = stand(vec![stage("only", "{}")]);
    first_run.put(&build(1));
    first_run.deployer.load().await.expect("it is accepted");
    let punctual = first_run.put(&punctual());
    first_run.deployer.rescan().await;
    let refused = first_run.deployer.status()[0].refused.clone().expect("the refusal is told");
    assert!(refused.error.contains("[plugins.override.guest]"), "{}", refused.error);
    // What is recorded now must not count the file as seen.
    let second = build(2);
    let digest = Digest::of(&second);
    first_run.deployer.deploy("guest", second).await.expect("it is accepted");
    assert_eq!(first_run.running(), [digest.0]);

    let policy =
        PluginPolicy { grants: Interfaces::from([Interface::Clock]), ..PluginPolicy::default() };
    let second_run = restarted(first_run, policy);
    second_run.deployer.load().await.expect("it is granted");
    assert_eq!(second_run.running(), [punctual.0]);
}
