//! `waypost completions` and `waypost man`: what a shell and `man` know of the command.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Arguments, Failure, print::write_out};

/// For which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The folder to write waypost.1 and its companions to, as in /usr/local/share/man/man1. Without it the main
    /// page is printed.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn completions(options: &Completions) -> Result<(), Failure> {
    Ok(write_out(&script(options.shell)?)?)
}

fn script(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), "waypost", &mut script);
    String::from_utf8(script).context("the script is no text")
}

/// The command without what is hidden, which scripts would offer all the same.
fn shown() -> clap::Command {
    let all = Arguments::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new("waypost")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(commands)
}

pub(super) fn man(options: &Man) -> Result<(), Failure> {
    let Some(folder) = &options.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
        return Ok(write_out(&String::from_utf8_lossy(&page))?);
    };
    let failed = || format!("the manual pages cannot be written to {}", folder.display());
    let written: io::Result<()> = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    Ok(written.with_context(failed)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_shell_completes_the_commands_that_are_shown_and_no_others() {
        let all = Arguments::command();
        let names = all.get_subcommands().filter(|command| !command.is_hide_set());
        let names: Vec<&str> = names.map(clap::Command::get_name).collect();
        for shell in Shell::value_variants() {
            let script = script(*shell).expect("it is text");
            for command in &names {
                assert!(script.contains(command), "{shell} lacks {command}");
            }
            let compiler = crate::wasm::ARGUMENT;
            assert!(!script.contains(compiler), "{shell}: the router alone starts {compiler}");
        }
        let bash = script(Shell::Bash).expect("it is text");
        let (_, own) = bash.split_once("        waypost)\n            opts=\"").expect("its words");
        let (words, _) = own.split_once('"').expect("they end");
        let offered: Vec<&str> = words.split(' ').filter(|word| !word.starts_with('-')).collect();
        assert_eq!(offered, [&names[..], &["help"]].concat());
    }

    /// Commands without `--output`, and why.
    const NO_JSON: [(&str, &str); 4] = [
        ("run", "it prints nothing but its log, which is JSON where it goes to no terminal"),
        ("reply", "it prints nothing: what it says goes to whoever asked"),
        ("completions", "a shell reads what it prints"),
        ("man", "man reads what it prints"),
    ];

    #[test]
    fn every_command_prints_json_or_has_a_reason_not_to() {
        let mut silent = Vec::new();
        let mut commands: Vec<clap::Command> =
            Arguments::command().get_subcommands().cloned().collect();
        while let Some(command) = commands.pop() {
            let output = command.get_arguments().find(|each| each.get_id() == "output");
            let prints_json = output.is_some_and(|output| {
                output.get_possible_values().iter().any(|value| value.get_name() == "json")
            });
            if command.has_subcommands() {
                commands.extend(command.get_subcommands().cloned());
            } else if !prints_json && !command.is_hide_set() {
                silent.push(command.get_name().to_owned());
            }
        }
        silent.sort();
        let mut expected = NO_JSON.map(|(name, _)| name);
        expected.sort_unstable();
        assert_eq!(silent, expected);
    }

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        man(&Man { out: Some(folder.path().to_owned()) })
            .map_err(|_| ())
            .expect("they are written");
        for command in
            Arguments::command().get_subcommands().filter(|command| !command.is_hide_set())
        {
            let page = folder.path().join(format!("waypost-{}.1", command.get_name()));
            let text = fs::read_to_string(&page).expect("it is there");
            assert!(text.contains(".TH"), "{}", page.display());
        }
        let compiler = folder.path().join(format!("waypost-{}.1", crate::wasm::ARGUMENT));
        assert!(!compiler.exists(), "what the router starts itself is nobody's command");
    }
}
