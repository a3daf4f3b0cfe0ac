//! Artefacts that the configuration refuses, and what becomes of them under another one.

use super::*;
use waypost_artefacts::Signer;

use crate::wasm::{Interface, Interfaces, PluginPolicy};

/// A guest that imports the time.
fn punctual() -> Vec<u8> {
    let definitions = r#"(import "waypost:plugin/clock@1.0.0" "now" (func $now (result i64)))"#;
    let process = "(drop (call $now)) (call $answer (local.get $count))";
    Guest { definitions: definitions.into(), import: "clock", ..Guest::process(process) }.artefact()
}

/// The same folder and record after a restart under other rules.
fn restarted(stand: Stand, rules: PluginRules) -> Stand {
    let path = stand.folder.path().to_owned();
    stand_under(rules, &path, vec![stage("only", "{}")], stand.folder)
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
    first_run.deployer.deploy("guest", second, None).await.expect("it is accepted");
    assert_eq!(first_run.running(), [digest.0]);

    let policy =
        PluginPolicy { grants: Interfaces::from([Interface::Clock]), ..PluginPolicy::default() };
    let second_run = restarted(first_run, PluginRules { policy, ..PluginRules::default() });
    second_run.deployer.load().await.expect("it is granted");
    assert_eq!(second_run.running(), [punctual.0]);
}

fn trusting(signer: &Signer) -> PluginRules {
    let key = signer.public_key().parse().expect("a public key");
    let trust = Trust { keys: [key].into(), pin: None };
    PluginRules { trust, ..PluginRules::default() }
}

fn pinning(pin: Digest) -> PluginRules {
    let trust = Trust { pin: Some(pin), ..Trust::default() };
    PluginRules { trust, ..PluginRules::default() }
}

/// A deployer in a new folder that holds this artefact and signature.
fn stand_with(rules: PluginRules, artefact: &[u8], signature: Option<&str>) -> Stand {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let stand = stand_under(rules, &path, vec![stage("only", "{}")], folder);
    stand.put(artefact);
    stand.sign(signature);
    stand
}

impl Stand {
    fn sign(&self, signature: Option<&str>) {
        let file = self.folder.path().join("guest.wasm.minisig");
        match signature {
            Some(text) => fs::write(file, text).expect("the folder takes a file"),
            None => drop(fs::remove_file(file)),
        }
    }

    fn refusal(&self) -> String {
        let refused = self.deployer.status()[0].refused.clone();
        refused.map(|refused| refused.error).unwrap_or_default()
    }
}

#[tokio::test]
async fn an_artefact_without_a_trusted_signature_does_not_start_a_router() {
    let (ours, theirs) = (Signer::generate(), Signer::generate());
    let artefact = build(1);
    let by_another = theirs.sign(&artefact);
    for (signature, says) in [
        (None, "guest.wasm.minisig"),
        (Some(by_another.as_str()), "a key that plugins.trusted_keys does not name"),
        (Some("no signature"), "none of minisign's"),
    ] {
        let stand = stand_with(trusting(&ours), &artefact, signature);
        let errors = stand.deployer.load().await.expect_err("nobody vouches for it");
        assert!(errors[0].to_string().contains(says), "{}", errors[0]);
        assert!(stand.running().is_empty());
    }
    let signature = ours.sign(&artefact);
    let stand = stand_with(trusting(&ours), &artefact, Some(&signature));
    stand.deployer.load().await.expect("its signature is good");
}

#[tokio::test]
async fn a_signature_that_comes_after_its_artefact_lets_it_run() {
    let ours = Signer::generate();
    let (first, second) = (build(1), build(2));
    let stand = stand_with(trusting(&ours), &first, Some(&ours.sign(&first)));
    stand.deployer.load().await.expect("its signature is good");
    let digest = stand.put(&second);
    // As often as it may look at what does not change.
    for _ in 0..5 {
        stand.deployer.rescan().await;
    }
    assert_eq!(stand.running(), [Digest::of(&first).0], "the signature is the other build's");
    assert!(stand.refusal().contains("does not match its bytes"), "{}", stand.refusal());
    stand.sign(Some(&ours.sign(&second)));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [digest.0]);
}

#[tokio::test]
async fn what_is_handed_in_or_gone_back_to_needs_a_signature_as_well() {
    let ours = Signer::generate();
    let (first, second, third) = (build(1), build(2), build(3));
    let stand = stand_with(trusting(&ours), &first, Some(&ours.sign(&first)));
    stand.deployer.load().await.expect("its signature is good");
    let error = stand.deployer.deploy("guest", second.clone(), None).await;
    assert!(error.expect_err("nobody vouches for it").to_string().contains("--signature"));
    let signature = ours.sign(&second);
    stand.deployer.deploy("guest", second, Some(signature)).await.expect("its signature is good");
    let signature = ours.sign(&third);
    stand.deployer.deploy("guest", third, Some(signature)).await.expect("its signature is good");
    // The first is read from where it is kept, with the signature that it came with.
    let prefix = Digest::of(&first).to_string();
    stand.deployer.rollback("guest", Some(&prefix)).await.expect("its signature is kept");

    // Whoever is not trusted any more is not gone back to.
    let theirs = Signer::generate();
    stand.sign(Some(&theirs.sign(&first)));
    let second_run = restarted(stand, trusting(&theirs));
    second_run.deployer.load().await.expect("the file is signed anew");
    let prefix = Digest::of(&build(2)).to_string();
    let back = second_run.deployer.rollback("guest", Some(&prefix)).await;
    let error = back.expect_err("it is signed by another").to_string();
    assert!(error.contains("a key that plugins.trusted_keys does not name"), "{error}");
    assert_eq!(second_run.running(), [Digest::of(&first).0]);
}

#[tokio::test]
async fn a_pin_refuses_every_other_artefact_whatever_way_it_comes() {
    let first_run = stand(vec![stage("only", "{}")]);
    let first = first_run.put(&build(1));
    first_run.deployer.load().await.expect("nothing is pinned");
    let second = first_run.put(&build(2));
    first_run.deployer.rescan().await;
    assert_eq!(first_run.running(), [second.0]);

    let second_run = restarted(first_run, pinning(second));
    second_run.deployer.load().await.expect("it is the pinned one");
    let error = second_run.deployer.rollback("guest", None).await.expect_err("it is another");
    let pins = format!("its digest is {first}, but plugins.override.guest.digest pins {second}");
    assert!(error.to_string().contains(&pins), "{error}");
    let error = second_run.deployer.deploy("guest", build(3), None).await.expect_err("another");
    assert!(error.to_string().contains("handed in"), "{error}");
    second_run.put(&build(3));
    second_run.deployer.rescan().await;
    assert!(second_run.refusal().contains("pins"), "{}", second_run.refusal());
    assert_eq!(second_run.running(), [second.0]);
}

#[tokio::test]
async fn a_router_starts_with_the_pinned_version_where_it_has_one() {
    let first_run = stand(vec![stage("only", "{}")]);
    let first = first_run.put(&build(1));
    first_run.deployer.load().await.expect("nothing is pinned");
    let second = first_run.put(&build(2));
    first_run.deployer.rescan().await;

    // It is kept; the file is another.
    let second_run = restarted(first_run, pinning(first));
    second_run.deployer.load().await.expect("it is kept");
    assert_eq!(second_run.running(), [first.0]);
    assert_eq!(second_run.deployer.status()[0].versions[0].via, Via::Pinned);
    // It is the file; another one runs.
    let third_run = restarted(second_run, pinning(second));
    third_run.deployer.load().await.expect("it is in the folder");
    assert_eq!(third_run.running(), [second.0]);
    // It is nowhere.
    let fourth_run = restarted(third_run, pinning(Digest::of(b"elsewhere")));
    let errors = fourth_run.deployer.load().await.expect_err("it is nowhere");
    assert!(errors[0].to_string().contains("pins"), "{}", errors[0]);
}
