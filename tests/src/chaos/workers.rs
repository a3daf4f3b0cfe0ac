//! The group that reads the output: members that acknowledge, give back, and die; and a reader of the dead letters.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::Notify, task::JoinSet};
use waypost_client::{
    Client, ClientOptions, Delivered, From, MemberOptions, Reconnect, SubscriberOptions,
};

use super::{
    Evidence, PATIENCE, Place,
    application::{LETTERS, OUTPUT, Order},
};
use crate::Router;

const MEMBERS: u64 = 3;
/// Acknowledgements of a member that wait for the router's word, at most.
const UNCONFIRMED: usize = 64;

/// The running group.
pub(super) struct Workers {
    seen: Arc<Seen>,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    log: Mutex<Log>,
    more: Notify,
}

#[derive(Default)]
struct Log {
    evidence: Evidence,
    output: BTreeSet<(u32, u64)>,
    letters: BTreeSet<(u32, u64)>,
    /// The messages of both.
    numbers: BTreeSet<u64>,
    died: u64,
}

impl Workers {
    pub(super) fn start(router: &Router, seed: u64) -> Self {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let (address, ca) = (router.listen(), router.ca());
        for member in 0..MEMBERS {
            let random = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(member));
            tasks.spawn(work(address, ca.clone(), random, seen.clone()));
        }
        tasks.spawn(collect(address, ca, seen.clone()));
        Self { seen, tasks }
    }

    /// Waits until so many messages were seen, wherever they are; or until nothing new comes.
    pub(super) async fn see_messages(&mut self, count: usize) -> anyhow::Result<()> {
        self.see(|log| log.numbers.len() >= count).await
    }

    /// Waits until so many places of the output and so many dead letters were seen; or until nothing new comes.
    pub(super) async fn see_places(&mut self, output: u64, letters: u64) -> anyhow::Result<()> {
        self.see(|log| log.output.len() as u64 >= output && log.letters.len() as u64 >= letters)
            .await
    }

    async fn see(&mut self, is_enough: impl Fn(&Log) -> bool) -> anyhow::Result<()> {
        while !is_enough(&self.seen.log()) {
            let before = self.seen.places();
            tokio::select! {
                () = self.seen.more.notified() => {}
                ended = self.tasks.join_next() => ended.context("there are members")???,
                // The checker says what is missing.
                () = tokio::time::sleep(PATIENCE) => if self.seen.places() == before { break },
            }
        }
        Ok(())
    }

    /// Ends the group. Gives what was seen, and how many members died.
    pub(super) async fn finish(mut self) -> (Evidence, u64) {
        self.tasks.shutdown().await;
        let log = self.seen.log();
        (log.evidence.clone(), log.died)
    }
}

impl Seen {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> usize {
        let log = self.log();
        log.output.len() + log.letters.len()
    }
}

/// One member after the other, each until it dies.
async fn work(
    address: SocketAddr,
    ca: PathBuf,
    mut random: StdRng,
    seen: Arc<Seen>,
) -> anyhow::Result<()> {
    loop {
        let client = connect(address, &ca).await?;
        // A router that is killed in between is one that refuses.
        let Ok(member) = client.join("workers", OUTPUT, MemberOptions::default()).await else {
            continue;
        };
        let (mut member, mut confirmations) = (member, JoinSet::new());
        let deliveries = random.random_range(1..2000);
        for _ in 0..deliveries {
            let Some(delivery) = member.recv().await else { break };
            let delivery = delivery?;
            let place = place(delivery.message())?;
            let at = (place.partition, place.offset);
            {
                let mut log = seen.log();
                log.evidence.output.push(place);
                log.output.insert(at);
                log.numbers.insert(place.number);
            }
            seen.more.notify_one();
            match random.random_range(0..100) {
                0 => delivery.nack(Some(Duration::from_millis(5))),
                // Its lease ends some time.
                1 => drop(delivery),
                _ => {
                    let seen = seen.clone();
                    confirmations.spawn(async move {
                        if delivery.ack_confirmed().await.is_ok() {
                            seen.log().evidence.settled.push(at);
                        }
                    });
                }
            }
            while confirmations.len() >= UNCONFIRMED {
                confirmations.join_next().await;
            }
        }
        // It dies with acknowledgements under way, and with whatever it was given.
        seen.log().died += 1;
    }
}

/// Reads the dead letters.
async fn collect(address: SocketAddr, ca: PathBuf, seen: Arc<Seen>) -> anyhow::Result<()> {
    let client = connect(address, &ca).await?;
    let options = SubscriberOptions { from: Some(From::Beginning), ..SubscriberOptions::default() };
    let mut letters = loop {
        match client.subscribe(LETTERS, options.clone()).await {
            Ok(letters) => break letters,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    while let Some(letter) = letters.recv().await {
        let place = place(&letter?)?;
        {
            let mut log = seen.log();
            log.evidence.letters.push(place);
            log.letters.insert((place.partition, place.offset));
            log.numbers.insert(place.number);
        }
        seen.more.notify_one();
    }
    Ok(())
}

fn place(message: &Delivered) -> anyhow::Result<Place> {
    let Order { number, worked } = serde_json::from_slice(message.payload())?;
    let key = message.key().context("a message has a key")?.try_into();
    Ok(Place {
        partition: message.envelope().partition,
        offset: message.offset().context("a stream gives offsets")?.0,
        key: u64::from_be_bytes(key.context("a key has eight bytes")?),
        number,
        is_worked: worked,
    })
}

/// Connects to a router that may be dead at the moment, by a client that does not wait for long.
pub(super) async fn connect(address: SocketAddr, ca: &Path) -> anyhow::Result<Client> {
    let (initial, max) = (Duration::from_millis(10), Duration::from_millis(100));
    let options = ClientOptions::new(address.to_string())
        .ca_file(ca)?
        .connect_timeout(Duration::from_secs(1))
        .reconnect(Reconnect { initial, max, attempts: None });
    let connected = async {
        loop {
            match Client::connect(options.clone()).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(max).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.context("the router takes no client")
}
