//! Batches: validated, and made of others. Messages are as a publisher makes them: a key, two headers, 128 bytes.

use std::hint::black_box;

use anyhow::Context as _;
use waypost_core::{OutputLimits, StageOutput, Verdict, fold};
use waypost_protocol::{Batch, BatchBuilder, HeadersBuilder, Limits, Topic};

use crate::Piece;

const MESSAGES: u64 = 64;
/// What a lane joins.
const BATCHES: usize = 8;
const PAYLOAD_BYTES: usize = 128;

pub(crate) fn pieces() -> [Piece; 6] {
    let piece =
        |name, messages, run| Piece { name, iterations: 500, messages, flat_with: None, run };
    [
        piece("decode", MESSAGES, decode),
        piece("gather", MESSAGES, gather),
        piece("join", MESSAGES * BATCHES as u64, join),
        piece("with-topic", MESSAGES, with_topic),
        piece("fold-all", MESSAGES, fold_all),
        piece("fold-some", MESSAGES, fold_some),
    ]
}

/// A batch of messages on this topic.
pub(crate) fn batch(topic: &str) -> anyhow::Result<Batch> {
    let mut headers = HeadersBuilder::new();
    headers.push("content-type", b"application/json")?;
    headers.push("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
    let payload = [b'x'; PAYLOAD_BYTES];
    let mut builder = BatchBuilder::new();
    for index in 0..MESSAGES {
        let key = format!("customer{index:03}");
        let created_ms = 1_700_000_000_000 + index;
        builder.push(topic, Some(key.as_bytes()), headers.as_bytes(), &payload, created_ms)?;
    }
    builder.finish().context("it has messages")
}

fn decode(iterations: u64) -> anyhow::Result<()> {
    let bytes = batch("bench.in")?.as_bytes().clone();
    for _ in 0..iterations {
        black_box(Batch::decode(black_box(bytes.clone()), &Limits::default())?);
    }
    Ok(())
}

/// Three of four messages.
fn gather(iterations: u64) -> anyhow::Result<()> {
    let batch = batch("bench.in")?;
    let indices: Vec<u32> = (0..MESSAGES as u32).filter(|index| index % 4 != 3).collect();
    for _ in 0..iterations {
        black_box(black_box(&batch).gather(&indices).context("they are there")?);
    }
    Ok(())
}

fn join(iterations: u64) -> anyhow::Result<()> {
    let batches = vec![batch("bench.in")?; BATCHES];
    for _ in 0..iterations {
        black_box(Batch::join(black_box(&batches)).context("there are some")?);
    }
    Ok(())
}

fn with_topic(iterations: u64) -> anyhow::Result<()> {
    let batch = batch("bench.in")?;
    let topic = Topic::parse("bench.out")?;
    for _ in 0..iterations {
        black_box(black_box(&batch).with_topic(&topic).context("it fits")?);
    }
    Ok(())
}

fn fold_all(iterations: u64) -> anyhow::Result<()> {
    fold_verdicts(iterations, |_| Verdict::Forward)
}

fn fold_some(iterations: u64) -> anyhow::Result<()> {
    fold_verdicts(iterations, |index| if index % 4 == 3 { Verdict::Drop } else { Verdict::Forward })
}

fn fold_verdicts(iterations: u64, verdict: fn(u64) -> Verdict) -> anyhow::Result<()> {
    let batch = batch("bench.in")?;
    let output = StageOutput { verdicts: (0..MESSAGES).map(verdict).collect(), emitted: None };
    let allowed = OutputLimits { max_emitted_per_message: 1 };
    for _ in 0..iterations {
        black_box(fold(black_box(&batch), &output, allowed, Limits::default())?);
    }
    Ok(())
}
