//! Asks once and prints the reply.
//!
//! `cargo run --package waypost-client --example request -- 127.0.0.1:4433 .waypost/tls/ca.pem shout hello`
#![forbid(unsafe_code)]

use std::{error::Error, time::Duration};

use waypost_client::{Client, ClientOptions, Message};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ca), Some(topic), Some(text)) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: request ADDRESS CA TOPIC TEXT".into());
    };
    let client = Client::connect(ClientOptions::new(address).ca_file(ca)?).await?;
    let message = Message::new(topic, text.into_bytes());
    let reply = client.request(message, Duration::from_secs(5)).await?;
    println!("{}", String::from_utf8_lossy(reply.payload()));
    client.close().await;
    Ok(())
}
