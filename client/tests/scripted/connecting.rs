//! Connections that are made, and those that are not.

use std::{net::UdpSocket, time::Duration};

use waypost_client::{Client, ClientOptions, ConnectError, ErrorCode, Limits, Status};
use waypost_protocol::{
    ALPN, Frame,
    frame::{Ping, Pong, Welcome},
};

use crate::router::{Router, welcome};

#[tokio::test]
async fn a_router_is_told_who_comes_and_says_what_holds() {
    let router = Router::start();
    let options = router
        .options()
        .name("thermometer")
        .token("open sesame")
        .limits(Limits { max_headers: 3, ..Limits::default() });
    let theirs = Limits { max_batch_messages: 9, ..Limits::default() };
    let accepting = router.accept_with(Welcome { limits: Some(theirs.into()), ..welcome() });
    let (client, peer) = tokio::join!(Client::connect(options), accepting);
    assert_eq!(
        (peer.hello.client_name.as_str(), &*peer.hello.token),
        ("thermometer", &b"open sesame"[..])
    );
    assert_eq!(peer.hello.versions, [1]);
    let Status::Connected { connection, router, limits, reconnects, .. } =
        client.expect("it is welcomed").status()
    else {
        panic!("it is connected");
    };
    assert_eq!((connection.0, router.as_str(), reconnects), (7, "scripted 0.0.0", 0));
    assert_eq!((limits.max_headers, limits.max_batch_messages), (3, 9));
}

#[tokio::test]
async fn a_name_is_resolved() {
    let router = Router::start();
    let port = router.endpoint.local_addr().expect("it is bound").port();
    let options = ClientOptions::new(format!("localhost:{port}"))
        .ca_pem(router.ca_pem.as_bytes())
        .expect("it is a certificate");
    router.connected(options).await;
}

#[tokio::test]
async fn what_is_sent_is_answered_on_the_control_stream() {
    let router = Router::start();
    let (_client, mut peer) = router.connected(router.options()).await;
    peer.control.send(&Frame::Pong(Pong { nonce: 1 })).await;
    peer.control.send(&Frame::Ping(Ping { nonce: 2 })).await;
    assert_eq!(peer.control.next().await, Some(Frame::Pong(Pong { nonce: 2 })));
}

#[tokio::test]
async fn a_router_with_a_short_idle_timeout_is_pinged() {
    let router = Router::start();
    let accepting = router.accept_with(Welcome { idle_timeout_ms: 300, ..welcome() });
    let (client, mut peer) = tokio::join!(Client::connect(router.options()), accepting);
    let _client = client.expect("it is welcomed");
    for _ in 0..2 {
        assert!(matches!(peer.control.next().await, Some(Frame::Ping(_))));
    }
}

/// Connects while the router's endpoint takes what comes; gives the error.
async fn check_error(router: &Router, options: ClientOptions, expected: &str) -> ConnectError {
    let serving = async {
        while let Some(incoming) = router.endpoint.accept().await {
            // The handshake is to fail, and the client says how.
            let _ = incoming.await;
        }
    };
    let error = tokio::select! {
        client = Client::connect(options) => client.expect_err("it cannot be made"),
        () = serving => panic!("the endpoint stands"),
    };
    assert!(error.to_string().contains(expected), "{error}");
    error
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_trusted() {
    let (router, other) = (Router::start(), Router::start());
    let options = ClientOptions::new(router.address())
        .ca_pem(other.ca_pem.as_bytes())
        .expect("it is a certificate");
    let error = check_error(&router, options, "--ca").await;
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_with_the_name() {
    let router = Router::start();
    let options = router.options().server_name("elsewhere.example");
    let error = check_error(&router, options, "server_name").await;
    assert!(matches!(error, ConnectError::WrongName { .. }), "{error}");
    assert!(error.to_string().contains("elsewhere.example"), "{error}");
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_named_as_such() {
    let router = Router::speaking(b"http/1.1");
    let error = check_error(&router, router.options(), "waypost/1").await;
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    assert_eq!(ALPN, b"waypost/1", "the error's text names it");
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let router = Router::start();
    let refusing = async { router.endpoint.accept().await.expect("one comes").refuse() };
    let (client, ()) = tokio::join!(Client::connect(router.options()), refusing);
    let error = client.expect_err("it is refused");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback is free");
    let address = silent.local_addr().expect("it is bound");
    let router = Router::start();
    let options = ClientOptions::new(address.to_string())
        .ca_pem(router.ca_pem.as_bytes())
        .expect("it is a certificate")
        .connect_timeout(Duration::from_millis(20));
    let error = Client::connect(options).await.expect_err("nobody is there");
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn options_that_lead_nowhere_are_refused_at_once() {
    let router = Router::start();
    let trusting = |address: &str| {
        ClientOptions::new(address).ca_pem(router.ca_pem.as_bytes()).expect("it is a certificate")
    };
    for (options, expected) in [
        (ClientOptions::new("127.0.0.1:4433"), "no authority"),
        (trusting("127.0.0.1"), "host:port"),
        (trusting("no host:4433"), "cannot resolve"),
    ] {
        let error = Client::connect(options).await.expect_err("it leads nowhere");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_router_comes_with_its_code_and_a_hint() {
    let router = Router::start();
    let code = ErrorCode::Unauthenticated;
    let closing = router.refused(async |connection, _control| {
        connection.close(code.number().into(), b"who are you");
    });
    let telling = router.refused(async |connection, mut control| {
        control.send(&Frame::error(code, "who are you")).await;
        connection.closed().await;
    });
    for error in [closing.await, telling.await] {
        let text = error.to_string();
        assert!(matches!(error, ConnectError::Rejected { code: its, .. } if its == code), "{text}");
        assert!(text.contains("who are you") && text.contains(code.hint()), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_welcome_closes_the_connection_with_a_code() {
    let router = Router::start();
    let old = Welcome { version: 2, ..welcome() };
    for (bytes, expected) in [
        (encoded(&Frame::Ping(Ping { nonce: 1 })), ErrorCode::UnexpectedFrame),
        (encoded(&Frame::Welcome(old)), ErrorCode::UnsupportedVersion),
        (vec![0, 0, 0, 0, 99, 0, 0, 0], ErrorCode::UnknownFrame),
        (vec![255; 8], ErrorCode::BadFrame),
    ] {
        let error = router
            .refused(async |connection, mut control| {
                control.send_bytes(&bytes).await;
                let closed = connection.closed().await.to_string();
                assert!(closed.contains(&expected.number().to_string()), "{closed}");
            })
            .await;
        let ConnectError::Violation { code, .. } = error else {
            panic!("{error} is no violation");
        };
        assert_eq!(code, expected);
    }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    frame.encode(&mut bytes);
    bytes.to_vec()
}
