//! The ends of UDP tunnels as text.

use std::{collections::BTreeMap, net::SocketAddr};

use rtun_node::{
    DatagramTraffic, QuotaReport, RegisteredReport, RelayReport, RelayedReport, TapClientReport,
    TapPeerReport, TapServerReport, TunnelClientReport, TunnelServerReport,
    units::{bytes, count, duration, printable},
};

use super::{super::limits, Look, SHOWN, fact, health, more, table};

impl Look<'_> {
    pub(super) fn udp_server(&self, name: &str, report: &TunnelServerReport) -> String {
        let TunnelServerReport { listen, device, mtu, clients, sent, received, .. } = report;
        let mut text = format!(
            "{}   listens on udp {listen}, device {}, MTU {mtu}\n",
            self.bold(&format!("UDP tunnel server {name}")),
            printable(device)
        );
        let mut facts = vec![fact("clients", format!("{} registered", clients.len()))];
        facts.extend(health(&report.health));
        for (label, traffic) in [("sent", sent), ("received", received)] {
            facts.extend(passed(label, traffic));
        }
        let named = clients.iter().map(|client| {
            let first = client.addresses.first().map(ToString::to_string);
            (first.unwrap_or_else(|| client.outer.to_string()), &client.limits[..])
        });
        facts.extend(limited(limits::of_peers(named), &report.quotas));
        text += &table("  ", "ll", facts);
        if clients.is_empty() {
            return text;
        }
        let titles = ["ADDRESSES", "FROM", "SINCE", "REGISTERED", "DATA", "IN", "OUT", "DROPS"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(clients.iter().take(SHOWN).map(client_row));
        text + &table("    ", "llrrrrrl", rows) + &more(clients.len(), "clients", "    ")
    }

    pub(super) fn udp_client(&self, name: &str, report: &TunnelClientReport) -> String {
        let TunnelClientReport { addresses, device, mtu, server, last_error, .. } = report;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut text = format!(
            "{}   registers {}, device {}, MTU {mtu}\n",
            self.bold(&format!("UDP tunnel client {name}")),
            addresses.join(" "),
            printable(device)
        );
        let mut facts = Vec::new();
        let server = shown_server(server.as_deref(), report.remote, report.relay.as_ref());
        facts.push(fact(
            "server",
            match report.seen_as {
                Some(outer) => {
                    let heard = report.heard.map_or("never".into(), duration);
                    format!("{server}; sees us as {outer}, heard {heard} ago")
                }
                None => format!("{server}: {}", self.paint("31", "no answer")),
            },
        ));
        if let Some(local) = report.local {
            facts.push(fact("from", local.to_string()));
        }
        facts.extend(health(&report.health));
        if let Some(error) = last_error {
            let (what, hub, ago) =
                (printable(&error.error), printable(&error.hub), duration(error.ago));
            facts.push(fact("last failure", format!("{ago} ago, {hub}: {what}")));
        }
        let TunnelClientReport { registers, replies, failed, .. } = report;
        facts.push(fact(
            "registers",
            format!("{registers} sent, {replies} answered; {failed} connections given up"),
        ));
        for (label, traffic) in [("sent", &report.sent), ("received", &report.received)] {
            facts.extend(passed(label, traffic));
        }
        facts.extend(limited(limits::of_device(&report.limits), &report.quotas));
        text += &table("  ", "ll", facts);
        text
    }

    pub(super) fn tap_server(&self, name: &str, report: &TapServerReport) -> String {
        let TapServerReport { listen, device, mac, mtu, clients, sent, received, .. } = report;
        let mut text = format!(
            "{}   listens on udp {listen}, device {} ({}), MTU {mtu}\n",
            self.bold(&format!("Ethernet tunnel server {name}")),
            printable(device),
            printable(mac)
        );
        let mut facts = vec![
            fact("cipher", self.cipher(report.cipher.as_deref())),
            fact("clients", format!("{} known", clients.len())),
        ];
        facts.extend(health(&report.health));
        for (label, traffic) in [("sent", sent), ("received", received)] {
            facts.extend(passed(label, traffic));
        }
        let named = clients.iter().map(|it| (it.outer.to_string(), &it.limits[..]));
        facts.extend(limited(limits::of_peers(named), &report.quotas));
        text += &table("  ", "ll", facts);
        if clients.is_empty() {
            return text;
        }
        let titles = ["FROM", "SINCE", "HEARD", "IN", "OUT", "ADDRESSES"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(clients.iter().take(SHOWN).map(peer_row));
        text + &table("    ", "lrrrrl", rows) + &more(clients.len(), "clients", "    ")
    }

    pub(super) fn tap_client(&self, name: &str, report: &TapClientReport) -> String {
        let TapClientReport { device, mac, mtu, server, last_error, failed, .. } = report;
        let mut text = format!(
            "{}   device {} ({}), MTU {mtu}\n",
            self.bold(&format!("Ethernet tunnel client {name}")),
            printable(device),
            printable(mac)
        );
        let server = shown_server(server.as_deref(), report.remote, report.relay.as_ref());
        let answer = match report.heard {
            Some(heard) if report.answered => format!(", heard {} ago", duration(heard)),
            _ => format!(": {}", self.paint("31", "no answer")),
        };
        let mut facts = vec![
            fact("cipher", self.cipher(report.cipher.as_deref())),
            fact("server", format!("{server}{answer}; {failed} connections given up")),
        ];
        if let Some(local) = report.local {
            facts.push(fact("from", local.to_string()));
        }
        facts.extend(health(&report.health));
        if let Some(error) = last_error {
            let (what, hub, ago) =
                (printable(&error.error), printable(&error.hub), duration(error.ago));
            facts.push(fact("last failure", format!("{ago} ago, {hub}: {what}")));
        }
        for (label, traffic) in [("sent", &report.sent), ("received", &report.received)] {
            facts.extend(passed(label, traffic));
        }
        facts.extend(limited(limits::of_device(&report.limits), &report.quotas));
        text += &table("  ", "ll", facts);
        text
    }

    fn cipher(&self, method: Option<&str>) -> String {
        method.map_or_else(|| self.paint("31", "none: clear text"), printable)
    }
}

/// How many hardware addresses of a client are shown.
const MACS: usize = 4;

/// A client's server, where it is, and the relay on the way.
fn shown_server(
    server: Option<&str>,
    remote: Option<SocketAddr>,
    relay: Option<&RelayedReport>,
) -> String {
    let Some(server) = server else { return "none yet".to_owned() };
    let remote = remote.map_or_else(String::new, |remote| format!(" ({remote})"));
    let through = relay.map_or_else(String::new, |it| {
        format!(" through {} ({})", printable(&it.relay), it.transport.as_str())
    });
    printable(server) + &remote + &through
}

fn peer_row(client: &TapPeerReport) -> Vec<String> {
    let mut macs: Vec<String> = client.macs.iter().take(MACS).map(|mac| printable(mac)).collect();
    if client.macs.len() > MACS {
        macs.push(format!("and {} more", client.macs.len() - MACS));
    }
    vec![
        client.outer.to_string(),
        duration(client.since),
        duration(client.heard),
        count(client.packets_in as f64),
        count(client.packets_out as f64),
        macs.join(" "),
    ]
}

impl Look<'_> {
    pub(super) fn relay(&self, name: &str, report: &RelayReport) -> String {
        let RelayReport { listen, target, clients, sent, received, .. } = report;
        let listen: Vec<String> =
            listen.iter().map(|it| format!("{} {}", it.transport.as_str(), it.address)).collect();
        let mut text =
            format!("{}   listens on {}\n", self.bold(&format!("Relay {name}")), listen.join(", "));
        let target = target.map_or("servers of this process".to_owned(), |it| it.to_string());
        let mut facts = vec![
            fact("leads to", target),
            fact(
                "clients",
                format!("{} connected, {} admitted so far", clients.len(), report.admitted),
            ),
        ];
        if !report.refused.is_empty() {
            let refused: BTreeMap<String, u64> =
                report.refused.iter().map(|(why, it)| (why.clone(), it.count)).collect();
            facts.push(fact("not admitted", by_reason(&refused)));
        }
        for (label, traffic) in [("sent", sent), ("received", received)] {
            facts.extend(passed(label, traffic));
        }
        let named = clients.iter().map(|it| (it.peer.to_string(), &it.limits[..]));
        facts.extend(limited(limits::of_peers(named), &report.quotas));
        text += &table("  ", "ll", facts);
        if clients.is_empty() {
            return text;
        }
        let titles = ["CLIENT", "TRANSPORT", "SERVER", "SEEN AS", "SINCE", "IN", "OUT", "QUEUED"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(clients.iter().take(SHOWN).map(|client| {
            vec![
                client.peer.to_string(),
                client.transport.as_str().to_owned(),
                client.target.to_string(),
                client.outer.to_string(),
                duration(client.connected),
                count(client.received.packets_in as f64),
                count(client.sent.packets_out as f64),
                count(client.queued.packets as f64),
            ]
        }));
        text + &table("    ", "llllrrrr", rows) + &more(clients.len(), "clients", "    ")
    }
}

/// Limits, one a line, and quotas.
fn limited(lines: Vec<String>, quotas: &[QuotaReport]) -> Vec<Vec<String>> {
    let limits = lines.into_iter().map(|line| fact("limit", line));
    limits.chain(quotas.iter().map(|it| fact("quota", limits::quota(it)))).collect()
}

fn passed(label: &str, traffic: &DatagramTraffic) -> Vec<Vec<String>> {
    let DatagramTraffic { packets_out, bytes_out, drops, .. } = traffic;
    let amount = format!("{} packets, {}", count(*packets_out as f64), bytes(*bytes_out as f64));
    let mut facts = vec![fact(label, amount)];
    if !drops.is_empty() {
        facts.push(fact("  drops", by_reason(drops)));
    }
    facts
}

fn by_reason(drops: &BTreeMap<String, u64>) -> String {
    let each = drops.iter().map(|(reason, number)| format!("{} {number}", printable(reason)));
    each.collect::<Vec<_>>().join(", ")
}

fn client_row(client: &RegisteredReport) -> Vec<String> {
    let addresses: Vec<String> = client.addresses.iter().map(ToString::to_string).collect();
    vec![
        addresses.join(" "),
        client.outer.to_string(),
        duration(client.since),
        duration(client.registered),
        duration(client.data),
        count(client.packets_in as f64),
        count(client.packets_out as f64),
        by_reason(&client.drops),
    ]
}
