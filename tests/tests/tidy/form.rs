//! How files look: their first lines, their length, and what they must not name.

use crate::{code, tree::File};

/// Crate roots without `#![forbid(unsafe_code)]`, and why.
pub(crate) const MAY_BE_UNSAFE: &[(&str, &str)] = &[
    (
        "plugin-sdk/src/lib.rs",
        "the generated bindings of the plugin contract export functions by name",
    ),
    ("tests/shim/src/lib.rs", "functions that replace those of the C library take raw pointers"),
];

const MOST_LINES: usize = 500;
/// Sources that nobody wrote.
const GENERATED: [&str; 0] = [];

/// Every crate root forbids unsafe code; an exception that is not needed any more is a breach too.
pub(crate) fn unsafe_code(sources: &[File], exceptions: &[(&str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in sources.iter().filter(|file| is_crate_root(&file.path)) {
        let forbids = code::without_text(&file.text).contains("#![forbid(unsafe_code)]");
        let exception = exceptions.iter().find(|(path, _)| *path == file.path);
        match (forbids, exception) {
            (false, None) => breaches.push(format!("{}: #![forbid(unsafe_code)]", file.path)),
            (true, Some(_)) => breaches.push(format!("{}: its exception can go", file.path)),
            (true, None) | (false, Some(_)) => {}
        }
    }
    breaches
}

/// What cargo finds as the root of a library, binary, example, benchmark or test by itself.
fn is_crate_root(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] => true,
        // A module `tests` or `bin` further down is none.
        [before @ .., "tests" | "examples" | "benches" | "fuzz_targets", _]
        | [before @ .., "tests" | "examples" | "benches", _, "main.rs"]
        | [before @ .., "src", "bin", _] => !before.contains(&"src"),
        _ => false,
    }
}

/// No file is longer than a reader holds.
pub(crate) fn lengths(sources: &[File]) -> Vec<String> {
    let lines = |file: &File| file.text.lines().count();
    let long = sources.iter().filter(|file| lines(file) > MOST_LINES);
    long.map(|file| format!("{}: {} lines, at most {MOST_LINES}", file.path, lines(file))).collect()
}

/// Every file says first what it is for, unless it has but one line.
pub(crate) fn module_docs(sources: &[File]) -> Vec<String> {
    let silent = sources.iter().filter(|file| {
        !GENERATED.contains(&file.path.as_str())
            && file.text.lines().count() > 1
            && !file.text.starts_with("//!")
    });
    silent.map(|file| format!("{}: does not begin with //!", file.path)).collect()
}

/// No file names a folder of the machine that it was written on.
pub(crate) fn machine_paths<'a>(files: impl Iterator<Item = &'a File>) -> Vec<String> {
    // In pieces, so that this file does not name them.
    let places = ["work", "home", "root", "Users"].map(|name| format!("/{name}/"));
    let mut breaches = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let named = places.iter().any(|place| {
                line.match_indices(place).any(|(at, _)| {
                    // Behind a word or a dot it is part of a relative path or of an address.
                    !line[..at].ends_with(|before: char| {
                        before.is_alphanumeric() || ".-_}>".contains(before)
                    })
                })
            });
            if named {
                breaches.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::file;

    #[test]
    fn a_crate_root_that_allows_unsafe_code_is_found() {
        let roots = [
            "a/src/lib.rs",
            "a/src/main.rs",
            "a/src/bin/b.rs",
            "a/tests/b.rs",
            "a/benches/b.rs",
            "a/tests/b/main.rs",
            "a/fuzz/fuzz_targets/b.rs",
            "tests/guests/a/src/lib.rs",
        ];
        for path in roots {
            let bad = file(path, "//! A crate.\n// #![forbid(unsafe_code)]\n");
            assert_eq!(unsafe_code(&[bad], &[]).len(), 1, "{path}");
            let good = file(path, "//! A crate.\n#![forbid(unsafe_code)]\n");
            assert!(unsafe_code(&[good], &[]).is_empty(), "{path}");
        }
        for path in ["a/src/b.rs", "a/src/b/tests/c.rs", "a/tests/b/c.rs"] {
            assert!(unsafe_code(&[file(path, "//! A module.\n")], &[]).is_empty(), "{path}");
        }
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        let exceptions = [("a/src/lib.rs", "a reason")];
        assert!(unsafe_code(&[file("a/src/lib.rs", "")], &exceptions).is_empty());
        let safe = file("a/src/lib.rs", "#![forbid(unsafe_code)]");
        assert_eq!(unsafe_code(&[safe], &exceptions).len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(lengths(&[file("a.rs", &"x\n".repeat(501))]).len(), 1);
        assert!(lengths(&[file("a.rs", &"x\n".repeat(500))]).is_empty());
    }

    #[test]
    fn a_silent_file_is_found() {
        assert_eq!(module_docs(&[file("a.rs", "use b::c;\nfn d() {}\n")]).len(), 1);
        assert!(module_docs(&[file("a.rs", "//! Says it.\nfn d() {}\n")]).is_empty());
        assert!(module_docs(&[file("a.rs", "fn main() {}\n")]).is_empty());
    }

    #[test]
    fn a_place_on_a_machine_is_found() {
        for (before, found) in
            [("", 1), ("see `", 1), ("=", 1), ("https://example.org", 0), ("..", 0)]
        {
            let text = format!("{before}{}user/waypost", concat!("/ho", "me/"));
            assert_eq!(machine_paths([&file("a.md", &text)].into_iter()).len(), found, "{text}");
        }
    }
}
