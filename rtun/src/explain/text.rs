//! An explanation for people: a line for each step, the last one says what becomes of the packet.

use std::fmt::Write;

use rtun_core::{
    DropReason,
    explain::{
        AppliedLimit, Because, Conclusion, Connection, Explanation, LimitedDirection,
        LocatedAddress, Origin, PassedOver, Presence, Special, TableRow,
    },
};
use rtun_node::Explanations;

/// How many rows that do not count are shown for an address.
const MAX_PASSED_OVER: usize = 8;

/// The width of the first column with its blanks.
const LABEL: usize = 11;

/// All explanations, one below the other.
pub(super) fn text(found: &Explanations) -> String {
    let Explanations { hubs, tunnels, switches } = found;
    let is_one_of_many = hubs.len() + tunnels.len() + switches.len() > 1;
    let name = |what: &str, service: &str| {
        let mut text = Text::default();
        if is_one_of_many {
            text.line(what, service);
        }
        text
    };
    let hubs = hubs.iter().map(|hub| {
        let mut text = name("hub", &hub.service);
        text.explanation(&hub.explanation);
        for source in &hub.not_asked {
            text.line("not asked", source);
        }
        for limit in &hub.limits {
            text.limit(limit);
        }
        text.verdict(&hub.explanation);
        text.0
    });
    let tunnels = tunnels.iter().map(|tunnel| {
        let mut text = name("server", &tunnel.service);
        text.tunnel(tunnel);
        text.0
    });
    let switches = switches.iter().map(|switch| {
        let mut text = name("server", &switch.service);
        text.switch(switch);
        text.0
    });
    hubs.chain(tunnels).chain(switches).collect::<Vec<_>>().join("\n")
}

#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn line(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.0, "{label:<LABEL$}{text}");
    }

    pub(super) fn more(&mut self, text: &str) {
        self.line("", text);
    }

    fn explanation(&mut self, explanation: &Explanation) {
        self.line("namespace", &format!("{}  {}", explanation.namespace, routers(explanation)));
        self.sender(explanation);
        self.addresses(explanation);
        if let Some(gateway) = &explanation.gateway {
            self.presence(&gateway.host, &gateway.presence);
        }
        for other in &explanation.others {
            let label = if explanation.copies { "and" } else { "or" };
            let what = match explanation {
                Explanation { copies: true, .. } => "gets a copy",
                Explanation { share_flows: true, .. } => "gets some of the flows",
                _ => "stands by",
            };
            let is_sender = explanation.sender.as_ref().is_some_and(|it| it.host == other.host);
            let state = match &other.presence {
                _ if explanation.copies && is_sender => "sends the packet, and gets no copy".into(),
                Presence::Connected { .. } => what.to_owned(),
                Presence::Unknown => format!("{what} while it is connected"),
                Presence::NotConnected | Presence::Impossible { .. } => "is not connected".into(),
            };
            self.line(label, &format!("{} {state}", other.host));
        }
    }

    fn sender(&mut self, explanation: &Explanation) {
        let Some(sender) = &explanation.sender else { return };
        let Explanation { source_check, .. } = explanation;
        let host = &sender.host;
        if sender.named {
            self.line("sent by", &format!("{host}  (source check: {source_check})"));
        }
        match &sender.presence {
            Presence::Impossible { because } => {
                self.more(&format!("{host} can never join: {because}"));
            }
            Presence::NotConnected => self.more(&format!("{host} is not connected now")),
            Presence::Unknown | Presence::Connected { .. } => {}
        }
    }

    fn addresses(&mut self, explanation: &Explanation) {
        let located = [&explanation.source, &explanation.destination];
        let addresses = located.map(|located| located.address.to_string());
        let behind = located.map(|located| behind(located, explanation));
        let places = located.map(|located| located.row.as_ref().map(place).unwrap_or_default());
        self.ends(&addresses, &behind, &places, |text, end| {
            if let Some(special) = located[end].special {
                let rule = match special {
                    Special::Multicast | Special::Broadcast if end == 1 => {
                        "is only routed by a prefix of such addresses alone, and there is none"
                    }
                    _ => "is never routed, whatever the tables say",
                };
                text.more(&format!("  {} {rule}", kind(special)));
            }
            let LocatedAddress { passed_over, passed_over_more, .. } = located[end];
            text.passed_over(passed_over, *passed_over_more, why);
        });
    }

    /// A line for source and destination each: the address, where that is, and the row that says so. `notes` come after each.
    pub(super) fn ends(
        &mut self,
        addresses: &[String; 2],
        behind: &[String; 2],
        places: &[String; 2],
        mut notes: impl FnMut(&mut Self, usize),
    ) {
        let width = addresses.iter().map(String::len).max().unwrap_or(0);
        // What has no place after it may be longer.
        let with_place = behind.iter().zip(places).filter(|(_, place)| !place.is_empty());
        let behind_width = with_place.map(|(behind, _)| behind.len()).max().unwrap_or(0);
        for (end, label) in ["source", "to"].into_iter().enumerate() {
            let (address, behind, place) = (&addresses[end], &behind[end], &places[end]);
            let text = format!("{address:<width$}  {behind:<behind_width$}   {place}");
            self.line(label, text.trim_end());
            notes(self, end);
        }
    }

    /// Rows that do not count, each with why, and how many more there are than `rows`.
    pub(super) fn passed_over(
        &mut self,
        rows: &[PassedOver],
        more: u64,
        why: impl Fn(&PassedOver) -> String,
    ) {
        for row in rows.iter().take(MAX_PASSED_OVER) {
            self.more(&format!("  passed over: {}   ({})", place(&row.row), why(row)));
        }
        let more = more + rows.len().saturating_sub(MAX_PASSED_OVER) as u64;
        if more > 0 {
            self.more(&format!("  passed over: {more} more"));
        }
    }

    fn presence(&mut self, host: &str, presence: &Presence) {
        match presence {
            Presence::Unknown => {
                self.line(
                    "gateway",
                    &format!("{host}; no running hub was asked whether it is connected"),
                );
            }
            Presence::Impossible { because } => {
                self.line("gateway", &format!("{host}, which can never join: {because}"));
            }
            Presence::NotConnected => {
                self.line("gateway", &format!("{host}, which is not connected"));
            }
            Presence::Connected { connections } => {
                for connection in connections {
                    self.connection(host, connection);
                }
            }
        }
    }

    fn connection(&mut self, host: &str, connection: &Connection) {
        let Connection { peer, transport, seconds, queued_packets, standing_by, .. } = connection;
        let standing_by = if *standing_by { ", standing by" } else { "" };
        let since = duration(*seconds);
        let packets = if *queued_packets == 1 { "packet" } else { "packets" };
        let text = format!(
            "{host}, connected for {since} from {peer} ({transport}), {queued_packets} {packets} \
             queued{standing_by}"
        );
        self.line("gateway", &text);
    }

    pub(super) fn limit(&mut self, limit: &AppliedLimit) {
        let AppliedLimit { host, direction, limiter, scope, bytes_per_second } = limit;
        let what = match direction {
            LimitedDirection::From => format!("what {host} sends"),
            LimitedDirection::To => format!("what is sent to {host}"),
        };
        let text = format!("{what}: {bytes_per_second} bytes/s for the {scope} by its {limiter}");
        self.line("limit", &text);
    }

    fn verdict(&mut self, explanation: &Explanation) {
        match &explanation.conclusion {
            Conclusion::Delivered { to } => self.line("verdict", &format!("delivered to {to}")),
            Conclusion::Copied { to } => {
                self.line("verdict", &format!("a copy delivered to each of {}", to.join(", ")));
            }
            Conclusion::Asks { plugin, address } => {
                let text =
                    format!("not decided: waits until plugin {plugin} says where {address} is");
                self.line("verdict", &text);
            }
            Conclusion::Dropped { reason } => {
                self.line("verdict", &format!("dropped: {}", reason.as_str()));
                self.more(&advice(*reason, explanation));
            }
        }
    }
}

/// Why a row does not count.
pub(super) fn why(PassedOver { router, row, because }: &PassedOver) -> String {
    match because {
        Because::ShorterPrefix => "shorter prefix".to_owned(),
        Because::LowerSource => format!("the same prefix, only in {}", origin(row.origin)),
        Because::ListedLater => "the same prefix, listed later".to_owned(),
        Because::StandsBy => "the same prefix, next while those before are away".to_owned(),
        Because::Away => format!("the same prefix first, but {} is away", row.gateway),
        Because::Sends => "the same prefix first, but that host sends the packet".to_owned(),
        Because::SharesFlows => "the same prefix, gets some of the flows".to_owned(),
        Because::GetsCopy => "the same prefix, gets a copy".to_owned(),
        Because::NotForMany => "not of multicast or broadcast addresses alone".to_owned(),
        Because::MaySendToo => "the same prefix, may send from there too".to_owned(),
        Because::RouterNotAsked => format!("{router} is asked only after that"),
    }
}

fn routers(explanation: &Explanation) -> String {
    let routers = explanation.routers.iter().map(|router| {
        let default = if router.is_default { "default " } else { "" };
        let kind = if router.is_plugin { "plugin" } else { "router" };
        // A namespace's own router has its name.
        match router.name.parse() == explanation.namespace.parse::<rtun_core::NamespaceId>() {
            true => format!("own {kind}"),
            false => format!("{default}{kind} {}", router.name),
        }
    });
    match routers.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "(no router)".into(),
        routers => format!("({routers})"),
    }
}

fn behind(located: &LocatedAddress, explanation: &Explanation) -> String {
    let LocatedAddress { router, gateway, row, asks, .. } = located;
    let router = router.as_deref().unwrap_or_default();
    let is_first = explanation.routers.first().is_some_and(|first| first.name == router);
    match (gateway, asks) {
        (Some(gateway), _) if row.is_none() => format!("is behind {gateway}, says plugin {router}"),
        (Some(gateway), _) if is_first => format!("is behind {gateway}"),
        (Some(gateway), _) => format!("is behind {gateway}, says {router}"),
        (None, Some(plugin)) => format!("is behind a host that plugin {plugin} has to say"),
        (None, None) => "is behind nobody: no route contains it".into(),
    }
}

pub(super) fn place(row: &TableRow) -> String {
    let TableRow { prefix, gateway, source, line, .. } = row;
    format!("{source}:{line}  {prefix} -> {gateway}")
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Inline => "the configuration",
        Origin::File => "a file",
        Origin::Redis => "redis",
        Origin::Http => "an http source",
    }
}

pub(super) fn kind(special: Special) -> &'static str {
    match special {
        Special::Unspecified => "the unspecified address",
        Special::Loopback => "a loopback address",
        Special::Multicast => "a multicast address",
        Special::Broadcast => "the broadcast address",
        Special::LinkLocal => "a link-local address",
        Special::Ipv4Mapped => "an IPv4 address in IPv6 form",
    }
}

/// What to do about a packet that is dropped for this reason.
fn advice(reason: DropReason, explanation: &Explanation) -> String {
    let Explanation { source, destination, sender, gateway, namespace, .. } = explanation;
    let sender = sender.as_ref().map_or("the sender", |sender| sender.host.as_str());
    let (from, to) = (source.address, destination.address);
    match reason {
        DropReason::IpDisallowedDst => match destination.special {
            Some(Special::Multicast | Special::Broadcast) => format!(
                "hosts send such packets of their own accord; to have them carried add a route for {to}, or \
                 a prefix of such addresses alone, to each host that is to get them"
            ),
            _ => "hosts send such packets of their own accord; nothing is wrong if they are few".into(),
        },
        DropReason::SrcNotAllowed if source.special.is_some() => {
            format!("have {sender} send from an address that is routed to it")
        }
        DropReason::SrcNotAllowed => match &source.gateway {
            Some(owner) => format!(
                "{from} is {owner}'s: have {sender} send from an address that is routed to it, or \
                 correct that route"
            ),
            None => format!(
                "add a route for {from} to the host it is behind; a router there may only send ICMP errors \
                 about packets that went to that host"
            ),
        },
        DropReason::NoRoute => format!("add a route for {to} to the host it is behind"),
        DropReason::NoTable => {
            format!("add a router named {namespace}, or a default `router` to the handler")
        }
        DropReason::RouteDenied => {
            format!("neither a table nor the plugin knows {to}: add a route to one of them")
        }
        DropReason::Hairpin => format!(
            "{to} is behind {sender} itself: correct the routes on {sender}, or the one in the table"
        ),
        DropReason::TtlExpired => {
            "the hub takes a hop (`ttl: true`) and the packet has none left: look for a loop".into()
        }
        DropReason::NoGatewayConnected => match gateway {
            Some(gateway) => match &gateway.presence {
                Presence::Impossible { .. } => format!(
                    "correct the gateway's name in that route, or admit {} here",
                    gateway.host
                ),
                _ => format!(
                    "start {}, or compare the name it reports with the one in the route",
                    gateway.host
                ),
            },
            None => "start the host that the route names".into(),
        },
        DropReason::QuotaExceeded => {
            "a quota of the hub is used up: `rtun status` names it; raise its limit or begin another window"
                .into()
        }
        _ => reason.help().into(),
    }
}

/// In the greatest unit of which there is at least one.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7_199, "1 h"),
            (86_400, "1 d"),
            (900_000, "10 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
