//! Attempts to connect when there are many.

use super::*;

impl Running {
    fn attempts(&self, action: &str) -> u64 {
        self.metrics.attempts.with_label_values(&[action]).get()
    }
}

/// Waits for what must come to hold.
async fn until(is_so: impl Fn() -> bool) {
    let holds = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), holds).await.expect("it comes to hold");
}

#[tokio::test]
async fn with_a_threshold_of_zero_everybody_is_sent_a_token_and_gets_in() {
    let running = start_with(|settings| settings.incoming.retry_above_handshakes = 0);
    for _ in 0..3 {
        let (_connection, mut control) = running.connected().await;
        control.send(&Frame::Ping(Ping { nonce: 7 })).await;
        assert!(matches!(control.next().await, Some(Frame::Pong(_))));
    }
    assert_eq!((running.attempts("retried"), running.attempts("accepted")), (3, 3));
    assert_eq!((running.attempts("refused"), running.attempts("ignored")), (0, 0));
}

#[tokio::test]
async fn below_the_threshold_nobody_is_sent_a_token() {
    let running = start();
    let _connected = running.connected().await;
    assert_eq!((running.attempts("retried"), running.attempts("accepted")), (0, 1));
    until(|| running.metrics.handshakes.get() == 0).await;
}

#[tokio::test]
async fn above_the_threshold_and_only_there_whoever_comes_is_sent_a_token() {
    let running = start_with(|settings| {
        settings.incoming.retry_above_handshakes = 2;
        settings.handshake_timeout = Duration::from_secs(60);
    });
    let attempts = || (running.attempts("retried"), running.attempts("accepted"));
    let mut unfinished = Vec::new();
    for (handshakes, expected) in [(1, (0, 1)), (2, (0, 2)), (3, (1, 3)), (4, (2, 4))] {
        unfinished.push(running.connection().await);
        assert_eq!(running.metrics.handshakes.get(), handshakes);
        assert_eq!(attempts(), expected, "with {handshakes} handshakes under way");
    }
    for connection in &unfinished {
        let mut control = Conversation::open(connection).await;
        control.send(&hello()).await;
        assert!(matches!(control.next().await, Some(Frame::Welcome(_))));
    }
    until(|| running.metrics.handshakes.get() == 0).await;
    let _last = running.connected().await;
    assert_eq!(attempts(), (2, 5), "it is over when the handshakes are");
    assert_eq!((running.attempts("refused"), running.attempts("ignored")), (0, 0));
}

#[tokio::test]
async fn who_comes_during_too_many_handshakes_gets_in_when_one_has_ended() {
    let running = start_with(|settings| {
        settings.incoming.max_handshakes = 1;
        settings.handshake_timeout = Duration::from_secs(60);
    });
    let first = running.connection().await;
    let connecting = running.endpoint.connect(running.server.address(), "localhost");
    let second = tokio::spawn(connecting.expect("a good address"));
    until(|| running.attempts("ignored") > 0).await;
    assert_eq!(running.metrics.handshakes.get(), 1);
    let mut control = Conversation::open(&first).await;
    control.send(&hello()).await;
    assert!(matches!(control.next().await, Some(Frame::Welcome(_))));
    second.await.expect("no panic").expect("the second gets in");
    assert_eq!(running.attempts("accepted"), 2);
}

#[tokio::test]
async fn who_comes_when_all_connections_stand_is_refused() {
    let running = start_with(|settings| settings.incoming.max_connections = 1);
    let _first = running.connected().await;
    let connecting = running.endpoint.connect(running.server.address(), "localhost");
    connecting.expect("a good address").await.expect_err("there is no room");
    assert_eq!((running.attempts("refused"), running.attempts("accepted")), (1, 1));
}
