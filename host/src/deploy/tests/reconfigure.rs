//! Stages take other configurations while their artefacts stay.

use super::*;

fn route_with(stages: Vec<StageDefinition>) -> RouteDefinition {
    RouteDefinition {
        name: RouteName::parse("route").expect("a name"),
        source: Pattern::parse("in").expect("a pattern"),
        stages,
        destination: Destination::FromPlugin,
        lanes: std::num::NonZeroU16::MIN,
        batch: BatchPolicy::default(),
        breaker: BreakerPolicy::default(),
        retry: RetryPolicy::default(),
    }
}

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
        self.stages.of("route").iter().map(|stage| stage.version.clone()).collect()
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
