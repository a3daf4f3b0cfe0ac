//! Replies to every request with its text in capitals, until it is interrupted.
//!
//! `cargo run --package waypost-client --example respond -- 127.0.0.1:4433 .waypost/tls/ca.pem shout`
#![forbid(unsafe_code)]

use std::error::Error;

use waypost_client::{Client, ClientOptions, PublisherOptions, SubscriberOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ca), Some(pattern)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: respond ADDRESS CA PATTERN".into());
    };
    let client = Client::connect(ClientOptions::new(address).ca_file(ca)?).await?;
    let mut requests = client.subscribe(&pattern, SubscriberOptions::default()).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    while let Some(request) = requests.recv().await {
        let request = request?;
        if request.reply_to().is_some() {
            let receipt = publisher.reply(&request, request.payload().to_ascii_uppercase()).await?;
            // A requester that has gone is none of our business.
            drop(receipt);
        }
    }
    Ok(())
}
