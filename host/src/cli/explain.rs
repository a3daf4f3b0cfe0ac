//! `waypost explain`: what a message on a topic would meet in a running router.

use std::{collections::BTreeMap, fmt::Write as _};

use waypost_protocol::Topic;

use super::{
    Failure,
    admin::AdminOptions,
    connection::runtime,
    output::{Format, counted, short, write_line},
    print::write_out,
};
use crate::router::{BreakerStatus, Explanation, RouteStatus};

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
            Format::Pretty => Ok(write_out(&told(&explanation))?),
        }
    })
}

/// Each topic that the message has on its way, with what it meets there.
fn told(explanation: &Explanation) -> String {
    let mut text = String::new();
    for (topic, origins) in topics(explanation) {
        let from = match origins.as_slice() {
            [] => String::new(),
            routes => format!(", from {}", routes.join(", ")),
        };
        let start = text.len();
        // A string takes any text.
        let _ = writeln!(text, "{topic}{from}");
        let empty = text.len();
        if let Some(stream) = explanation.stream.as_ref().filter(|_| start == 0) {
            let partitions = counted(stream.partitions.len() as u64, "partition");
            let messages = stream.partitions.iter().map(|each| each.messages).sum();
            let messages = counted(messages, "message");
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
        if text.len() == empty {
            let what = if start == 0 { "it is committed as unrouted" } else { "it ends here" };
            let _ = writeln!(text, "  nothing takes it: {what}");
        }
    }
    text
}

/// The topics in the order in which the message gets them, with the routes that give them.
fn topics(explanation: &Explanation) -> Vec<(&str, Vec<&str>)> {
    let mut order = vec![explanation.topic.as_str()];
    let mut origins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for each in &explanation.routes {
        let Some(to) = each.route.to.as_deref() else {
            continue;
        };
        if !order.contains(&to) {
            order.push(to);
        }
        let origins = origins.entry(to).or_default();
        if !origins.contains(&each.route.name.as_str()) {
            origins.push(&each.route.name);
        }
    }
    order.into_iter().map(|topic| (topic, origins.remove(topic).unwrap_or_default())).collect()
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
            stream: None,
            topic: "quakes.raw".to_owned(),
            routes: vec![
                met(0, "quakes.raw", &strong),
                met(0, "quakes.raw", &split),
                met(1, "quakes.strong", &split),
            ],
            subscriptions: vec![ExplainedSubscription {
                topic: "quakes.strong".to_owned(),
                subscription: listener,
            }],
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
          route split, which takes quakes.*, 1 lane
            stage keep: filter-json 1.2.0 (abababababab), breaker open: messages wait
            to where its stages say
          subscription 4 of connection 2 to quakes.>, 7 waiting
        ");
    }

    #[test]
    fn a_topic_that_nothing_takes_is_told_as_such() {
        let (topic, routes, subscriptions) = ("lost".to_owned(), Vec::new(), Vec::new());
        let text = told(&Explanation { topic, stream: None, routes, subscriptions });
        assert_eq!(text, "lost\n  nothing takes it: it is committed as unrouted\n");
    }
}
