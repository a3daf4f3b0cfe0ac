//! `waypost plugin test`: messages go through an artefact as in a router, and what becomes of each is
//! printed.

mod batches;
mod expected;
mod output;
mod tally;
mod trial;

use std::{
    fs,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use batches::Batches;
use expected::Expected;
use output::Entry;
use serde_json::Value;
use tally::Tally;
use trial::{Fate, Trial};
use waypost_core::{PluginName, StageName};
use waypost_protocol::Topic;

use super::sandbox;
use crate::{
    cli::{
        Failure,
        connection::{init_log, runtime},
        lines::{Lines, MessageOptions},
        output::Format,
        progress::Progress,
        shown::Colours,
    },
    wasm::{Interface, PluginError, PluginPolicy, Version},
};

/// What to test, and with what.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Test {
    /// The artefact.
    #[arg(value_name = "FILE.wasm")]
    artefact: PathBuf,
    /// The file whose lines are the messages; - for standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The stage's configuration as JSON, or @ and the file that holds it.
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}", value_parser = configuration)]
    config: Configuration,
    /// The topic of the messages.
    #[arg(long, default_value = "test")]
    topic: Topic,
    #[command(flatten)]
    message: MessageOptions,
    /// What the plugin may import, with commas between; log and metrics, as in a router, if not said.
    #[arg(long, value_name = "IMPORTS", value_delimiter = ',')]
    grants: Option<Vec<Interface>>,
    /// Fail unless the verdicts are those that this file holds, in the form that --output json prints.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// How to print a verdict; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
}

/// Where a stage's configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Configuration {
    Text(String),
    File(PathBuf),
}

fn configuration(text: &str) -> Result<Configuration, String> {
    if let Some(file) = text.strip_prefix('@') {
        return Ok(Configuration::File(file.into()));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(_) => Ok(Configuration::Text(text.to_owned())),
        Err(error) => Err(format!("it is not JSON: {error}; a file's name stands behind an @")),
    }
}

impl Configuration {
    fn read(&self) -> anyhow::Result<String> {
        let file = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(file) => file,
        };
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        serde_json::from_str::<Value>(&text)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        Ok(text)
    }
}

impl Test {
    /// What a router's configuration lets a plugin have, apart from what is granted here.
    fn policy(&self) -> PluginPolicy {
        let policy = PluginPolicy::default();
        match &self.grants {
            Some(grants) => PluginPolicy { grants: grants.iter().copied().collect(), ..policy },
            None => policy,
        }
    }

    /// What the plugin is called in the log: its file, as far as that is a plugin's name.
    fn plugin(&self) -> anyhow::Result<PluginName> {
        let stem = self.artefact.file_stem().unwrap_or_default().to_string_lossy();
        let named = PluginName::parse(&stem.replace('_', "-"));
        named.or_else(|_| Ok(PluginName::parse("plugin")?))
    }
}

pub(super) fn test(options: &Test) -> Result<(), Failure> {
    init_log("warn,plugin=debug")?;
    let runtime = runtime()?;
    let done = runtime.block_on(run(options));
    // A read of standard input cannot be called off.
    runtime.shutdown_background();
    match done {
        // Whoever read the other end of the pipe has seen enough.
        Err(Failure::Other(error))
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        done => done,
    }
}

async fn run(options: &Test) -> Result<(), Failure> {
    let expected = options.expect.as_deref().map(Expected::read).transpose()?;
    let configuration = options.config.read()?;
    let bytes = fs::read(&options.artefact).with_context(|| {
        format!("{}; build it with `waypost plugin build`", options.artefact.display())
    })?;
    let policy = options.policy();
    // It outlives the trial: its epoch thread ends the guest's time.
    let sandbox = sandbox()?;
    let artefact = sandbox.compile(&bytes, policy.limits)?;
    let (plugin, stage) = (options.plugin()?, StageName::parse("test")?);
    let version = sandbox.prepare(&artefact, &plugin, &stage, &configuration, &policy).await;
    let version = version.map_err(|error| match &error {
        PluginError::NotGranted(refusal) => {
            let imported: Vec<&str> = refusal.imported.iter().map(|each| each.name()).collect();
            anyhow!("{error}; for this test pass --grants {}", imported.join(","))
        }
        _ => error.into(),
    })?;
    let lines = Lines::open(&options.input).await?;
    let batches = Batches::new(lines, options.topic.clone(), options.message.clone())?;
    let tally = print_all(options, &version, batches, expected).await?;
    tally.result()
}

/// Runs all batches, prints what becomes of their messages, and then the summary.
async fn print_all(
    options: &Test,
    version: &Version,
    mut batches: Batches,
    mut expected: Option<Expected>,
) -> Result<Tally, Failure> {
    let format = Format::or_default(options.output);
    let colours = Colours::of_stdout();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut trial = Trial::new(version);
    let is_tried_again = trial.is_tried_again();
    let mut tally = Tally::default();
    // Whoever sees the verdicts sees how far it is, and a program sees nothing.
    let is_shown = !io::stdout().is_terminal() && options.output != Some(Format::Json);
    let progress = is_shown.then(|| Progress::of_lines(batches.lines().size()));
    while let Some(input) = batches.next().await? {
        let print = |fate: Fate| {
            for entry in Entry::of(&input, &fate, is_tried_again) {
                tally.count(&entry.outcome);
                entry.write(&mut out, format, colours)?;
                if let Some(expected) = &mut expected {
                    expected.compare(&entry.json());
                }
            }
            // Whoever reads along sees what is known.
            Ok(out.flush()?)
        };
        trial.run(&input.batch, print).await?;
        if let (Some(progress), Some(line)) = (&progress, input.lines.last()) {
            progress.advance(batches.lines().bytes(), *line);
        }
    }
    drop(progress);
    match format {
        Format::Json => writeln!(out, "{}", tally.json(version, &trial.spent))?,
        Format::Pretty => eprint!("{}", tally.text(&trial.spent)),
    }
    out.flush()?;
    if let (Some(file), Some(differences)) = (&options.expect, expected.and_then(Expected::finish))
    {
        eprint!("{differences}");
        return Err(anyhow!("what came out is not what {} holds", file.display()).into());
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_json_or_a_file() {
        let text = |text: &str| Ok(Configuration::Text(text.to_owned()));
        assert_eq!(configuration(r#"{"a":1}"#), text(r#"{"a":1}"#));
        assert_eq!(configuration("@a.json"), Ok(Configuration::File("a.json".into())));
        let refused = configuration("a.json").expect_err("it is not JSON");
        assert!(refused.contains('@'), "{refused}");
    }
}
