//! What servers of UDP and Ethernet tunnels do, for people.

use rtun_core::{
    explain::{
        Because, ClientView, PassedOver, RefusedRegister, Station, StationPlace, SwitchExplanation,
        TunnelAddress, TunnelConclusion, TunnelEnd, TunnelExplanation, TunnelPlace,
    },
    udp_tunnel::DatagramDrop,
};

use super::text::{Text, duration, kind, place, why};

impl Text {
    /// A packet at the server of a UDP tunnel.
    pub(super) fn tunnel(&mut self, tunnel: &TunnelExplanation) {
        match &tunnel.sender {
            TunnelEnd::Device => self.line("sent by", "the server's own device"),
            TunnelEnd::Client(client) => self.line("sent by", &said(client)),
            TunnelEnd::Unregistered { address } => {
                self.line("sent by", &format!("{address}, which is not registered"));
            }
        }
        let ends = [&tunnel.source, &tunnel.destination];
        let addresses = ends.map(|end| end.address.to_string());
        let places = ends.map(|end| end.row.as_ref().map(place).unwrap_or_default());
        self.ends(&addresses, &ends.map(place_of), &places, |text, at| {
            let end = ends[at];
            if let Some(special) = end.special {
                text.more(&format!("  {} goes to no client", kind(special)));
            }
            if end.has_no_user {
                text.more("  nobody can register it: no user has that address");
            }
            text.passed_over(&end.passed_over, end.passed_over_more, why_not);
        });
        if tunnel.point_to_point {
            self.line("p2p", "everything goes to the one client there is");
        }
        if let Some(TunnelEnd::Client(client)) = &tunnel.receiver {
            self.line("client", &said(client));
        }
        for refused in &tunnel.refused {
            self.refused(refused);
        }
        for limit in &tunnel.limits {
            self.limit(limit);
        }
        match &tunnel.conclusion {
            TunnelConclusion::Dropped { reason } => {
                self.line("verdict", &format!("dropped: {}", reason.as_str()));
                self.more(&advice(*reason, tunnel));
            }
            TunnelConclusion::Delivered { .. } | TunnelConclusion::Flooded { .. } => {
                self.delivered(tunnel);
            }
        }
    }

    fn delivered(&mut self, tunnel: &TunnelExplanation) {
        match &tunnel.receiver {
            Some(TunnelEnd::Client(client)) => {
                let name = name(client);
                let at = client.live.as_ref().map(|live| format!(" at {}", live.outer));
                self.line("verdict", &format!("delivered to {name}{}", at.unwrap_or_default()));
            }
            _ => {
                self.line("verdict", "delivered to the server's own device");
                let TunnelAddress { place, address, .. } = tunnel.destination;
                if matches!(place, TunnelPlace::Unregistered | TunnelPlace::BehindUnregistered) {
                    self.more(&format!("no client has {address}: if one should, start that"));
                }
            }
        }
    }

    fn refused(&mut self, refused: &RefusedRegister) {
        let RefusedRegister { address, reason, outer, incumbent, seconds } = refused;
        let reason = reason.as_str();
        let incumbent = incumbent.map(|it| format!("; {it} has that address")).unwrap_or_default();
        let ago = duration(*seconds);
        let text = format!("{outer}, which wanted {address} {ago} ago: {reason}{incumbent}");
        self.line("refused", &text);
    }

    /// A frame at the server of an Ethernet tunnel.
    pub(super) fn switch(&mut self, switch: &SwitchExplanation) {
        if switch.vlan != 0 {
            self.line("vlan", &switch.vlan.to_string());
        }
        let ends = [&switch.source, &switch.destination];
        let places = [String::new(), String::new()];
        self.ends(&ends.map(|end| end.mac.clone()), &ends.map(station), &places, |_, _| {});
        for limit in &switch.limits {
            self.limit(limit);
        }
        match &switch.conclusion {
            TunnelConclusion::Delivered { to } if to == "device" => {
                self.line("verdict", "delivered to the server's own device");
            }
            TunnelConclusion::Delivered { to } => {
                self.line("verdict", &format!("delivered to {to}"));
            }
            TunnelConclusion::Flooded { clients, device } => {
                let clients = match clients {
                    1 => "1 client".to_owned(),
                    clients => format!("{clients} clients"),
                };
                let device = if *device { "the server's own device and " } else { "" };
                self.line("verdict", &format!("sent to all: {device}{clients}, less its sender"));
            }
            TunnelConclusion::Dropped { reason } => {
                self.line("verdict", &format!("dropped: {}", reason.as_str()));
                self.more(reason.help());
            }
        }
    }
}

/// Why a network does not count.
fn why_not(row: &PassedOver) -> String {
    match row.because {
        Because::Away => {
            format!("the same prefix first, but {} is not registered", row.row.gateway)
        }
        Because::RouterNotAsked => "what is registered comes before networks".to_owned(),
        _ => why(row),
    }
}

fn name(client: &ClientView) -> String {
    let first = client.addresses.first().map(ToString::to_string);
    let live = || client.live.as_ref().map(|live| live.outer.to_string());
    first.or_else(live).unwrap_or_default()
}

fn said(client: &ClientView) -> String {
    let name = name(client);
    match &client.live {
        None => format!("{name}; no running server was asked whether it is registered"),
        Some(live) => {
            let (since, silent) = (duration(live.seconds), duration(live.silent));
            let outer = live.outer;
            format!("{name}, registered for {since} from {outer}, heard {silent} ago")
        }
    }
}

fn place_of(end: &TunnelAddress) -> String {
    let client = end.client.as_ref().map(name).unwrap_or_default();
    match end.place {
        TunnelPlace::Own => "is the server's own".to_owned(),
        TunnelPlace::Registered if client == end.address.to_string() => {
            "is the address of a client".to_owned()
        }
        TunnelPlace::Registered => format!("is an address of the client {client}"),
        TunnelPlace::Behind => format!("is behind {client}"),
        TunnelPlace::BehindUnregistered => {
            let gateway = end.row.as_ref().map(|row| &*row.gateway).unwrap_or_default();
            format!("is behind {gateway}, which is not registered")
        }
        TunnelPlace::Unregistered => "is an address for clients, and none has registered it".into(),
        TunnelPlace::Elsewhere => "is no client's, and in no network of one".to_owned(),
    }
}

fn station(station: &Station) -> String {
    let device = |at: &str| match at {
        "device" => "the server's own device".to_owned(),
        outer => outer.to_owned(),
    };
    match &station.place {
        StationPlace::Own => "is the server's own device".to_owned(),
        StationPlace::Group => "is a group: frames for it go to all".to_owned(),
        StationPlace::Nobody => "is the address of no machine".to_owned(),
        StationPlace::Learnt { at, seconds } => {
            format!("is behind {}, heard {} ago", device(at), duration(*seconds))
        }
        StationPlace::Expired { at, seconds } => {
            let (at, ago) = (device(at), duration(*seconds));
            format!("was behind {at}, heard {ago} ago: after 5 min it is forgotten")
        }
        StationPlace::Unknown => "has sent nothing yet".to_owned(),
    }
}

/// What to do about a packet that is dropped for this reason.
fn advice(reason: DatagramDrop, tunnel: &TunnelExplanation) -> String {
    let TunnelExplanation { source, destination, sender, .. } = tunnel;
    let (from, to) = (source.address, destination.address);
    match reason {
        DatagramDrop::Unregistered => {
            let address = match sender {
                TunnelEnd::Unregistered { address } => address.clone(),
                TunnelEnd::Device | TunnelEnd::Client(_) => from.to_string(),
            };
            format!(
                "start the client {address}, or look why it is refused: its log and `rtun status` say so"
            )
        }
        DatagramDrop::Spoofed => match (source.place, sender) {
            (TunnelPlace::Own, _) => {
                format!("{from} is the server's own: no client may send from there")
            }
            (TunnelPlace::Registered | TunnelPlace::Behind, TunnelEnd::Client(client)) => {
                let owner = source.client.as_ref().map(name).unwrap_or_default();
                let sender = name(client);
                format!(
                    "{from} is {owner}'s: have {sender} send from an address that it registers, or from a network behind it"
                )
            }
            (_, TunnelEnd::Client(client)) => {
                let sender = name(client);
                format!(
                    "add {from} to `net` of {sender}, or a route for its network to {sender} at the server"
                )
            }
            _ => reason.help().to_owned(),
        },
        DatagramDrop::NoRoute if destination.place == TunnelPlace::BehindUnregistered => {
            let gateway = destination.row.as_ref().map(|row| &*row.gateway).unwrap_or_default();
            format!(
                "start the client {gateway}, or look why it is refused: its log and `rtun status` say so"
            )
        }
        DatagramDrop::NoRoute if destination.place == TunnelPlace::Unregistered => {
            format!(
                "start the client {to}, or look why it is refused: its log and `rtun status` say so"
            )
        }
        DatagramDrop::NoRoute if destination.client.is_some() => {
            format!("{to} is where the packet comes from: correct the routes there")
        }
        DatagramDrop::NoRoute => {
            format!(
                "add a route for {to} with the client it is behind (`routes`), or the client's address to `net`"
            )
        }
        DatagramDrop::Local => {
            "machines send such packets of their own accord; nothing is wrong if they are few"
                .into()
        }
        _ => reason.help().to_owned(),
    }
}
