//! Artefacts that never become a version.

use super::*;

async fn version_of(artefact: &[u8], policy: &PluginPolicy) -> Result<Version, PluginError> {
    let sandbox = sandbox();
    let artefact = sandbox.compile(artefact, limits())?;
    let plugin = PluginName::parse("guest").expect("a name");
    let stage = StageName::parse("stage").expect("a name");
    sandbox.prepare(&artefact, &plugin, &stage, "{}", policy).await
}

async fn check_refused(artefact: &[u8], text: &str) {
    check_refused_under(&policy(), artefact, text).await;
}

async fn check_refused_under(policy: &PluginPolicy, artefact: &[u8], text: &str) {
    let refusal = version_of(artefact, policy).await.expect_err("the artefact is bad").to_string();
    assert!(refusal.contains(text), "{refusal:?} does not say {text:?}");
}

/// A guest that imports the time and names it, without ever asking for it.
fn punctual() -> Guest {
    let definitions = r#"(import "waypost:plugin/clock@1.0.0" "now" (func $now (result i64)))"#;
    let process = "(drop (call $now)) (call $answer (local.get $count))";
    Guest { definitions: definitions.into(), import: "clock", ..Guest::process(process) }
}

#[tokio::test]
async fn what_is_not_granted_refuses_the_artefact_before_it_runs_and_says_what_to_write() {
    // It would trap as soon as it runs.
    let trap = Guest { start: "(unreachable)".into(), ..punctual() };
    let line = "imports clock, which it is not granted; if you trust it with that, write under \
                [plugins.override.guest] in the configuration: grants = [\"clock\"]";
    check_refused(&trap.artefact(), line).await;
    let both = Guest { start: "(unreachable)".into(), ..punctual().with_log() };
    check_refused(&both.artefact(), "grants = [\"log\", \"clock\"]").await;
    let nothing = PluginPolicy { grants: Interfaces::new(), ..policy() };
    let logs = Guest { start: "(unreachable)".into(), ..Guest::default().with_log() };
    let refusal = version_of(&logs.artefact(), &nothing).await.expect_err("it imports log");
    assert!(matches!(refusal, PluginError::NotGranted(_)), "{refusal}");
}

#[tokio::test]
async fn what_is_granted_may_be_imported_and_what_is_not_imported_needs_no_grant() {
    let granted = PluginPolicy { grants: Interfaces::from([Interface::Clock]), ..policy() };
    let version = version_of(&punctual().artefact(), &granted).await.expect("it is granted");
    assert_eq!(version.manifest().imports, granted.grants);
    let nothing = PluginPolicy { grants: Interfaces::new(), ..policy() };
    version_of(&Guest::default().artefact(), &nothing).await.expect("it imports nothing");
}

#[tokio::test]
async fn a_bad_artefact_is_refused_and_says_why() {
    check_refused(b"not wasm at all", "no WebAssembly").await;
    check_refused(b"", "no WebAssembly").await;
    check_refused(b"\0asm\x01\0\0\0", "is #[filter], #[transform], #[router]").await;
    check_refused(&vec![0; limits().artefact_bytes + 1], "artefact_bytes").await;
    let good = Guest::default();
    let mut cut = good.artefact();
    cut.truncate(cut.len() / 2);
    check_refused(&cut, "not valid WebAssembly").await;
    let no_process = Guest { process_name: "proceed", ..good.clone() };
    check_refused(&no_process.artefact(), "process").await;
    let stranger = r#"(import "env" "open" (func $open (param i32)))"#;
    let stranger = Guest { definitions: stranger.into(), ..good.clone() };
    check_refused(&stranger.artefact(), r#"imports "open" of "env", which the router does not"#)
        .await;
    let trap = Guest { start: "(unreachable)".into(), ..good.clone() };
    check_refused(&trap.artefact(), "unreachable").await;
    let invents = Guest { import: "files", ..good.clone() };
    check_refused(&invents.artefact(), "imports \"files\", which the router does not offer").await;
    let unnamed = Guest { name: "Not A Name", ..good.clone() };
    check_refused(&unnamed.artefact(), "a-z 0-9 -").await;
    let logs = "(call $log (i32.const 0) (i32.const 0) (i32.const 0))
        (call $answer (local.get $count))";
    let quiet = Guest { import: "clock", ..Guest::process(logs) };
    check_refused(&quiet.with_log().artefact(), "log, which its manifest does not name").await;
    let refuses = "(local.set 0 (call $zeroed (i32.const 16)))
        (i32.store8 (local.get 0) (i32.const 1))
        (i32.store offset=4 (local.get 0) (i32.const 400))
        (i32.store offset=8 (local.get 0) (i32.const 8))
        (local.get 0)";
    let refuses = Guest { configure: refuses.into(), ..good.clone() };
    check_refused(&refuses.artefact(), "refuses its configuration: a reason").await;
    check_refused(&Guest::process("(unreachable)").artefact(), "self-test").await;
    check_refused(&Guest::process("(call $answer (i32.const 1))").artefact(), "self-test").await;
}

#[tokio::test]
async fn what_is_too_large_or_endless_before_its_first_batch_is_refused() {
    let endless = "(loop $again (br $again))";
    for (guest, text) in [
        (
            Guest { definitions: "(table 100000000 funcref)".into(), ..Guest::default() },
            "wanted 100000000 table elements",
        ),
        (
            Guest { definitions: "(table 15000 funcref) ".repeat(2), ..Guest::default() },
            "wanted 30000 table elements",
        ),
        (
            Guest { start: "(drop (memory.grow (i32.const 60000)))".into(), ..Guest::default() },
            "bytes of memory",
        ),
        (Guest { start: endless.into(), ..Guest::default() }, "its deadline is 500 ms"),
        (
            Guest { configure: format!("{endless} (unreachable)"), ..Guest::default() },
            "its deadline is 500 ms",
        ),
    ] {
        check_refused_under(&short_policy(), &guest.artefact(), text).await;
    }
}

#[test]
fn an_artefact_that_is_cut_off_or_broken_is_refused_and_never_a_panic() {
    let sandbox = sandbox();
    let whole = Guest::default().artefact();
    let refused = |bytes: &[u8], what: &str| {
        sandbox.compile(bytes, limits()).err().unwrap_or_else(|| panic!("{what} is accepted"))
    };
    for length in (0..whole.len()).step_by(7) {
        let error = refused(&whole[..length], &format!("a file of {length} bytes"));
        let is_expected = matches!(
            error,
            PluginError::NotWasm | PluginError::Invalid(_) | PluginError::NotComponent(_)
        );
        assert!(is_expected, "{length}: {error}");
    }
    // The metadata stands in a section that the validator does not look into.
    let name = b"component-type";
    let section = whole.windows(name.len()).position(|window| window == name).expect("it is there");
    for place in (section + name.len() + 8..whole.len()).step_by(5) {
        let mut broken = whole.clone();
        broken[place] ^= 0xff;
        // Some bytes are but a name's, and may change.
        let _ = sandbox.compile(&broken, limits());
    }
}
