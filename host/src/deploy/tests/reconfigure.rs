//! Other configurations: of stages whose artefacts stay, and of routes and plugins that come and go.

use super::*;

/// A guest that takes any configuration but this one of nine bytes.
fn choosy() -> Vec<u8> {
    let configure = PICKY
        .replace("(i32.gt_u (local.get 1) (i32.const 2))", "(i32.eq (local.get 1) (i32.const 9))");
    Guest { configure, ..Guest::default() }.artefact()
}

impl Stand {
    async fn reconfigure(&self, configurations: [&str; 2]) -> Result<(), Vec<DeployError>> {
        let [first, second] = configurations;
        let route = route_with(vec![stage("first", first), stage("second", second)]);
        self.deployer.reconfigure(&[route], |_| PluginRules::default()).await
    }

    /// The versions that run, told apart by where they are.
    fn versions(&self) -> Vec<Arc<dyn crate::router::stage::StageVersion>> {
        let plan = plan(&self.plans, "route").expect("it is there");
        plan.stages.iter().map(|stage| stage.version.clone()).collect()
    }
}

#[tokio::test]
async fn all_stages_take_their_configurations_or_none_does() {
    let stand = stand(vec![stage("first", "{}"), stage("second", "{}")]);
    let digest = stand.put(&choosy());
    stand.deployer.load().await.expect("it is accepted");
    let before = stand.versions();
    let is_same = |one: &[Arc<_>], other: &[Arc<_>]| {
        one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
    };

    let errors = stand.reconfigure(["{\"a\":1}", "{\"a\":123}"]).await;
    let errors = errors.expect_err("the second stage refuses");
    assert!(errors[0].to_string().contains("route/second"), "{}", errors[0]);
    assert!(is_same(&before, &stand.versions()), "nothing was swapped");
    stand.reconfigure(["{}", "{}"]).await.expect("it is what runs");
    assert!(is_same(&before, &stand.versions()), "nothing has changed");

    stand.reconfigure(["{\"a\":1}", "{\"a\":2}"]).await.expect("both take theirs");
    let after = stand.versions();
    assert!(before.iter().zip(&after).all(|(before, after)| !Arc::ptr_eq(before, after)));
    assert_eq!(stand.running(), [digest.0; 2], "the artefact is the same");
}

#[tokio::test]
async fn a_version_that_is_gone_back_to_has_the_configuration_of_the_moment() {
    let stand = stand(vec![stage("first", "{}"), stage("second", "{}")]);
    let first = stand.put(&build(1));
    stand.deployer.load().await.expect("it takes a configuration of two bytes");
    stand.put(&choosy());
    stand.deployer.rescan().await;
    stand.reconfigure(["{\"a\":1}", "{}"]).await.expect("it takes another");
    let error = stand.deployer.rollback("guest", None).await.expect_err("the first does not");
    assert!(error.to_string().contains("route/first"), "{error}");
    stand.reconfigure(["{}", "{}"]).await.expect("it takes any");
    assert_eq!(stand.deployer.rollback("guest", None).await.expect("it does now"), first);
}

fn of_plugin(name: &str, plugin: &str) -> StageDefinition {
    StageDefinition { plugin: PluginName::parse(plugin).expect("a name"), ..stage(name, "{}") }
}

#[tokio::test]
async fn routes_and_plugins_come_and_go_and_what_is_missing_changes_nothing() {
    let stand = stand(vec![stage("only", "{}")]);
    let first = stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let rules = |_: &PluginName| PluginRules::default();
    let route = route_with(vec![stage("only", "{}"), of_plugin("more", "other")]);
    let added = route_named("added", vec![of_plugin("more", "other")]);
    let routes = [route, added];

    let errors = stand.deployer.reconfigure(&routes, rules).await.expect_err("there is no file");
    assert!(errors[0].to_string().contains("other.wasm"), "{}", errors[0]);
    assert_eq!(stand.running(), [first.0]);
    assert!(plan(&stand.plans, "added").is_none());

    let second = build(2);
    fs::write(stand.folder.path().join("other.wasm"), &second).expect("the folder takes a file");
    stand.deployer.reconfigure(&routes, rules).await.expect("both run");
    let second = Digest::of(&second);
    assert_eq!(stand.running(), [first.0, second.0]);
    assert_eq!(running(&stand.plans, "added"), [second.0]);
    let names: Vec<_> = stand.deployer.status().into_iter().map(|status| status.name).collect();
    assert_eq!(names, ["guest", "other"]);
    let swaps = &stand.deployer.router_metrics.swaps;
    assert_eq!(swaps.with_label_values(&["route", "more"]).get(), 0, "none ran there before");

    let alone = [route_named("added", vec![of_plugin("more", "other")])];
    stand.deployer.reconfigure(&alone, rules).await.expect("it runs");
    assert!(plan(&stand.plans, "route").is_none());
    stand.deployer.deploy("guest", build(3), None).await.expect_err("no route uses it");

    // What ran last when the plugin went runs when it comes again, although its file is gone.
    fs::remove_file(stand.folder.path().join("guest.wasm")).expect("it is there");
    let routes = [route_with(vec![stage("only", "{}")])];
    stand.deployer.reconfigure(&routes, rules).await.expect("it was kept");
    assert_eq!(stand.running(), [first.0]);
}

#[tokio::test]
async fn a_pin_that_comes_brings_the_pinned_version_or_refuses_the_configuration() {
    let stand = stand(vec![stage("only", "{}")]);
    let first = stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let second = stand.put(&build(2));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [second.0]);
    let pinned = |digest: Digest| {
        move |_: &PluginName| {
            let trust = Trust { pin: Some(digest), ..Trust::default() };
            PluginRules { trust, ..PluginRules::default() }
        }
    };
    let routes = [route_with(vec![stage("only", "{}")])];
    stand.deployer.reconfigure(&routes, pinned(first)).await.expect("it is kept");
    assert_eq!(stand.running(), [first.0]);
    let unknown = Digest::of(b"no such artefact");
    stand.deployer.reconfigure(&routes, pinned(unknown)).await.expect_err("there is none");
    assert_eq!(stand.running(), [first.0]);
}

#[tokio::test]
async fn of_several_plugins_that_come_all_are_recorded_or_none_is() {
    let stand = stand(vec![stage("only", "{}")]);
    stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let versions = stand.folder.path().join("versions");
    let recorded = || fs::read(versions.join("deployed.json")).expect("there is a record");
    let (before, rules) = (recorded(), |_: &PluginName| PluginRules::default());
    let mut stages = vec![stage("only", "{}")];
    for (name, number) in [("one", 2), ("two", 3)] {
        let file = stand.folder.path().join(format!("{name}.wasm"));
        fs::write(file, build(number)).expect("the folder takes a file");
        stages.push(of_plugin(name, name));
    }
    let routes = [route_with(stages)];

    // The second artefact cannot be kept, and then the record cannot be written.
    let second = Digest::of(&build(3)).to_string();
    for in_the_way in [format!("{second}.new"), "deployed.new".to_owned()] {
        let in_the_way = versions.join(in_the_way);
        fs::create_dir(&in_the_way).expect("the folder takes a folder");
        let errors = stand.deployer.reconfigure(&routes, rules).await;
        let errors = errors.expect_err("the disk does not take it");
        assert!(errors[0].to_string().contains("make room for it"), "{}", errors[0]);
        assert_eq!(recorded(), before, "neither is recorded");
        assert_eq!(stand.running().len(), 1, "neither runs");
        let names: Vec<_> = stand.deployer.status().into_iter().map(|known| known.name).collect();
        assert_eq!(names, ["guest"]);
        fs::remove_dir(&in_the_way).expect("it is there");
    }
    stand.deployer.reconfigure(&routes, rules).await.expect("both come");
    assert_eq!(stand.running().len(), 3);
}
