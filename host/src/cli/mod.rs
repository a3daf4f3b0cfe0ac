//! The `waypost` command: data on standard output, everything else on standard error.

mod admin;
mod bench;
mod compile;
mod config;
mod connection;
mod dlq;
mod exit;
mod explain;
mod group;
mod lines;
mod manual;
mod output;
mod plugin;
mod print;
mod progress;
mod publish;
mod reply;
mod request;
mod route;
mod run;
mod shown;
mod state;
mod stream;
mod subscribe;
mod tap;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
pub(crate) use exit::Failure;

/// Route messages through sandboxed WebAssembly plugins.
///
/// Exit codes: 0 ok, 1 failure, 2 usage, 78 configuration.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a router until SIGTERM or SIGINT, which drain it; a second one ends it at once. SIGHUP reloads
    /// its configuration and its certificate.
    Run(run::Options),
    /// Publish one message a line.
    Pub(publish::Options),
    /// Print the messages of a pattern as they come.
    Sub(subscribe::Options),
    /// Send a request and print its reply.
    Request(request::Options),
    /// Reply to the requests of a pattern.
    Reply(reply::Options),
    /// Tell what a message on a topic would meet: routes, stages, subscriptions.
    Explain(explain::Options),
    /// Watch messages as they pass through a router, with each stage's verdict.
    Tap(tap::Options),
    /// Make, build and test a plugin; see, deploy and roll back those of a running router.
    #[command(subcommand)]
    Plugin(plugin::Action),
    /// See the groups of a running router, move them to another place, delete them.
    #[command(subcommand)]
    Group(group::Action),
    /// See the dead letters of a running router, send them on their way again, or let them go.
    #[command(subcommand)]
    Dlq(dlq::Action),
    /// See what streams hold, and what that takes of the disk.
    #[command(subcommand)]
    Stream(stream::Action),
    /// See what is kept of routes over streams; forget those that are gone.
    #[command(subcommand)]
    Route(route::Action),
    /// Measure what this machine's routers do: rate, latency, CPU, memory, loss.
    Bench(bench::Options),
    /// Check or show a configuration.
    #[command(subcommand)]
    Config(config::Action),
    /// Print a script that completes commands and options, for a shell.
    Completions(manual::Completions),
    /// Write the manual pages, one for each command.
    Man(manual::Man),
    /// Compile one artefact within limits; what a router starts itself.
    #[command(name = crate::wasm::ARGUMENT, hide = true)]
    CompileArtefact(compile::Options),
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Pub(options) => publish::run(options),
        Command::Sub(options) => subscribe::run(&options),
        Command::Request(options) => request::run(options),
        Command::Reply(options) => reply::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Tap(options) => tap::run(&options),
        Command::Plugin(action) => plugin::run(&action),
        Command::Group(action) => group::run(&action),
        Command::Dlq(action) => dlq::run(&action),
        Command::Stream(action) => stream::run(&action),
        Command::Route(action) => route::run(&action),
        Command::Bench(options) => bench::run(options),
        Command::Config(action) => config::run(&action),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::man(&options),
        Command::CompileArtefact(options) => compile::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
