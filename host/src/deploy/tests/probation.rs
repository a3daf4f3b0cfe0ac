//! Versions on trial, and the way back from them.

use super::*;
use crate::{deploy::probation::OnTrial, router::stage::Tally};

const WINDOW: Duration = Duration::from_secs(60);

impl Stand {
    /// What the version that runs in the only stage counts.
    fn tally(&self) -> Arc<Tally> {
        let plan = plan(&self.plans, "route").expect("it is there");
        plan.stages[0].tally.clone()
    }

    /// The artefact that is on trial and how often it failed.
    fn on_trial(&self) -> Vec<(Digest, u64)> {
        let all = self.deployer.on_trial(WINDOW).into_iter();
        all.map(|OnTrial { digest, now, .. }| (digest, now.failures)).collect()
    }

    async fn deploy(&self, number: u32) -> Digest {
        let deployed = self.deployer.deploy("guest", build(number), None).await;
        match deployed.expect("it is accepted") {
            Deployed::Swapped(digest) => digest,
            Deployed::Unchanged => panic!("it runs already"),
        }
    }

    /// Why the versions that were rolled back were, in the order in which they came.
    fn reasons(&self) -> Vec<Option<String>> {
        let versions = self.deployer.status()[0].versions.clone();
        versions.into_iter().map(|version| version.rolled_back).collect()
    }
}

async fn loaded() -> Stand {
    let stand = stand(vec![stage("only", "{}")]);
    stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    stand
}

fn fail(tally: &Tally, times: u32) {
    for _ in 0..times {
        tally.failed();
    }
}

fn guest() -> PluginName {
    PluginName::parse("guest").expect("a name")
}

#[tokio::test]
async fn a_new_version_that_fails_more_than_the_one_before_is_rolled_back_by_itself() {
    let stand = loaded().await;
    let [first] = stand.running()[..] else { panic!("one stage") };
    let _probation = Probation::start(stand.deployer.clone(), RollbackPolicy::default());
    // The first version fails now and then.
    stand.tally().decided(1000);
    fail(&stand.tally(), 20);
    let second = stand.put(&build(2));
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [second.0]);
    stand.tally().decided(80);
    fail(&stand.tally(), 20);
    let rolled_back = async {
        while stand.running() != [first] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), rolled_back).await.expect("it is rolled back");
    assert_eq!(stand.deployer.status()[0].versions[0].via, Via::AutomaticRollback);
    let reason = Some("it failed on 20 of the first 100 messages".to_owned());
    assert_eq!(stand.reasons(), [None, reason]);
    stand.deployer.rescan().await;
    assert_eq!(stand.running(), [first], "the same file is not tried again");
}

#[tokio::test]
async fn a_version_that_came_while_the_one_before_it_was_judged_stays() {
    let stand = loaded().await;
    let second = stand.deploy(2).await;
    let third = stand.deploy(3).await;
    let withdrawn = stand.deployer.withdraw(&guest(), second, "it failed").await;
    assert_eq!(withdrawn.expect("it is no error"), None);
    assert_eq!(stand.running(), [third.0]);
    assert_eq!(stand.reasons(), [None, None, None]);
    let withdrawn = stand.deployer.withdraw(&guest(), third, "it failed").await;
    assert_eq!(withdrawn.expect("the second ran before"), Some(second));
    assert_eq!(stand.reasons(), [None, None, Some("it failed".to_owned())]);
}

#[tokio::test]
async fn batches_of_the_old_version_that_are_still_under_way_do_not_count_against_the_new_one() {
    let stand = loaded().await;
    let old = stand.tally();
    let second = stand.deploy(2).await;
    fail(&old, 100);
    assert_eq!(stand.on_trial(), [(second, 0)]);
    fail(&stand.tally(), 3);
    assert_eq!(stand.on_trial(), [(second, 3)]);
}

#[tokio::test]
async fn a_version_on_trial_is_counted_on_when_it_is_configured_anew() {
    let stand = stand(vec![stage("only", "{}")]);
    stand.put(&build(1));
    stand.deployer.load().await.expect("it is accepted");
    let again = Guest::default().artefact();
    let second = Digest::of(&again);
    stand.deployer.deploy("guest", again, None).await.expect("it takes any configuration");
    fail(&stand.tally(), 4);
    let route = route_with(vec![stage("only", "{\"a\":1}")]);
    let reconfigured = stand.deployer.reconfigure(&[route], |_| PluginRules::default()).await;
    reconfigured.expect("it takes that one too");
    fail(&stand.tally(), 1);
    assert_eq!(stand.on_trial(), [(second, 5)]);
}

#[tokio::test]
async fn a_version_that_cannot_be_gone_back_from_is_not_marked_and_not_judged_again() {
    let stand = loaded().await;
    let second = stand.deploy(2).await;
    let record = stand.folder.path().join("versions/deployed.json");
    fs::remove_file(&record).expect("it was written");
    // A folder in its place cannot be written over.
    fs::create_dir(&record).expect("a folder");
    let error = stand.deployer.withdraw(&guest(), second, "it failed").await;
    let error = error.expect_err("it cannot be recorded");
    assert!(error.to_string().contains("deployed.json"), "{error}");
    assert_eq!((stand.running(), stand.reasons()), (vec![second.0], vec![None, None]));
    assert_eq!(stand.on_trial(), []);
}
