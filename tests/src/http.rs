//! Plain HTTP, as far as the admin server needs it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::bail;

/// The body of a successful answer; blocks for ten seconds at most.
///
/// # Errors
///
/// No answer, or another status than 200.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    ask(address, path, &head, &[], Duration::from_secs(10))
}

/// The same for a request that sends something, and shows this token; blocks for two minutes at most, since a
/// plugin may be compiled meanwhile.
///
/// # Errors
///
/// No answer, or another status than 200.
pub fn post(address: SocketAddr, path: &str, token: &str, body: &[u8]) -> anyhow::Result<String> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    ask(address, path, &head, body, Duration::from_secs(120))
}

fn ask(
    address: SocketAddr,
    path: &str,
    head: &str,
    body: &[u8],
    patience: Duration,
) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => bail!("{path} answered {answer}"),
    }
}
