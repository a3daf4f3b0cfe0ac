//! The certificate is replaced while clients are connected.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

use rcgen::{CertificateParams, KeyPair};
use waypost_client::{Client, ClientOptions, Message, Outcome, Publisher, PublisherOptions};
use waypost_tests::Router;

const EXPIRY: &str = "waypost_certificate_expiry_timestamp_seconds";

/// A certificate for loopback with its key, both in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    /// One that is valid until the first day of a year.
    fn until(year: i32) -> Self {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, key: key.serialize_pem() }
    }

    fn put(&self, folder: &Path) {
        put(&folder.join("key.pem"), &self.key);
        put(&folder.join("cert.pem"), &self.certificate);
    }
}

/// Writes a file in one step.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("it is written");
    fs::rename(&beside, path).expect("it is renamed");
}

async fn connect(router: &Router, trusted: &Path) -> Result<Client, waypost_client::ConnectError> {
    let options = ClientOptions::new(router.listen().to_string());
    Client::connect(options.ca_file(trusted).expect("a certificate")).await
}

async fn publishes(publisher: &Publisher) {
    let receipt =
        publisher.publish(Message::new("topic", b"x".as_slice())).await.expect("it is taken");
    assert!(matches!(receipt.await, Outcome::Committed { .. }));
}

/// Waits until so many certificates had this outcome.
async fn until(router: &Router, outcome: &str, count: f64) {
    let series = format!("waypost_certificate_reloads_total{{outcome=\"{outcome}\"}}");
    router.until(&series, count).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_clients_while_old_ones_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (first, second) = (Pair::until(2090), Pair::until(2091));
    let (trusts_first, trusts_second) = (folder.join("first.pem"), folder.join("second.pem"));
    put(&trusts_first, &first.certificate);
    put(&trusts_second, &second.certificate);
    let served = folder.join("served");
    fs::create_dir(&served).expect("a folder");
    first.put(&served);
    let config =
        format!("[listen]\ncertificate = '{0}/cert.pem'\nkey = '{0}/key.pem'\n", served.display());
    let router = Router::start(&config, &[]).await.expect("the router starts");
    let client = connect(&router, &trusts_first).await.expect("it is trusted");
    let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
    publishes(&publisher).await;
    let expiry = router.metric(EXPIRY).await.expect("a series");

    put(&served.join("key.pem"), &second.key);
    until(&router, "refused", 1.0).await;
    assert!(router.log().contains("is not that of the first certificate"), "{}", router.log());
    let half = &second.certificate[..second.certificate.len() / 2];
    put(&served.join("cert.pem"), half);
    until(&router, "refused", 2.0).await;
    assert!(router.log().contains("holds no certificate in PEM"), "{}", router.log());
    Pair::until(2020).put(&served);
    until(&router, "refused", 3.0).await;
    assert!(router.log().contains("has expired on 2020-01-01"), "{}", router.log());
    assert_eq!(router.metric(EXPIRY).await.expect("a series"), expiry);
    connect(&router, &trusts_first).await.expect("the first one is still shown").close().await;
    publishes(&publisher).await;

    second.put(&served);
    until(&router, "accepted", 1.0).await;
    assert!(router.metric(EXPIRY).await.expect("a series") > expiry);
    connect(&router, &trusts_second).await.expect("the second one is shown").close().await;
    connect(&router, &trusts_first).await.expect_err("the first one is not shown any more");
    publishes(&publisher).await;
    client.close().await;
    router.stop().await.expect("it drains");
}
