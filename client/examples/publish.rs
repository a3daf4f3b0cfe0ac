//! Publishes ten messages and says what became of each.
//!
//! `cargo run --package waypost-client --example publish -- 127.0.0.1:4433 .waypost/tls/ca.pem greetings`
#![forbid(unsafe_code)]

use std::error::Error;

use waypost_client::{Client, ClientOptions, Message, PublisherOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ca), Some(topic)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: publish ADDRESS CA TOPIC".into());
    };
    let client = Client::connect(ClientOptions::new(address).ca_file(ca)?).await?;
    let publisher = client.publisher(PublisherOptions::default()).await?;
    let mut receipts = Vec::new();
    for number in 0..10 {
        let message = Message::new(topic.as_str(), format!("message {number}").into_bytes());
        receipts.push(publisher.publish(message).await?);
    }
    publisher.flush().await;
    for (number, receipt) in receipts.into_iter().enumerate() {
        println!("{number}: {:?}", receipt.await);
    }
    client.close().await;
    Ok(())
}
