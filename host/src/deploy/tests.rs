//! Deploys of guests written by hand, into stages whose versions the tests look at.

mod probation;
mod reconfigure;
mod rules;

use std::{fs, path::Path, sync::Arc, time::Duration};

use prometheus::Registry;
use waypost_artefacts::Guest;
use waypost_core::{
    BatchPolicy, BreakerPolicy, Destination, PluginName, RetryPolicy, RollbackPolicy,
    RouteDefinition, RouteName, RouteStart, StageDefinition, StageName,
};
use waypost_protocol::Pattern;

use super::*;
use crate::{
    router::{Plan, Plans, RouterMetrics},
    wasm::{Compiler, Digest, Sandbox, SandboxMetrics},
};

/// A guest that accepts a configuration of two bytes, `{}`, and traps on a longer one.
const PICKY: &str = "(if (i32.gt_u (local.get 1) (i32.const 2)) (then (unreachable)))
    (call $zeroed (i32.const 16))";

struct Stand {
    deployer: Arc<Deployer>,
    plans: Arc<Plans>,
    metrics: DeployMetrics,
    folder: tempfile::TempDir,
}

fn stage(name: &str, configuration: &str) -> StageDefinition {
    StageDefinition {
        name: StageName::parse(name).expect("a name"),
        plugin: PluginName::parse("guest").expect("a name"),
        configuration: configuration.into(),
    }
}

fn route_with(stages: Vec<StageDefinition>) -> RouteDefinition {
    route_named("route", stages)
}

fn route_named(name: &str, stages: Vec<StageDefinition>) -> RouteDefinition {
    RouteDefinition {
        name: RouteName::parse(name).expect("a name"),
        source: Pattern::parse("in").expect("a pattern"),
        start: RouteStart::End,
        stages,
        destination: Destination::FromPlugin,
        lanes: std::num::NonZeroU16::MIN,
        batch: BatchPolicy::default(),
        breaker: BreakerPolicy::default(),
        retry: RetryPolicy::default(),
    }
}

/// How a route runs.
fn plan(plans: &Plans, route: &str) -> Option<Arc<Plan>> {
    plans.of(&RouteName::parse(route).expect("a name"))
}

/// The digest that each stage of a route runs, in order.
fn running(plans: &Plans, route: &str) -> Vec<[u8; 32]> {
    let plan = plan(plans, route).expect("it is there");
    plan.stages.iter().map(|stage| stage.version.run().digest).collect()
}

fn stand(stages: Vec<StageDefinition>) -> Stand {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    stand_in(&path, stages, folder)
}

/// A deployer for the plugins in a path, which may be a link into the folder.
fn stand_in(path: &Path, stages: Vec<StageDefinition>, folder: tempfile::TempDir) -> Stand {
    stand_under(PluginRules::default(), path, stages, folder)
}

fn stand_under(
    rules: PluginRules,
    path: &Path,
    stages: Vec<StageDefinition>,
    folder: tempfile::TempDir,
) -> Stand {
    let registry = Registry::new();
    let metrics = SandboxMetrics::register(&registry).expect("a new registry");
    let sandbox = Sandbox::new(Compiler::InProcess, Arc::new(metrics)).expect("the engine starts");
    let metrics = DeployMetrics::register(&registry).expect("a new registry");
    let store = VersionStore::open(folder.path().join("versions"), 10).expect("it is made");
    let router_metrics = Arc::new(RouterMetrics::register(&registry).expect("a new registry"));
    let plans = Arc::new(Plans::new(router_metrics));
    let parts = DeployerParts {
        sandbox: Arc::new(sandbox),
        store,
        plans: plans.clone(),
        metrics: metrics.clone(),
    };
    let deployer = Deployer::new(parts, path, &[route_with(stages)], |_| rules.clone());
    Stand { deployer: Arc::new(deployer), plans, metrics, folder }
}

impl Stand {
    fn put(&self, artefact: &[u8]) -> Digest {
        put(self.folder.path(), artefact)
    }

    /// The digest that each stage of the route runs, in order.
    fn running(&self) -> Vec<[u8; 32]> {
        running(&self.plans, "route")
    }
}

fn put(folder: &Path, artefact: &[u8]) -> Digest {
    fs::write(folder.join("guest.wasm"), artefact).expect("the folder takes a file");
    Digest::of(artefact)
}

/// The same guest in so many builds, told apart by a definition that does nothing.
fn build(number: u32) -> Vec<u8> {
    let definitions = format!("(func $build{number} (result i32) (i32.const {number}))");
    Guest { definitions, configure: PICKY.into(), ..Guest::default() }.artefact()
}

#[tokio::test]
async fn a_route_runs_its_stages_in_the_order_of_its_definition() {
    let stand = stand(vec![stage("second", "{}"), stage("first", "{}")]);
    let digest = stand.put(&build(1));
    stand.deployer.load().await.expect("both stages accept it");
    assert_eq!(stand.running(), [digest.0; 2]);
    let plan = plan(&stand.plans, "route").expect("it is there");
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["second", "first"]);
    let status = &stand.deployer.status()[0];
    assert_eq!((status.deploys, status.digest.as_str()), (1, digest.to_string().as_str()));
}

#[tokio::test]
async fn an_artefact_under_a_wrong_name_is_told_of_once_each_time_that_it_comes() {
    let stand = stand(vec![stage("only", "{}")]);
    let file = |name: &str| stand.folder.path().join(name);
    let write = |name: &str| fs::write(file(name), b"any").expect("the folder takes a file");
    write("another-configuration-uses-it.wasm");
    stand.deployer.know_strangers();
    for name in ["guest.wasm", "gest.wasm", "notes.txt"] {
        write(name);
    }
    assert_eq!(stand.deployer.new_strangers(), [file("gest.wasm")]);
    assert!(stand.deployer.new_strangers().is_empty(), "it was told of");
    fs::remove_file(file("gest.wasm")).expect("it is there");
    assert!(stand.deployer.new_strangers().is_empty());
    write("gest.wasm");
    assert_eq!(stand.deployer.new_strangers(), [file("gest.wasm")]);
}

#[tokio::test]
async fn a_missing_or_bad_artefact_keeps_the_router_from_starting_and_is_named() {
    let stand = stand(vec![stage("only", "{}")]);
    let errors = stand.deployer.load().await.expect_err("there is no file");
    assert!(errors[0].to_string().contains("guest.wasm"), "{}", errors[0]);
    stand.put(b"no plugin");
    let errors = stand.deployer.load().await.expect_err("it is no plugin");
    assert!(errors[0].to_string().contains("no WebAssembly"), "{}", errors[0]);
}

#[tokio::test]
async fn a_new_artefact_is_swapped_in_and_a_bad_one_changes_nothing_and_says_why() {
    let stand = stand(vec![stage("only", "{}")]);
    stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let second = stand.put(&build(2));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [second.0]);

    stand.put(b"half a file");
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [second.0], "what ran goes on");
    let refused = stand.deployer.status()[0].refused.clone().expect("the refusal is told");
    assert!(refused.error.contains("no WebAssembly"), "{}", refused.error);

    stand.put(&build(2));
    stand.deployer.rescan().await;
    assert_eq!(stand.deployer.status()[0].refused, None, "what runs is there again");

    let cut = build(3);
    let cut = stand.put(&cut[..cut.len() / 2]);
    stand.deployer.rescan().await;
    let refused = stand.deployer.status()[0].refused.clone().expect("the refusal is told");
    assert_eq!(refused.digest, Some(cut.to_string()));
    assert!(refused.error.contains("not valid WebAssembly"), "{}", refused.error);

    let third = stand.put(&build(3));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [third.0]);
    let status = &stand.deployer.status()[0];
    assert_eq!((status.deploys, &status.refused), (3, &None));
}

#[tokio::test]
async fn an_artefact_that_ran_out_of_time_is_tried_again_a_few_times() {
    let stand = stand(vec![stage("only", "{}")]);
    stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let endless = Guest::process("(loop $again (br $again)) (unreachable)").artefact();
    stand.put(&endless);
    for expected in [1, 2, 3, 3] {
        stand.deployer.rescan().await;
        let refused = stand.metrics.deploys.with_label_values(&["guest", "refused"]);
        assert_eq!(refused.get(), expected);
    }
}

#[tokio::test]
async fn all_stages_that_use_a_file_accept_it_or_none_does() {
    let stand = stand(vec![stage("plain", "{}"), stage("long", "{\"a\":1}")]);
    let easy = Guest::default().artefact();
    let first = stand.put(&easy);
    stand.deployer.load().await.expect("this build takes any configuration");
    stand.put(&build(1));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [first.0; 2], "one stage refuses, so none is swapped");
    let refused = stand.deployer.status()[0].refused.clone().expect("the refusal is told");
    assert!(refused.error.contains("route/long"), "{}", refused.error);
}

#[tokio::test]
async fn a_changed_file_in_the_watched_folder_is_deployed() {
    let stand = stand(vec![stage("only", "{}")]);
    stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let _watcher = stand.deployer.watch(stand.folder.path()).expect("a folder");
    let second = stand.put(&build(2));
    let swapped = async {
        while stand.running() != [second.0] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), swapped).await.expect("it is deployed");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_the_folder_may_be_turned_to_another() {
    use std::os::unix::fs::symlink;
    let stand = stand(vec![stage("only", "{}")]);
    let (old, new) = (stand.folder.path().join("old"), stand.folder.path().join("new"));
    let link = stand.folder.path().join("current");
    for folder in [&old, &new] {
        fs::create_dir(folder).expect("a folder");
    }
    symlink(&old, &link).expect("a link");
    put(&old, &build(1));
    let second = put(&new, &build(2));
    let Stand { deployer, plans, folder: _folder, .. } =
        stand_in(&link, vec![stage("only", "{}")], stand.folder);
    deployer.load().await.expect("it is accepted");
    let look_interval = Duration::from_millis(20);
    let _watcher = deployer.watch_with(&link, look_interval).expect("a folder");
    let turned = link.with_extension("turned");
    symlink(&new, &turned).expect("a link");
    fs::rename(&turned, &link).expect("it is turned");
    let swapped = async {
        while running(&plans, "route") != [second.0] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), swapped).await.expect("it is deployed");
}

#[tokio::test]
async fn a_rollback_is_kept_over_a_restart_although_the_folder_holds_the_other_version() {
    let first_run = stand(vec![stage("only", "{}")]);
    let first = first_run.put(&build(1));
    first_run.deployer.load().await.expect("it is accepted");
    first_run.put(&build(2));
    first_run.deployer.rescan().await;
    let gone_back = first_run.deployer.rollback("guest", None).await.expect("it ran before");
    assert_eq!((gone_back, first_run.running()), (first, vec![first.0]));
    first_run.deployer.rescan().await;
    assert_eq!(first_run.running(), [first.0], "the file has not changed");

    let path = first_run.folder.path().to_owned();
    let second_run = stand_in(&path, vec![stage("only", "{}")], first_run.folder);
    second_run.deployer.load().await.expect("the kept artefact runs");
    assert_eq!(second_run.running(), [first.0]);
    let third = second_run.put(&build(3));
    let third_run = stand_in(&path, vec![stage("only", "{}")], second_run.folder);
    third_run.deployer.load().await.expect("the new file runs");
    assert_eq!(third_run.running(), [third.0]);
    let versions = third_run.deployer.status()[0].versions.clone();
    let ways: Vec<Via> = versions.iter().map(|version| version.via).collect();
    assert_eq!(ways, [Via::Rollback, Via::Folder, Via::Folder]);
}

#[tokio::test]
async fn a_file_that_turned_bad_while_the_router_was_down_does_not_keep_it_down() {
    let first_run = stand(vec![stage("only", "{}")]);
    let first = first_run.put(&build(1));
    first_run.deployer.load().await.expect("it is accepted");
    first_run.put(b"half a file");
    let path = first_run.folder.path().to_owned();
    let second_run = stand_in(&path, vec![stage("only", "{}")], first_run.folder);
    second_run.deployer.load().await.expect("the kept artefact runs");
    assert_eq!(second_run.running(), [first.0]);
}

#[tokio::test]
async fn an_operators_artefact_is_deployed_or_refused_with_the_reason() {
    let stand = stand(vec![stage("only", "{}")]);
    let first = stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let error =
        stand.deployer.deploy("guest", b"nothing".to_vec(), None).await.expect_err("no plugin");
    assert!(error.to_string().contains("handed in"), "{error}");
    let (second, again) = (build(2), build(2));
    let digest = Digest::of(&second);
    let deployed = stand.deployer.deploy("guest", second, None).await.expect("it is accepted");
    assert_eq!((deployed, stand.running()), (Deployed::Swapped(digest), vec![digest.0]));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [digest.0], "the folder's file is as old as before");
    let deployed = stand.deployer.deploy("guest", again, None).await.expect("it runs");
    assert_eq!(deployed, Deployed::Unchanged);
    assert!(stand.deployer.deploy("gast", build(3), None).await.is_err());
    assert_eq!(stand.deployer.plugin_of("route", "only").expect("it is there"), "guest");
    assert!(stand.deployer.plugin_of("route", "other").is_err());
    let prefix = first.to_string()[..8].to_owned();
    let back = stand.deployer.rollback("guest", Some(&prefix)).await.expect("it is kept");
    assert_eq!((back, stand.running()), (first, vec![first.0]));
}
