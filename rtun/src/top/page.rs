//! The page as lines.

use rtun_node::{
    units::{bytes, count, duration, printable, short},
    watch::{HostView, PacketRate},
};

use super::{
    keys::{HostKey, TopState},
    sample::TopSample,
};
use crate::{hosts, table::table};

/// A line, and whether it is the one that Enter opens.
pub(super) struct PageLine {
    pub(super) text: String,
    pub(super) is_selected: bool,
}

/// All that is known, for an output that is no terminal.
pub(super) fn plain(sample: &TopSample, state: &TopState) -> String {
    let head = head(sample, state).join("\n");
    format!("{head}\n{}", hosts::text(&sample.hosts))
}

/// The page for a terminal of this many columns and lines.
pub(super) fn lines(
    sample: &TopSample,
    state: &mut TopState,
    (columns, rows): (usize, usize),
) -> Vec<PageLine> {
    state.selected = state.selected.min(sample.hosts.len().saturating_sub(1));
    let mut lines = head(sample, state);
    let opened = state.opened.as_ref();
    let first_host = lines.len() + 1;
    match opened {
        Some(opened) => lines.extend(one_host(sample, opened)),
        None => lines.extend(hosts::text(&sample.hosts).lines().map(str::to_owned)),
    }
    let selected = opened.is_none().then_some(first_host + state.selected);
    let shown = lines.into_iter().take(rows).enumerate().map(|(number, text)| PageLine {
        text: text.chars().take(columns).collect(),
        is_selected: selected == Some(number),
    });
    shown.collect()
}

fn head(sample: &TopSample, state: &TopState) -> Vec<String> {
    let sum = |of: &dyn Fn(&rtun_node::watch::Overview) -> f64| {
        sample.overviews.iter().map(of).sum::<f64>()
    };
    let rate = |rate: PacketRate| format!("{}/s {}/s", bytes(rate.bytes), count(rate.packets));
    let input = PacketRate {
        packets: sum(&|it| it.rate.traffic.input.packets),
        bytes: sum(&|it| it.rate.traffic.input.bytes),
    };
    let output = PacketRate {
        packets: sum(&|it| it.rate.traffic.output.packets),
        bytes: sum(&|it| it.rate.traffic.output.bytes),
    };
    let versions: Vec<_> = sample
        .overviews
        .iter()
        .map(|it| format!("{} pid {}", printable(&it.version), it.pid))
        .collect();
    let drops =
        sample.drops.iter().map(|(reason, packets)| format!("{reason} {}", count(*packets as f64)));
    let drops = drops.collect::<Vec<_>>().join(", ");
    let search = match (state.is_typing, state.search.is_empty()) {
        (true, _) => format!("   search: {}_", printable(&state.search)),
        (false, false) => format!("   search: {}", printable(&state.search)),
        (false, true) => String::new(),
    };
    vec![
        format!("rtun {}", versions.join(", ")),
        format!(
            "hosts {}   namespaces {}   problems {}   in {}   out {}   drops {}/s",
            sum(&|it| it.hosts as f64),
            sum(&|it| it.namespaces as f64),
            sum(&|it| it.problems as f64),
            rate(input),
            rate(output),
            count(sum(&|it| it.rate.drops)),
        ),
        format!("lost so far: {}", if drops.is_empty() { "nothing" } else { &drops }),
        format!(
            "{} of {} hosts by {}{search}   (t n a u d sort, / search, Enter open, q quit)",
            sample.hosts.len(),
            sample.total,
            state.sort.word(),
        ),
        String::new(),
    ]
}

fn one_host(sample: &TopSample, opened: &HostKey) -> Vec<String> {
    let Some(host) = sample.hosts.iter().find(|host| HostKey::of(host) == *opened) else {
        return vec![format!(
            "{} is not connected, or not among the hosts shown",
            short(&opened.host)
        )];
    };
    let HostView { service, namespace, peer, transport, connected, .. } = host;
    let drops: Vec<_> =
        host.drops.iter().map(|(reason, packets)| format!("{reason} {packets}")).collect();
    let mut lines = vec![
        format!("host       {} at {} in {namespace}", printable(&host.host), printable(service)),
        format!("connected  {} from {peer} ({})", duration(*connected), transport.as_str()),
        format!("program    {}", host.software.as_deref().map_or("-".into(), printable)),
        format!("queued     {} packets, {}", host.queued.packets, bytes(host.queued.bytes as f64)),
        format!(
            "lost       {}",
            if drops.is_empty() { "nothing".into() } else { drops.join(", ") }
        ),
    ];
    lines.extend(host.limits.iter().map(|limit| {
        let rate = |rate: Option<u64>| rate.map_or("-".into(), |rate| bytes(rate as f64) + "/s");
        format!(
            "limit      {} of its {}: in {}, out {}",
            limit.limiter,
            limit.scope,
            rate(limit.input),
            rate(limit.output)
        )
    }));
    lines.push(String::new());
    let head = ["FROM", "TO", "NOW", "PACKETS", "BYTES"].map(str::to_owned).to_vec();
    let rows = sample.flows.iter().map(|flow| {
        vec![
            short(&flow.from),
            flow.to.as_deref().map_or("others".into(), short),
            bytes(flow.rate.bytes) + "/s",
            count(flow.packets as f64),
            bytes(flow.bytes as f64),
        ]
    });
    let flows = table("", "llrrr", std::iter::once(head).chain(rows).collect());
    lines.extend(flows.lines().map(str::to_owned));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        hosts::SortBy,
        top::keys::{TopKey, TopStep},
    };

    fn host(name: &str) -> HostView {
        let amounts = json!({"packets": 1, "bytes": 1500});
        let rate = json!({"packets": 2.0, "bytes": 3000.0});
        serde_json::from_value(json!({
            "service": "hub", "namespace": "0", "host": name, "peer": "10.0.0.2:5", "transport": "tls",
            "connected": 61.0, "carries": true, "software": "\u{1b}[2J", "mtu": 1420, "gso_frames": true,
            "datagrams": false, "in": amounts, "out": amounts, "rate": {"in": rate, "out": rate},
            "drops": {"no_route": 3}, "queued": {"packets": 0, "bytes": 0}, "round_trip": 0.0125, "limits": []
        }))
        .unwrap()
    }

    fn sample(hosts: usize) -> TopSample {
        let hosts: Vec<_> = (0..hosts).map(|n| host(&format!("host-{n}"))).collect();
        TopSample {
            overviews: Vec::new(),
            total: 10_000,
            hosts,
            drops: [("no_route".to_owned(), 3)].into(),
            flows: Vec::new(),
        }
    }

    #[test]
    fn the_page_fits_and_says_nothing_that_a_terminal_would_act_on() {
        let mut state = TopState::new(SortBy::Traffic, String::new());
        let sample = sample(100);
        for size in [(80, 24), (20, 3), (1, 1), (0, 0), (500, 500)] {
            let lines = lines(&sample, &mut state, size);
            assert!(lines.len() <= size.1);
            for line in &lines {
                assert!(line.text.chars().count() <= size.0 && !line.text.contains('\u{1b}'));
            }
        }
        let page = lines(&sample, &mut state, (200, 40));
        assert!(page[3].text.starts_with("100 of 10000 hosts by traffic"), "{}", page[3].text);
        let selected: Vec<_> = page.iter().filter(|line| line.is_selected).collect();
        assert!(selected.len() == 1 && selected[0].text.starts_with("host-0 "));
        assert!(selected[0].text.contains("12.50ms") && selected[0].text.contains("2.9 KiB"));
    }

    #[test]
    fn keys_sort_search_open_and_quit() {
        let mut state = TopState::new(SortBy::Traffic, String::new());
        let sample = sample(2);
        assert_eq!(state.press(TopKey::Character('d'), &sample.hosts), TopStep::Ask);
        assert!(state.sort == SortBy::Drops);
        for key in [TopKey::Down, TopKey::Down] {
            assert_eq!(state.press(key, &sample.hosts), TopStep::Draw);
        }
        assert_eq!(state.press(TopKey::Enter, &sample.hosts), TopStep::Ask);
        assert_eq!(state.opened.as_ref().map(|it| &*it.host), Some("host-1"));
        let page = lines(&sample, &mut state, (100, 40));
        assert!(page.iter().any(|line| line.text == "host       host-1 at hub in 0"));
        assert_eq!(state.press(TopKey::Escape, &sample.hosts), TopStep::Ask);
        state.press(TopKey::Character('/'), &sample.hosts);
        for c in "quit".chars() {
            assert_eq!(state.press(TopKey::Character(c), &sample.hosts), TopStep::Ask);
        }
        state.press(TopKey::Enter, &sample.hosts);
        assert_eq!((&*state.search, state.is_typing), ("quit", false));
        assert_eq!(state.press(TopKey::Escape, &sample.hosts), TopStep::Ask);
        assert_eq!(state.search, "");
        assert_eq!(state.press(TopKey::Escape, &sample.hosts), TopStep::Quit);
        state.is_typing = true;
        assert_eq!(state.press(TopKey::Interrupt, &sample.hosts), TopStep::Quit);
    }
}
