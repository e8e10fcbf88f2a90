//! The variants of UDP and Ethernet tunnels that contenders are compared over: what server and clients are started with.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// The server's port for its relay's machine, where it has one.
const BEHIND_RELAY: u16 = 8421;

/// What carries the datagrams between clients and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TunnelVariant {
    /// UDP itself.
    Udp,
    /// A relay over this transport, by its name in GOST.
    Relay(String),
    /// UDP itself, of Ethernet frames in clear.
    Tap,
    /// The same with devices that exchange one frame at a time.
    TapPlain,
}

impl TunnelVariant {
    /// What the server is started with, whose device has this address, with a prefix of `length` bits.
    pub(super) fn server(&self, device: Ipv4Addr, length: u8, mtu: u16, port: u16) -> Vec<String> {
        let device = format!("net={device}/{length}&mtu={mtu}");
        let services = match self {
            Self::Udp => vec![format!("tun://:{port}?{device}")],
            Self::Tap => vec![format!("tap://:{port}?{device}")],
            Self::TapPlain => vec![format!("tap://:{port}?{device}&offload=false")],
            Self::Relay(transport) => vec![
                format!("tun://127.0.0.1:{BEHIND_RELAY}?{device}"),
                format!("relay+{transport}://:{port}?bind=true&nodelay=true"),
            ],
        };
        services.into_iter().flat_map(|service| ["-L".to_owned(), service]).collect()
    }

    /// What a client is started with, in a network of 16 bits, that reaches the server as `server` (`HOST:PORT`).
    pub(super) fn client(&self, device: Ipv4Addr, mtu: u16, server: &str) -> Vec<String> {
        let device = format!("net={device}/16&mtu={mtu}");
        match self {
            Self::Udp => {
                vec!["-L".to_owned(), format!("tun://:0/{server}?{device}&keepalive=true")]
            }
            Self::Tap => vec!["-L".to_owned(), format!("tap://:0/{server}?{device}")],
            Self::TapPlain => {
                vec!["-L".to_owned(), format!("tap://:0/{server}?{device}&offload=false")]
            }
            Self::Relay(transport) => vec![
                "-L".to_owned(),
                format!("tun://:0/:{BEHIND_RELAY}?{device}&keepalive=true"),
                "-F".to_owned(),
                format!("relay+{transport}://{server}?nodelay=true"),
            ],
        }
    }
}

impl fmt::Display for TunnelVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp => f.write_str("udp"),
            Self::Tap => f.write_str("tap"),
            Self::TapPlain => f.write_str("tap-plain"),
            Self::Relay(transport) => write!(f, "relay+{transport}"),
        }
    }
}

impl FromStr for TunnelVariant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("relay+")) {
            ("udp", _) => Ok(Self::Udp),
            ("tap", _) => Ok(Self::Tap),
            ("tap-plain", _) => Ok(Self::TapPlain),
            (_, Some(name))
                if !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric()) =>
            {
                Ok(Self::Relay(name.to_owned()))
            }
            _ => Err(format!("{text:?} is none of udp, tap, tap-plain and relay+TRANSPORT")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_has_its_command_lines() {
        let [server, client] = [[10, 64, 255, 254], [10, 64, 0, 1]].map(Ipv4Addr::from);
        for (text, first, last) in [
            (
                "udp",
                "tun://:8443?net=10.64.255.254/16&mtu=1400",
                "tun://:0/10.0.1.1:8443?net=10.64.0.1/16&mtu=1400&keepalive=true",
            ),
            (
                "tap",
                "tap://:8443?net=10.64.255.254/16&mtu=1400",
                "tap://:0/10.0.1.1:8443?net=10.64.0.1/16&mtu=1400",
            ),
            (
                "tap-plain",
                "tap://:8443?net=10.64.255.254/16&mtu=1400&offload=false",
                "tap://:0/10.0.1.1:8443?net=10.64.0.1/16&mtu=1400&offload=false",
            ),
            (
                "relay+wss",
                "tun://127.0.0.1:8421?net=10.64.255.254/16&mtu=1400",
                "relay+wss://10.0.1.1:8443?nodelay=true",
            ),
        ] {
            let variant: TunnelVariant = text.parse().unwrap();
            assert_eq!(variant.to_string(), text);
            assert_eq!(variant.server(server, 16, 1400, 8443)[1], first);
            assert_eq!(variant.client(client, 1400, "10.0.1.1:8443").last().unwrap(), last);
        }
        for wrong in ["", "tcp", "relay", "relay+", "relay+w s"] {
            assert!(wrong.parse::<TunnelVariant>().unwrap_err().contains("none of udp"), "{wrong}");
        }
    }
}
