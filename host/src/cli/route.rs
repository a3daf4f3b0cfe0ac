//! `waypost route`: what a running router keeps of routes over streams, and forgetting those that are gone.

use std::fmt::Write as _;

use waypost_core::RouteName;

use super::{
    Failure,
    admin::AdminOptions,
    connection::runtime,
    output::{Format, OutcomeOptions, counted, write_line},
    print::write_shown,
};
use crate::admin::{KeptRouteList, KeptRouteStatus};

/// What to do with what is kept of routes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the routes that storage keeps the progress of, those that were taken out of the configuration too.
    List(List),
    /// Forget a route that was taken out of the configuration: its progress, and what it parked.
    Forget(Forget),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct Forget {
    /// The route.
    #[arg(value_parser = route)]
    route: RouteName,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

fn route(text: &str) -> Result<RouteName, String> {
    RouteName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match action {
            Action::List(options) => list(options).await,
            Action::Forget(options) => forget(options).await,
        }
    })
}

async fn list(options: &List) -> Result<(), Failure> {
    let list: KeptRouteList = options.admin.get("/api/v1/progress").await?;
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&list)?),
        Format::Pretty => Ok(write_shown(&table(&list.routes))?),
    }
}

async fn forget(options: &Forget) -> Result<(), Failure> {
    let path = format!("/api/v1/progress/{}", options.route);
    let done: KeptRouteStatus = options.admin.delete(&path, Some("waypost route list")).await?;
    Ok(options.outcome.tell(&done, &format!("forgotten: {}", line(&done)))?)
}

/// A line for each route.
fn table(routes: &[KeptRouteStatus]) -> String {
    let mut text = String::new();
    if routes.is_empty() {
        text.push_str("nothing is kept of any route\n");
    }
    for route in routes {
        let configured = if route.is_configured { "" } else { ", not configured" };
        // A string takes any text.
        let _ = writeln!(text, "{}{configured}", line(route));
        for each in &route.partitions {
            let (stream, partition, progress) = (&each.stream, each.partition, each.progress);
            let _ = writeln!(text, "  {stream}/{partition}: at {progress}, {} parked", each.parked);
        }
    }
    text
}

fn line(route: &KeptRouteStatus) -> String {
    let parked = route.partitions.iter().map(|each| each.parked).sum();
    let partitions = counted(route.partitions.len() as u64, "partition");
    format!("{} in {partitions}, {} parked", route.route, counted(parked, "message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::KeptPartition;

    #[test]
    fn a_route_that_is_gone_is_told_as_such() {
        let partition =
            KeptPartition { stream: "jobs".into(), partition: 1, progress: 7, parked: 2 };
        let route = KeptRouteStatus {
            route: "old".into(),
            is_configured: false,
            partitions: vec![partition],
        };
        let expected =
            "old in 1 partition, 2 messages parked, not configured\n  jobs/1: at 7, 2 parked\n";
        assert_eq!(table(&[route]), expected);
        assert_eq!(table(&[]), "nothing is kept of any route\n");
    }
}
