//! The folder of vectors: each is a `.bin` with the bytes and a `.json` that describes them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The folder of the only version so far; each later one has its own beside it.
const VERSION: &str = "v1";

/// Bytes and what is said of them.
pub(crate) struct Vector<D> {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) description: D,
}

/// Bytes as hexadecimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl From<&[u8]> for Hex {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex::encode(hex.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

/// A u64 as decimal text, because a JSON number is exact only to 2^53 in many languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Wide(pub(crate) u64);

impl From<Wide> for String {
    fn from(number: Wide) -> Self {
        number.0.to_string()
    }
}

impl TryFrom<String> for Wide {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn path(folder: &str, name: &str, extension: &str) -> PathBuf {
    root().join(VERSION).join(folder).join(format!("{name}.{extension}"))
}

/// The bytes of one vector.
pub(crate) fn bytes(folder: &str, name: &str) -> Vec<u8> {
    let path = path(folder, name, "bin");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn description<D: DeserializeOwned>(folder: &str, name: &str) -> D {
    let path = path(folder, name, "json");
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every vector of a folder; there is at least one.
pub(crate) fn read<D: DeserializeOwned>(folder: &str) -> Vec<Vector<D>> {
    let names: BTreeSet<String> = files(&root().join(VERSION).join(folder))
        .into_iter()
        .filter_map(|file| file.strip_suffix(".bin").map(str::to_owned))
        .collect();
    assert!(!names.is_empty(), "no vectors in {folder}; UPDATE_VECTORS=1 writes them");
    names
        .into_iter()
        .map(|name| Vector {
            bytes: bytes(folder, &name),
            description: description(folder, &name),
            name,
        })
        .collect()
}

/// Writes the vectors that the folder does not have.
pub(crate) fn write_missing<D: Serialize>(folder: &str, cases: &[Vector<D>]) {
    for case in cases {
        let (bytes, json) = (path(folder, &case.name, "bin"), path(folder, &case.name, "json"));
        if bytes.exists() && json.exists() {
            continue;
        }
        fs::create_dir_all(root().join(VERSION).join(folder)).expect("the folder is writable");
        let mut text =
            serde_json::to_string_pretty(&case.description).expect("a description is JSON");
        text.push('\n');
        fs::write(bytes, &case.bytes).expect("the folder is writable");
        fs::write(json, text).expect("the folder is writable");
    }
}

/// Holds the vectors of the folder against those made by the tests.
pub(crate) fn check_standing<D>(folder: &str, cases: &[Vector<D>])
where
    D: std::fmt::Debug + PartialEq + DeserializeOwned,
{
    for case in cases {
        let name = format!("{folder}/{}", case.name);
        assert_eq!(bytes(folder, &case.name), case.bytes, "{name}");
        assert_eq!(description::<D>(folder, &case.name), case.description, "{name}");
    }
}

/// Files of the folder that belong to no vector, and vectors of which half is missing.
pub(crate) fn strays(folders: &[&str]) -> Vec<String> {
    let mut expected = BTreeSet::from(["README.md".to_owned(), ".gitattributes".to_owned()]);
    let found: BTreeSet<String> = files(&root()).into_iter().collect();
    for file in &found {
        let Some((stem, "bin" | "json")) = file.rsplit_once('.') else { continue };
        let in_folder = |folder| stem.starts_with(&format!("{VERSION}/{folder}/"));
        if folders.iter().any(in_folder) && stem.matches('/').count() == 2 {
            expected.extend([format!("{stem}.bin"), format!("{stem}.json")]);
        }
    }
    found.symmetric_difference(&expected).cloned().collect()
}

/// The files under a folder, relative to it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder is readable").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found
}
