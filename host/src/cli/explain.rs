//! `waypost explain`: what a message on a topic would meet in a running router.

use std::fmt::Write as _;

use waypost_protocol::Topic;

use super::{
    Failure,
    admin::AdminOptions,
    connection::runtime,
    output::{Format, counted, short, write_line},
    print::write_shown,
};
use crate::router::{BreakerStatus, ExplainedGroup, ExplainedStream, Explanation, RouteStatus};

/// What to explain.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The topic, without wildcards.
    #[arg(value_parser = topic)]
    topic: Topic,
    /// How to print it; pretty on a terminal and json elsewhere, if not said.
    #[arg(long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    admin: AdminOptions,
}

fn topic(text: &str) -> Result<Topic, String> {
    Topic::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let path = format!("/api/v1/topics/{}", options.topic.as_str());
        let explanation: Explanation = options.admin.get(&path).await?;
        match Format::or_default(options.output) {
            Format::Json => Ok(write_line(&explanation)?),
            Format::Pretty => Ok(write_shown(&told(&explanation))?),
        }
    })
}

/// Each topic that the message has on its way, with what it meets there.
fn told(explanation: &Explanation) -> String {
    let mut text = String::new();
    for (topic, origins) in explanation.topics() {
        let from = match origins.as_slice() {
            [] => String::new(),
            routes => format!(", from {}", routes.join(", ")),
        };
        let start = text.len();
        // A string takes any text.
        let _ = writeln!(text, "{topic}{from}");
        let empty = text.len();
        for ExplainedStream { stream, .. } in
            explanation.streams.iter().filter(|each| each.topic == topic)
        {
            let partitions = counted(stream.partitions.len() as u64, "partition");
            let messages = counted(stream.held_messages(), "message");
            let _ = writeln!(
                text,
                "  stream {}, which keeps it: {partitions}, {messages}",
                stream.name
            );
        }
        for each in explanation.routes.iter().filter(|each| each.topic == topic) {
            tell_route(&mut text, &each.route);
        }
        for each in explanation.subscriptions.iter().filter(|each| each.topic == topic) {
            let subscription = &each.subscription;
            let _ = writeln!(
                text,
                "  subscription {} of connection {} to {}, {} waiting",
                subscription.id,
                subscription.connection,
                subscription.pattern,
                subscription.waiting_messages
            );
        }
        for ExplainedGroup { group, .. } in
            explanation.groups.iter().filter(|each| each.topic == topic)
        {
            let members = counted(group.members.len() as u64, "member");
            let _ = writeln!(
                text,
                "  group {}, which takes {}: {members}, {} not done",
                group.name,
                group.pattern,
                counted(group.lag, "message")
            );
        }
        if text.len() == empty {
            let what = if start == 0 { "it is committed as unrouted" } else { "it ends here" };
            let _ = writeln!(text, "  nothing takes it: {what}");
        }
    }
    text
}

fn tell_route(text: &mut String, route: &RouteStatus) {
    let lanes = counted(route.lanes as u64, "lane");
    let _ = writeln!(text, "  route {}, which takes {}, {lanes}", route.name, route.from);
    for stage in &route.stages {
        let breaker = match stage.counts.breaker {
            BreakerStatus::Closed => "",
            BreakerStatus::Open => ", breaker open: messages wait",
        };
        let _ = writeln!(
            text,
            "    stage {}: {} {} ({}){breaker}",
            stage.counts.stage,
            stage.plugin,
            stage.version,
            short(&stage.digest)
        );
    }
    let _ = match &route.to {
        Some(to) => writeln!(text, "    to {to}"),
        None => writeln!(text, "    to where its stages say"),
    };
    for each in &route.partitions {
        let lag = counted(each.lag, "message");
        let _ = write!(text, "    in {}/{}: {lag} behind", each.stream, each.partition);
        if each.parked > 0 {
            let _ = write!(text, ", {} parked", each.parked);
        }
        if let Some(why) = &each.stalled {
            let _ = write!(text, ", stalled: {why}");
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::router::{
        ExplainedRoute, ExplainedSubscription, RoutePartition, RouteStage, StageStatus,
        SubscriptionStatus,
    };

    fn route(name: &str, from: &str, to: Option<&str>, breaker: BreakerStatus) -> RouteStatus {
        RouteStatus {
            name: name.to_owned(),
            from: from.to_owned(),
            to: to.map(str::to_owned),
            lanes: 1,
            stages: vec![RouteStage {
                plugin: "filter-json".to_owned(),
                version: "1.2.0".to_owned(),
                digest: "ab".repeat(32),
                counts: StageStatus {
                    route: name.to_owned(),
                    stage: "keep".to_owned(),
                    calls: 0,
                    messages: 0,
                    failures: 0,
                    seconds: 0.0,
                    memory_bytes: 0,
                    breaker,
                },
            }],
            messages: 0,
            outputs: 0,
            dead_letters: BTreeMap::new(),
            parked: 0,
            held_bytes: 0,
            partitions: Vec::new(),
        }
    }

    #[test]
    fn a_message_is_followed_over_its_topics() {
        let mut strong =
            route("strong", "quakes.raw", Some("quakes.strong"), BreakerStatus::Closed);
        strong.partitions.push(RoutePartition {
            stream: "raw".to_owned(),
            partition: 0,
            progress: Some(7),
            end: 9,
            lag: 2,
            oldest_ms: 40,
            parked: 3,
            commits: 1,
            missed: 0,
            stalled: Some("storage is full".to_owned()),
        });
        let split = route("split", "quakes.*", None, BreakerStatus::Open);
        let listener = SubscriptionStatus {
            id: 4,
            connection: 2,
            pattern: "quakes.>".to_owned(),
            waiting_messages: 7,
            waiting_bytes: 700,
        };
        let met = |hops, topic: &str, route: &RouteStatus| ExplainedRoute {
            hops,
            topic: topic.to_owned(),
            route: route.clone(),
        };
        let explanation = Explanation {
            topic: "quakes.raw".to_owned(),
            streams: vec![kept("quakes.strong")],
            routes: vec![
                met(0, "quakes.raw", &strong),
                met(0, "quakes.raw", &split),
                met(1, "quakes.strong", &split),
            ],
            subscriptions: vec![ExplainedSubscription {
                topic: "quakes.strong".to_owned(),
                subscription: listener,
            }],
            groups: vec![group("quakes.strong")],
        };
        insta::assert_snapshot!(told(&explanation), @r"
        quakes.raw
          route strong, which takes quakes.raw, 1 lane
            stage keep: filter-json 1.2.0 (abababababab)
            to quakes.strong
            in raw/0: 2 messages behind, 3 parked, stalled: storage is full
          route split, which takes quakes.*, 1 lane
            stage keep: filter-json 1.2.0 (abababababab), breaker open: messages wait
            to where its stages say
        quakes.strong, from strong
          stream kept, which keeps it: 1 partition, 3 messages
          route split, which takes quakes.*, 1 lane
            stage keep: filter-json 1.2.0 (abababababab), breaker open: messages wait
            to where its stages say
          subscription 4 of connection 2 to quakes.>, 7 waiting
          group alarms, which takes quakes.>: 0 members, 5 messages not done
        ");
    }

    fn kept(topic: &str) -> ExplainedStream {
        let stream = serde_json::json!({
            "topic": topic, "name": "kept", "topics": ["quakes.strong"], "fsync": "group",
            "partitions": [{
                "partition": 0, "first_offset": 4, "next_offset": 7, "messages": 3, "bytes": 300,
            }],
        });
        serde_json::from_value(stream).expect("it is one")
    }

    fn group(topic: &str) -> ExplainedGroup {
        let group = serde_json::json!({
            "topic": topic, "name": "alarms", "pattern": "quakes.>", "is_durable": true, "lag": 5,
            "in_flight": 0, "members": [], "partitions": [],
        });
        serde_json::from_value(group).expect("it is one")
    }

    #[test]
    fn a_topic_that_nothing_takes_is_told_as_such() {
        let explanation = serde_json::json!({
            "topic": "lost", "streams": [], "routes": [], "subscriptions": [], "groups": [],
        });
        let text = told(&serde_json::from_value(explanation).expect("it is one"));
        assert_eq!(text, "lost\n  nothing takes it: it is committed as unrouted\n");
    }
}
