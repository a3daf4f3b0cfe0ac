//! Whatever is fed in, an answer comes out.

use proptest::prelude::*;

use super::*;

/// Loads it and shows what is wrong in both ways. What is right is written out, and must load as the
/// same again.
fn survive(text: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) {
    let first = match load_text(text, environment, overrides) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(!errors.render(Style::Snippets { colour: false }).is_empty());
            assert!(!errors.to_string().is_empty());
            return;
        }
    };
    assert_eq!(
        render(&first.warnings, Style::Snippets { colour: true }).is_empty(),
        first.warnings.is_empty()
    );
    let document = Document::new("effective", first.effective_toml());
    let again = load_document(Some(&document), Path::new(""), &Sources::default(), &plugins)
        .unwrap_or_else(|errors| panic!("{errors}\n{}", document.text()));
    assert_eq!(values(&again.effective_toml()), values(document.text()));
}

/// An effective configuration without what it says of each value's origin.
fn values(effective: &str) -> Vec<&str> {
    effective.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value)).collect()
}

/// The file with every key, cut into the pieces that mutations shuffle.
fn pieces() -> Vec<&'static str> {
    EVERY_KEY.split_inclusive(['\n', '=', ' ', '"', '.', ']', '[']).collect()
}

fn mutated() -> impl Strategy<Value = String> {
    let foreign = prop_oneof![
        Just("\"".to_owned()),
        Just("[[route]]\n".to_owned()),
        Just("{".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("9".repeat(50)),
        "\\PC{0,8}",
    ];
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4, foreign);
    prop::collection::vec(change, 0..6).prop_map(|changes| {
        let mut pieces: Vec<String> = pieces().into_iter().map(str::to_owned).collect();
        for (at, other, kind, foreign) in changes {
            let (at, other) = (at.index(pieces.len()), other.index(pieces.len()));
            match kind {
                0 => pieces[at] = foreign,
                1 => pieces.swap(at, other),
                2 => pieces[at] = pieces[other].clone(),
                _ => pieces[at].clear(),
            }
        }
        pieces.concat()
    })
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in any::<String>()) {
        survive(&text, &[], &[]);
    }

    #[test]
    fn a_mutated_configuration_has_an_answer(text in mutated()) {
        survive(&text, &[], &[]);
    }

    #[test]
    fn any_variable_and_any_flag_have_an_answer(
        name in "[A-Za-z_.\\[\\]0-9-]{0,40}",
        key in prop_oneof![
            "[a-z_.\\[\\]0-9-]{0,40}",
            Just("plugins.override.a.deadline_ms".to_owned()),
            Just("plugins.override..deadline_ms".to_owned()),
            Just("route[0].name".to_owned()),
            Just("router.state_folder".to_owned()),
        ],
        value in any::<String>(),
    ) {
        let name = format!("WAYPOST__{name}");
        survive(EVERY_KEY, &[(&name, &value)], &[(&key, &value)]);
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let stage = "[[route]]\nname = 'r'\nfrom = 'a'\n[[route.stage]]\nplugin = 'filter-json'\n";
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let value = format!("{}{}", open.repeat(100_000), close.repeat(100_000));
        survive(&format!("{stage}config = {{ a = {value} }}"), &[], &[]);
    }
    survive(&format!("[{}a]", "a.".repeat(100_000)), &[], &[]);
}
