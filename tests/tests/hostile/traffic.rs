//! Ordinary traffic beside the offenders: numbered messages at a steady pace, each awaited in its turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use waypost_client::{Client, Message, PublisherOptions, SubscriberOptions};
use waypost_tests::Router;

const PACE: Duration = Duration::from_millis(2);

/// Traffic that runs until it is ended.
pub(crate) struct Ordinary {
    enough: Arc<AtomicBool>,
    publishing: JoinHandle<u64>,
    counting: JoinHandle<Vec<Duration>>,
    tell_goal: tokio::sync::oneshot::Sender<u64>,
    client: Client,
}

impl Ordinary {
    pub(crate) async fn start(router: &Router) -> Self {
        let client = router.client().await.expect("a connection");
        let options = SubscriberOptions::default();
        let mut subscription = client.subscribe("quick.out", options).await.expect("a pattern");
        let publisher = client.publisher(PublisherOptions::default()).await.expect("a stream");
        let (enough, origin) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let end = enough.clone();
        let publishing = tokio::spawn(async move {
            let mut clock = tokio::time::interval(PACE);
            let mut number = 0_u64;
            while !end.load(Ordering::Relaxed) {
                clock.tick().await;
                let mut payload = vec![1];
                payload.extend(number.to_le_bytes());
                payload.extend((origin.elapsed().as_nanos() as u64).to_le_bytes());
                let message = Message::new("quick.in", payload).key(b"ordinary".to_vec());
                drop(publisher.publish(message).await.expect("it is taken"));
                number += 1;
            }
            publisher.flush().await;
            publisher.close().await;
            number
        });
        let (tell_goal, mut goal) = tokio::sync::oneshot::channel();
        let counting = tokio::spawn(async move {
            let (mut known, mut waits) = (None, Vec::new());
            while known != Some(waits.len() as u64) {
                let delivered = tokio::select! {
                    delivered = subscription.recv() => delivered,
                    told = &mut goal, if known.is_none() => {
                        known = Some(told.expect("the test goes on"));
                        continue;
                    }
                };
                let delivered = delivered.expect("it goes on").expect("without an error");
                let word = |from: usize| {
                    let bytes = delivered.payload()[from..from + 8].try_into();
                    u64::from_le_bytes(bytes.expect("8 bytes"))
                };
                assert_eq!(word(1), waits.len() as u64, "lost, doubled or out of order");
                let now = origin.elapsed().as_nanos() as u64;
                waits.push(Duration::from_nanos(now.saturating_sub(word(9))));
            }
            waits
        });
        Self { enough, publishing, counting, tell_goal, client }
    }

    /// Ends it when every message has arrived, and gives how long each took.
    pub(crate) async fn end(self) -> Vec<Duration> {
        self.enough.store(true, Ordering::Relaxed);
        let published = self.publishing.await.expect("every message is taken");
        self.tell_goal.send(published).expect("nothing was lost, doubled or out of order");
        let waits = self.counting.await.expect("nothing was lost, doubled or out of order");
        self.client.close().await;
        waits
    }
}

/// What 99 of 100 do not exceed.
pub(crate) fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort();
    waits[waits.len() * 99 / 100]
}
