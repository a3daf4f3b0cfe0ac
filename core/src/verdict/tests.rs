//! What answers become, sound ones and nonsense.

use super::*;

const ALLOWED: OutputLimits = OutputLimits { max_emitted_per_message: 4 };

fn input() -> Batch {
    let mut builder = BatchBuilder::new();
    for payload in ["zero", "one", "two"] {
        builder.push("in", Some(b"k"), &[], payload.as_bytes(), 9).expect("it fits");
    }
    builder.finish().expect("there are messages")
}

fn set(values: &[&str]) -> Option<ChangeColumn> {
    let mut column = ChangeColumn { changes: Vec::new(), ends: vec![0], bytes: Vec::new() };
    for value in values {
        column.changes.push(Change::Set);
        column.bytes.extend_from_slice(value.as_bytes());
        column.ends.push(u32::try_from(column.bytes.len()).expect("a short text"));
    }
    Some(column)
}

fn folded(verdicts: Vec<Verdict>, emitted: Option<Emitted>) -> Result<Folded, ContractError> {
    fold(&input(), &StageOutput { verdicts, emitted }, ALLOWED, Limits::default())
}

fn read(folded: &Folded) -> Vec<(String, String)> {
    let batch = folded.batches.iter().flat_map(Batch::iter);
    batch
        .map(|message| {
            let payload = String::from_utf8_lossy(message.payload()).into_owned();
            (message.topic().to_owned(), payload)
        })
        .collect()
}

#[test]
fn all_forwarded_is_the_same_buffer() {
    let input = input();
    let output = StageOutput { verdicts: vec![Verdict::Forward; 3], emitted: None };
    let folded = fold(&input, &output, ALLOWED, Limits::default()).expect("it is sound");
    let [batch] = folded.batches.as_slice() else { panic!("all go on in one batch") };
    assert_eq!(batch.as_bytes().as_ptr(), input.as_bytes().as_ptr());
}

#[test]
fn each_verdict_has_its_effect() {
    let verdicts = vec![Verdict::Drop, Verdict::Reject("no".into()), Verdict::Forward];
    let folded = folded(verdicts, None).expect("it is sound");
    assert_eq!(read(&folded), [("in".into(), "two".into())]);
    assert_eq!((folded.dropped, &*folded.sources), (1, &[2][..]));
    let expected = Failed { index: 1, code: ErrorCode::PluginRejected, error: "no".into() };
    assert_eq!(folded.failed, [expected]);
}

#[test]
fn emitted_messages_stand_where_their_source_stood() {
    let emitted = Emitted {
        sources: vec![1, 1],
        topics: set(&["out.a", "out.b"]),
        payloads: set(&["x", "y"]),
        ..Emitted::default()
    };
    let verdicts = vec![Verdict::Forward, Verdict::Emit(2), Verdict::Forward];
    let folded = folded(verdicts, Some(emitted)).expect("it is sound");
    let expected = [("in", "zero"), ("out.a", "x"), ("out.b", "y"), ("in", "two")];
    assert_eq!(read(&folded), expected.map(|(topic, payload)| (topic.into(), payload.into())));
    assert_eq!(folded.sources, [0, 1, 1, 2]);
    let batch = folded.batches.first().expect("four go on");
    assert_eq!(batch.get(1).and_then(|message| message.key()), Some(&b"k"[..]));
}

#[test]
fn a_topic_that_is_none_fails_its_message_alone() {
    for topic in ["", "a..b", "$dead.x", "a.*"] {
        let emitted = Emitted { sources: vec![0], topics: set(&[topic]), ..Emitted::default() };
        let verdicts = vec![Verdict::Emit(1), Verdict::Forward, Verdict::Forward];
        let folded = folded(verdicts, Some(emitted)).expect("the others are sound");
        assert_eq!(folded.batches.iter().map(Batch::len).sum::<usize>(), 2, "{topic}");
        assert_eq!(folded.failed[0].code, ErrorCode::BadDestination, "{topic}");
    }
}

#[test]
fn a_retried_message_keeps_those_behind_it_with_its_key_back() {
    let mut builder = BatchBuilder::new();
    for (key, payload) in [
        (Some(&b"a"[..]), "0"),
        (Some(b"b"), "1"),
        (Some(b"a"), "2"),
        (None, "3"),
        (Some(b"b"), "4"),
    ] {
        builder.push("in", key, &[], payload.as_bytes(), 9).expect("it fits");
    }
    let input = builder.finish().expect("there are messages");
    let emitted = Emitted {
        sources: vec![2, 2, 4],
        payloads: set(&["x", "y", "four"]),
        ..Emitted::default()
    };
    let verdicts = vec![
        Verdict::Retry(50),
        Verdict::Forward,
        Verdict::Emit(2),
        Verdict::Retry(0),
        Verdict::Emit(1),
    ];
    let output = StageOutput { verdicts, emitted: Some(emitted) };
    let folded = fold(&input, &output, ALLOWED, Limits::default()).expect("it is sound");
    assert_eq!(read(&folded), [("in", "1"), ("in", "four")].map(|(a, b)| (a.into(), b.into())));
    assert_eq!(folded.sources, [1, 4]);
    let retried = [Retried { index: 0, after_ms: 50 }, Retried { index: 3, after_ms: 0 }];
    assert_eq!((folded.retried.as_slice(), folded.following.as_slice()), (&retried[..], &[2][..]));
}

fn check_refused(verdicts: Vec<Verdict>, emitted: Option<Emitted>, expected: ErrorCode) {
    let error = folded(verdicts, emitted).expect_err("it is nonsense");
    assert_eq!(error.code(), expected, "{error}");
}

#[test]
fn nonsense_is_refused_whole() {
    use ErrorCode::{PluginContract, PluginOutput};
    let emit = |count| vec![Verdict::Emit(count), Verdict::Drop, Verdict::Drop];
    let with = |sources: &[u32], payloads| {
        Some(Emitted { sources: sources.to_vec(), payloads, ..Emitted::default() })
    };
    check_refused(vec![Verdict::Drop; 2], None, PluginContract);
    check_refused(vec![Verdict::Drop; 4], None, PluginContract);
    check_refused(emit(0), None, PluginContract);
    check_refused(emit(5), with(&[0; 5], None), PluginOutput);
    check_refused(emit(1), None, PluginContract);
    check_refused(emit(1), with(&[1], None), PluginContract);
    check_refused(emit(1), with(&[0, 0], None), PluginContract);
    check_refused(emit(1), with(&[0], set(&[])), PluginContract);
    check_refused(emit(1), with(&[0], set(&["a", "b"])), PluginContract);
    let mut past_the_end = set(&["abc"]);
    if let Some(column) = &mut past_the_end {
        column.ends = vec![0, u32::MAX];
    }
    check_refused(emit(1), with(&[0], past_the_end), PluginContract);
    let headers = Emitted { sources: vec![0], headers: set(&["\u{1}"]), ..Emitted::default() };
    check_refused(emit(1), Some(headers), PluginContract);
    let large = "x".repeat(2 << 20);
    check_refused(emit(1), with(&[0], set(&[&large])), PluginOutput);
}

#[test]
fn messages_that_grow_beyond_one_batch_go_on_in_several() {
    let large = "x".repeat(700);
    let emitted = Emitted {
        sources: vec![0, 1, 1, 2],
        payloads: set(&[&large, &large, &large, &large]),
        ..Emitted::default()
    };
    let verdicts = vec![Verdict::Emit(1), Verdict::Emit(2), Verdict::Emit(1)];
    let limits = Limits { max_frame_bytes: 1700, ..Limits::default() };
    let output = StageOutput { verdicts, emitted: Some(emitted) };
    let folded = fold(&input(), &output, ALLOWED, limits).expect("each fits by itself");
    assert_eq!(folded.batches.iter().map(Batch::len).collect::<Vec<_>>(), [2, 2]);
    let few = Limits { max_batch_messages: 3, ..Limits::default() };
    let folded = fold(&input(), &output, ALLOWED, few).expect("each fits by itself");
    assert_eq!(folded.batches.iter().map(Batch::len).collect::<Vec<_>>(), [3, 1]);
}
