//! `waypost config`, and how every command loads a configuration.

use std::{io::IsTerminal as _, path::PathBuf};

use serde_json::{Value, json};
use waypost_core::RouteDefinition;

use super::{
    Failure,
    output::{Format, OutcomeOptions, counted, write_line},
    print::write_out,
};
use crate::config::{ConfigErrors, Loaded, Settings, Sources, Style, load, plugins_in, render};

/// The file that is taken when none is named and it is there.
const DEFAULT_FILE: &str = "waypost.toml";

/// Where a configuration comes from.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConfigOptions {
    /// The configuration file; waypost.toml, if there is one.
    #[arg(long, short, value_name = "FILE", env = "WAYPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Sets one key over file and environment, as in --set listen.address=127.0.0.1:4433.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

/// What to do with a configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Say everything that is wrong with it; exit code 78 if anything is.
    Check(Check),
    /// Print what it sets, with where each value comes from; secrets are redacted.
    Show(Show),
}

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    options: ConfigOptions,
    #[command(flatten)]
    outcome: OutcomeOptions,
}

/// What to print.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    options: ConfigOptions,
    /// How to print it: pretty is TOML, json an object a value.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    output: Format,
    /// Print every value that holds, the defaults too.
    #[arg(long)]
    effective: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl ConfigOptions {
    fn file(&self) -> Option<PathBuf> {
        let found = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file());
        self.config.clone().or_else(found)
    }

    /// Where it comes from.
    pub(super) fn sources(&self) -> Sources {
        // A variable that is not UTF-8 can set no key.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text);
        Sources::new(self.file(), environment, self.set.clone())
    }

    /// Loads it, and says on standard error what is probably not meant.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let loaded = self.load_silently().map_err(|errors| Failure::Config(Box::new(errors)))?;
        eprint!("{}", render(&loaded.warnings, style()));
        Ok(loaded)
    }

    fn load_silently(&self) -> Result<Loaded, ConfigErrors> {
        load(&self.sources(), plugins_in)
    }
}

/// Snippets for a person, a line each for everything else.
pub(super) fn style() -> Style {
    if std::io::stderr().is_terminal() {
        Style::Snippets {
            colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    } else {
        Style::Plain
    }
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::Check(options) if options.outcome.format() == Format::Json => check_json(options),
        Action::Check(options) => {
            let Settings { routes, .. } = options.options.load()?.settings;
            let (routes, stages) = (routes.len() as u64, stages(&routes));
            eprintln!(
                "the configuration is good: {}, {}",
                counted(routes, "route"),
                counted(stages, "stage")
            );
            if stages > 0 {
                eprintln!("plugins were not loaded; `waypost run --check` tries them as well");
            }
            Ok(())
        }
        Action::Show(show) => {
            let loaded = show.options.load()?;
            let text = match (show.output, show.effective) {
                (Format::Pretty, true) => loaded.effective_toml(),
                (Format::Pretty, false) => loaded.set_toml(),
                (Format::Json, true) => lines(&loaded.effective_json()),
                (Format::Json, false) => lines(&loaded.set_json()),
            };
            Ok(write_out(&text)?)
        }
    }
}

/// Whatever is wrong is part of the answer.
fn check_json(options: &Check) -> Result<(), Failure> {
    match options.options.load_silently() {
        Ok(Loaded { settings: Settings { routes, .. }, warnings, .. }) => Ok(write_line(&json!({
            "good": true,
            "routes": routes.len(),
            "stages": stages(&routes),
            "problems": warnings,
        }))?),
        Err(errors) => {
            write_line(&json!({
                "good": false,
                "problems": errors.problems(),
                "problems_not_shown": errors.omitted(),
            }))?;
            Err(Failure::ConfigTold)
        }
    }
}

fn stages(routes: &[RouteDefinition]) -> u64 {
    routes.iter().map(|route| route.stages.len() as u64).sum()
}

fn lines(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}
