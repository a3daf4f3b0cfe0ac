//! `waypost group`: the groups of a running router, and what is changed of them.

use std::fmt::Write as _;

use waypost_client::{From, GroupStart};
use waypost_core::GroupName;

use super::{
    Failure,
    admin::AdminOptions,
    connection::runtime,
    output::{Format, OutcomeOptions, counted, write_line},
    print::write_shown,
    values::place,
};
use crate::{
    admin::{GroupList, GroupOutcome, GroupPlace, MoveGroup},
    groups::{GroupStatus, MemberStatus},
};

/// What to do with groups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the groups: lag, members, what is in flight.
    List(List),
    /// Show a group: its members, and how far it came in each partition.
    Show(Show),
    /// Let a group over streams go on from another place, in all its partitions.
    Reset(Reset),
    /// Forget a group; its members are told so.
    Delete(Delete),
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
pub(super) struct Show {
    /// The group.
    #[arg(value_parser = group)]
    group: GroupName,
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct Reset {
    /// The group.
    #[arg(value_parser = group)]
    group: GroupName,
    /// Where it goes on: beginning, end, an offset where it has one partition, how long ago as in 10m, or @
    /// and milliseconds since the Unix epoch.
    #[arg(long, value_name = "PLACE", value_parser = place)]
    to: GroupStart,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// The group.
    #[arg(value_parser = group)]
    group: GroupName,
    #[command(flatten)]
    outcome: OutcomeOptions,
    #[command(flatten)]
    admin: AdminOptions,
}

fn group(text: &str) -> Result<GroupName, String> {
    GroupName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match action {
            Action::List(options) => list(options).await,
            Action::Show(options) => show(options).await,
            Action::Reset(options) => reset(options).await,
            Action::Delete(options) => delete(options).await,
        }
    })
}

async fn list(options: &List) -> Result<(), Failure> {
    let list: GroupList = options.admin.get("/api/v1/groups").await?;
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&list)?),
        Format::Pretty => Ok(write_shown(&table(&list.groups))?),
    }
}

async fn show(options: &Show) -> Result<(), Failure> {
    let path = format!("/api/v1/groups/{}", options.group);
    let status: GroupStatus = options.admin.get(&path).await?;
    match Format::or_default(options.output) {
        Format::Json => Ok(write_line(&status)?),
        Format::Pretty => Ok(write_shown(&details(&status))?),
    }
}

async fn reset(options: &Reset) -> Result<(), Failure> {
    let to = match options.to {
        GroupStart::End => GroupPlace::End,
        GroupStart::From(From::Beginning) => GroupPlace::Beginning,
        GroupStart::From(From::Offset(offset)) => GroupPlace::Offset(offset.0),
        GroupStart::From(From::Time(ms)) => GroupPlace::TimeMs(ms),
    };
    let path = format!("/api/v1/groups/{}/position", options.group);
    let body = serde_json::to_vec(&MoveGroup { to }).map_err(anyhow::Error::from)?;
    let done: GroupOutcome = options.admin.post(&path, body, Some("waypost group list")).await?;
    Ok(options.outcome.tell(&done, &format!("{} goes on from there", done.group))?)
}

async fn delete(options: &Delete) -> Result<(), Failure> {
    let path = format!("/api/v1/groups/{}", options.group);
    let done: GroupOutcome = options.admin.delete(&path, Some("waypost group list")).await?;
    Ok(options.outcome.tell(&done, &format!("{} is no more", done.group))?)
}

/// A line for each group.
fn table(groups: &[GroupStatus]) -> String {
    let mut text = String::new();
    if groups.is_empty() {
        text.push_str("no groups\n");
    }
    for group in groups {
        // A string takes any text.
        let _ = writeln!(text, "{}", line(group));
    }
    text
}

fn line(group: &GroupStatus) -> String {
    let GroupStatus { name, pattern, lag, in_flight, members, .. } = group;
    let kind = if group.is_durable { "" } else { ", over memory topics" };
    let members = counted(members.len() as u64, "member");
    let oldest = match group.oldest_ms {
        Some(ms) if *lag > 0 => format!(", the oldest {} s old", ms / 1000),
        _ => String::new(),
    };
    format!("{name} takes {pattern}{kind}: lag {lag}{oldest}, {in_flight} in flight, {members}")
}

fn details(group: &GroupStatus) -> String {
    let mut text = line(group) + "\n";
    for each in &group.members {
        let MemberStatus { member, name, in_flight, max_in_flight, partitions, is_stalled } = each;
        let owns = match group.is_durable {
            true => format!(", {}", counted(*partitions as u64, "partition")),
            false => String::new(),
        };
        let stalled = if *is_stalled { ", stalled" } else { "" };
        let called = super::shown::printable(name.as_bytes());
        let _ = writeln!(
            text,
            "  member {member} {called:?}: {in_flight} of {max_in_flight} in flight{owns}{stalled}"
        );
    }
    for each in &group.partitions {
        let (stream, partition, offset) = (&each.stream, each.partition, each.offset);
        let (next, lag, waiting) = (each.next_offset, each.lag, each.waiting);
        let _ = writeln!(
            text,
            "  {stream}/{partition}: done before {offset} of {next}, lag {lag}, {waiting} failed and waiting"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::GroupPartitionStatus;

    #[test]
    fn a_group_is_told_in_a_line_and_its_parts_below() {
        let member = MemberStatus {
            member: 3,
            name: "a\u{1b}b".into(),
            in_flight: 4,
            max_in_flight: 1000,
            partitions: 1,
            is_stalled: true,
        };
        let partition = GroupPartitionStatus {
            stream: "jobs".into(),
            partition: 0,
            offset: 7,
            next_offset: 19,
            lag: 12,
            waiting: 1,
        };
        let group = GroupStatus {
            name: "workers".into(),
            pattern: "jobs.>".into(),
            is_durable: true,
            lag: 12,
            oldest_ms: Some(61_500),
            in_flight: 4,
            members: vec![member],
            partitions: vec![partition],
        };
        let expected = "workers takes jobs.>: lag 12, the oldest 61 s old, 4 in flight, 1 member\n  \
                        member 3 \"a\u{fffd}b\": 4 of 1000 in flight, 1 partition, stalled\n  \
                        jobs/0: done before 7 of 19, lag 12, 1 failed and waiting\n";
        assert_eq!(details(&group), expected);
        assert_eq!(table(&[]), "no groups\n");
    }
}
