//! Prints the messages of a pattern until it is interrupted.
//!
//! `cargo run --package waypost-client --example subscribe -- 127.0.0.1:4433 .waypost/tls/ca.pem 'greetings'`
#![forbid(unsafe_code)]

use std::error::Error;

use futures_util::StreamExt as _;
use waypost_client::{Client, ClientOptions, SubscriberOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ca), Some(pattern)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: subscribe ADDRESS CA PATTERN".into());
    };
    let client = Client::connect(ClientOptions::new(address).ca_file(ca)?).await?;
    let mut messages = client.subscribe(&pattern, SubscriberOptions::default()).await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        println!("{}: {}", message.topic(), String::from_utf8_lossy(message.payload()));
    }
    Ok(())
}
