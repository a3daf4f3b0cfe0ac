//! `waypost plugin new`: a crate that builds and passes its tests as it stands.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::json;
use waypost_core::PluginName;

use crate::cli::{Failure, output::OutcomeOptions};

/// Where the SDK stands in the source tree that this command was built from.
const SOURCE_TREE_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-sdk");

/// What to make.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct New {
    /// The plugin's name, of a-z 0-9 and -: what routes call it.
    #[arg(value_parser = name)]
    name: PluginName,
    /// What it does with a message.
    #[arg(long, value_enum, value_name = "filter|transform|router")]
    role: Role,
    /// The crate's folder; the name, if not said.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The folder of waypost-sdk; the one of the source tree that this command was built from while that is
    /// there, and otherwise the registry's version.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
    #[command(flatten)]
    outcome: OutcomeOptions,
}

/// What a plugin does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// It keeps the message or drops it.
    Filter,
    /// It replaces the message.
    Transform,
    /// It gives the message its topic.
    Router,
}

/// What the templates of one role are filled with.
struct Filling {
    library: &'static str,
    purpose: &'static str,
    /// The configuration, as JSON.
    config_json: &'static str,
    /// The same, as TOML.
    config_toml: &'static str,
    /// The rows of the table of its keys.
    config_keys: &'static str,
    /// The line of a route that says where messages go.
    destination: &'static str,
    expected: &'static str,
}

impl Role {
    fn filling(self) -> Filling {
        match self {
            Self::Filter => Filling {
                library: include_str!("template/filter.rs.in"),
                purpose: "it keeps the measurements that reach a minimum",
                config_json: r#"{ "minimum": 1.5 }"#,
                config_toml: "{ minimum = 1.5 }",
                config_keys: "| `minimum` | number | the least value that is kept |\n",
                destination: "to = \"out\"\n",
                expected: include_str!("template/filter.ndjson"),
            },
            Self::Transform => Filling {
                library: include_str!("template/transform.rs.in"),
                purpose: "it scales measurements, and says in a header which unit they have now",
                config_json: r#"{ "factor": 2.0, "unit": "mm" }"#,
                config_toml: "{ factor = 2.0, unit = \"mm\" }",
                config_keys: "| `factor` | number | what values are multiplied with |\n\
                              | `unit` | string | what the header `unit` says |\n",
                destination: "to = \"out\"\n",
                expected: include_str!("template/transform.ndjson"),
            },
            Self::Router => Filling {
                library: include_str!("template/router.rs.in"),
                purpose: "it sends each sensor's measurements to a topic of their own",
                config_json: r#"{ "prefix": "sensors" }"#,
                config_toml: "{ prefix = \"sensors\" }",
                config_keys: "| `prefix` | string | what topics begin with, before the sensor |\n",
                destination: "# There is no `to`: the plugin gives each message its topic.\n",
                expected: include_str!("template/router.ndjson"),
            },
        }
    }
}

fn name(text: &str) -> Result<PluginName, String> {
    PluginName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn new(options: &New) -> Result<(), Failure> {
    let Sdk { dependency, place, whence } = sdk(options.sdk.as_deref())?;
    let folder = options.path.clone().unwrap_or_else(|| PathBuf::from(options.name.as_str()));
    check_empty(&folder)?;
    let files = files(&options.name, options.role, &dependency);
    let names = files.each_ref().map(|(file, _)| *file);
    for (file, text) in files {
        let path = folder.join(file);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("{} was not written", path.display()))?;
    }
    let made = json!({
        "plugin": options.name.as_str(),
        "role": options.role,
        "folder": folder.to_string_lossy(),
        "files": names,
        "sdk": place,
    });
    let pretty = format!(
        "waypost-sdk: {place}, {whence}\nmade {}; `cargo test` there, and see its README.md",
        folder.display()
    );
    Ok(options.outcome.tell(&made, &pretty)?)
}

/// The crate's files by their paths in it.
fn files(name: &PluginName, role: Role, sdk: &str) -> [(&'static str, String); 6] {
    let filling = role.filling();
    let fill = |template: &str| {
        let mut text = template.to_owned();
        for (mark, value) in [
            ("{{name}}", name.as_str()),
            ("{{sdk}}", sdk),
            ("{{purpose}}", filling.purpose),
            ("{{config_json}}", filling.config_json),
            ("{{config_toml}}", filling.config_toml),
            ("{{config_keys}}", filling.config_keys),
            ("{{destination}}", filling.destination),
        ] {
            text = text.replace(mark, value);
        }
        text
    };
    [
        ("Cargo.toml", fill(include_str!("template/Cargo.toml.in"))),
        ("README.md", fill(include_str!("template/README.md.in"))),
        (".gitignore", fill(include_str!("template/gitignore.in"))),
        ("src/lib.rs", fill(filling.library)),
        ("sample.ndjson", include_str!("template/sample.ndjson").to_owned()),
        ("expected.ndjson", filling.expected.to_owned()),
    ]
}

/// The SDK that a crate depends on.
struct Sdk {
    /// How the crate's manifest names it, as TOML.
    dependency: String,
    /// Its folder, or its version in the registry.
    place: String,
    /// How that was found, in words.
    whence: &'static str,
}

fn sdk(given: Option<&Path>) -> anyhow::Result<Sdk> {
    let at = |folder: &Path| {
        let is_sdk = fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|manifest| {
            manifest.lines().any(|line| line.trim() == "name = \"waypost-sdk\"")
        });
        is_sdk.then(|| fs::canonicalize(folder).ok()).flatten()
    };
    let (folder, whence) = match given {
        Some(folder) => {
            let Some(found) = at(folder) else {
                bail!(
                    "{} is not the folder of waypost-sdk; name the one with its Cargo.toml, `plugin-sdk` of \
                     Waypost's source tree",
                    folder.display()
                );
            };
            (found, "as --sdk says")
        }
        None => match at(Path::new(SOURCE_TREE_SDK)) {
            Some(found) => {
                (found, "of the source tree that this command was built from; --sdk names another")
            }
            None => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Sdk {
                    dependency: format!("\"{version}\""),
                    place: version.to_owned(),
                    whence: "of the registry; --sdk names a folder instead",
                });
            }
        },
    };
    let Some(path) = folder.to_str() else {
        bail!(
            "{} is not UTF-8, which a Cargo.toml cannot hold; move the SDK elsewhere",
            folder.display()
        );
    };
    let mut dependency = String::new();
    // A string takes any text.
    let _ = write!(dependency, "{{ path = {} }}", toml::Value::String(path.to_owned()));
    Ok(Sdk { dependency, place: path.to_owned(), whence })
}

fn check_empty(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!("{} is not empty; name another folder with --path", folder.display());
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("{}; name another folder with --path", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_mark_of_every_template_is_filled() {
        let name = PluginName::parse("felt").expect("a name");
        for role in Role::value_variants() {
            for (file, text) in files(&name, *role, "\"0.1\"") {
                assert!(!text.contains("{{"), "{file} of {role:?}: {text}");
                assert!(text.ends_with('\n'), "{file} of {role:?} ends in the middle of a line");
            }
        }
    }

    #[test]
    fn manifests_and_configurations_parse_and_say_the_same() {
        let name = PluginName::parse("0-felt").expect("a name");
        for role in Role::value_variants() {
            let [(_, manifest), ..] = files(&name, *role, "{ path = \"a \\\" b\" }");
            let manifest: toml::Table = manifest.parse().expect("a manifest");
            assert_eq!(manifest["package"]["name"].as_str(), Some("waypost-plugin-0-felt"));
            assert_eq!(manifest["dependencies"]["waypost-sdk"]["path"].as_str(), Some("a \" b"));
            let filling = role.filling();
            let json: serde_json::Value =
                serde_json::from_str(filling.config_json).expect("a configuration");
            let toml: toml::Table =
                format!("config = {}", filling.config_toml).parse().expect("a configuration");
            let toml = serde_json::to_value(&toml["config"]).expect("TOML is JSON too");
            assert_eq!(json, toml, "{role:?}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        check_empty(folder.path()).expect("it is empty");
        check_empty(&folder.path().join("new")).expect("it is not there");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("the folder takes a file");
        for place in [folder.path(), &file] {
            let error = check_empty(place).expect_err("something is there");
            assert!(format!("{error:#}").contains("--path"), "{error:#}");
        }
    }

    #[test]
    fn what_is_not_the_sdk_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = sdk(Some(folder.path())).map(|_| ()).expect_err("it is empty").to_string();
        assert!(error.contains("plugin-sdk"), "{error}");
        let Sdk { dependency, place, whence } = sdk(None).expect("the source tree has it");
        assert!(dependency.starts_with("{ path = ") && dependency.contains(&place), "{dependency}");
        assert!(whence.contains("--sdk"), "{whence}");
    }
}
