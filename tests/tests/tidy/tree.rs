//! Reads the repository: manifests, Rust sources, and other texts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A file by its path from the root of the repository.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// What a `Cargo.toml` says of a package.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) path: String,
    pub(crate) name: String,
    /// The packages that it depends on, in any section and for any target, and in which section.
    pub(crate) dependencies: Vec<(String, Section)>,
}

/// Where a dependency is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Normal,
    Dev,
    Build,
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) sources: Vec<File>,
    pub(crate) texts: Vec<File>,
}

/// Folders that hold what was built or recorded, not what was written.
const SKIPPED: [&str; 4] = ["target", "corpus", "artifacts", "node_modules"];
/// Extensions of texts that a person writes, beside Rust.
const TEXTS: [&str; 9] = ["md", "toml", "proto", "wit", "yml", "yaml", "json", "sh", "html"];

impl Tree {
    /// Reads everything below the workspace's root.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut paths = Vec::new();
        walk(&root, &mut paths);
        paths.sort();
        let (mut sources, mut texts) = (Vec::new(), Vec::new());
        for path in paths {
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            let list = match extension.as_str() {
                "rs" => &mut sources,
                text if TEXTS.contains(&text) => &mut texts,
                _ => continue,
            };
            let relative = path.strip_prefix(&root).expect("it was found below the root");
            let relative = relative.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{relative} is no text: {error}"));
            list.push(File { path: relative, text });
        }
        let manifests = manifests(&texts);
        Self { manifests, sources, texts }
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the repository is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// Parses each `Cargo.toml`; the root's names the packages of inherited dependencies.
pub(crate) fn manifests(texts: &[File]) -> Vec<Manifest> {
    let tables: Vec<(&File, toml::Table)> = texts
        .iter()
        .filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
        .map(|file| {
            let table = file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
            (file, table)
        })
        .collect();
    let renamed: BTreeMap<String, String> = tables
        .iter()
        .filter_map(|(_, table)| table.get("workspace")?.get("dependencies")?.as_table())
        .flatten()
        .filter_map(|(alias, value)| {
            Some((alias.clone(), value.get("package")?.as_str()?.to_owned()))
        })
        .collect();
    tables.iter().filter_map(|(file, table)| manifest(&file.path, table, &renamed)).collect()
}

fn manifest(
    path: &str,
    table: &toml::Table,
    renamed: &BTreeMap<String, String>,
) -> Option<Manifest> {
    let name = table.get("package")?.get("name")?.as_str()?.to_owned();
    let targets = table.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let targets = targets.filter_map(|(_, target)| target.as_table());
    let mut dependencies = Vec::new();
    for table in std::iter::once(table).chain(targets) {
        for (key, section) in [
            ("dependencies", Section::Normal),
            ("dev-dependencies", Section::Dev),
            ("build-dependencies", Section::Build),
        ] {
            let entries = table.get(key).and_then(toml::Value::as_table).into_iter().flatten();
            dependencies.extend(entries.map(|(alias, value)| {
                let package = value.get("package").and_then(toml::Value::as_str);
                let package = package.or_else(|| renamed.get(alias).map(String::as_str));
                (package.unwrap_or(alias).to_owned(), section)
            }));
        }
    }
    Some(Manifest { path: path.to_owned(), name, dependencies })
}

/// A file as the tests of the rules make it.
#[cfg(test)]
pub(crate) fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn dependencies_are_found_in_every_section_and_by_their_own_name() {
    let root = file("Cargo.toml", "[workspace.dependencies]\nsdk = { package = 'waypost-sdk' }");
    let text = "[package]\nname = 'a'\n[dependencies]\nsdk.workspace = true\n\
                [dev-dependencies]\nb = { path = 'b', package = 'c' }\n[build-dependencies]\nd = '1'\n\
                [target.'cfg(unix)'.dependencies]\ne = '1'";
    let found = manifests(&[root, file("a/Cargo.toml", text)]);
    let expected = [
        ("waypost-sdk", Section::Normal),
        ("c", Section::Dev),
        ("d", Section::Build),
        ("e", Section::Normal),
    ];
    assert_eq!(found[0].dependencies, expected.map(|(name, section)| (name.to_owned(), section)));
}
