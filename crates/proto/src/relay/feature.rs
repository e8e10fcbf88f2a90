//! The typed fields of a relay message: user and password, addresses, ids, the network.
//!
//! A feature is a type (1 byte), a length (2 bytes) and a body of that length (docs/wire.md section 3). Bytes of a body
//! after its content are ignored on receipt and never sent.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{DecodeError, EncodeError};
use crate::reader::ByteReader;

const USER_AUTH: u8 = 0x01;
const ADDR: u8 = 0x02;
const TUNNEL: u8 = 0x03;
const NETWORK: u8 = 0x04;

const ADDRESS_IPV4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_IPV6: u8 = 4;

/// The first reserved byte of the id in an OK response of an rtun hub. GOST sends zero and ignores both bytes.
pub const RTUN_SIGNATURE: u8 = 0x52;

/// The second reserved byte, after [`RTUN_SIGNATURE`]: the version of rtun's extension frames that the hub speaks.
pub const EXTENSION_VERSION: u8 = 1;

/// One typed field of a message.
///
/// Comparing two features does not take constant time: never compare a credential this way.
#[derive(Clone, PartialEq, Eq)]
pub enum Feature {
    /// The user that the host claims to be: each at most 255 bytes, any bytes, both may be empty. `Debug` shows no password.
    UserAuth {
        /// The user's name.
        user: Vec<u8>,
        /// The password.
        password: Vec<u8>,
    },
    /// An address; in a request the first is the host's own, the last of several its name.
    Addr(AddrFeature),
    /// The namespace in a request, the association's id in a response.
    Tunnel(TunnelId),
    /// What the association carries.
    Network(Network),
}

impl fmt::Debug for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserAuth { user, .. } => {
                f.debug_struct("UserAuth").field("user", &EscapedText(user)).finish_non_exhaustive()
            }
            Self::Addr(addr) => f.debug_tuple("Addr").field(addr).finish(),
            Self::Tunnel(id) => f.debug_tuple("Tunnel").field(id).finish(),
            Self::Network(network) => f.debug_tuple("Network").field(network).finish(),
        }
    }
}

/// Bytes that are usually text, shown escaped.
pub(super) struct EscapedText<'a>(pub(super) &'a [u8]);

impl fmt::Debug for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// An address or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Addr {
    /// An IP address.
    Ip(IpAddr),
    /// A name of at most 255 bytes, which may be empty.
    Name(String),
}

/// An address or a name, with a port (0: none).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AddrFeature {
    /// The address or name.
    pub addr: Addr,
    /// The port.
    pub port: u16,
}

impl AddrFeature {
    /// Reads `text` as GOST's connector does.
    ///
    /// `host:port` and `[host]:port` are split; any other text is all host, with port 0. A port that is no number is
    /// 0 and a larger one wraps. A host that reads as an IP address becomes one (an IPv4-mapped one the IPv4 address),
    /// everything else is a name.
    pub fn from_text(text: &str) -> Self {
        let (host, port) = match split_host_port(text) {
            Some((host, port)) => (host, wrapped_port(port)),
            None => (text, 0),
        };
        let addr = match host.parse::<IpAddr>() {
            Ok(ip) => Addr::Ip(ip.to_canonical()),
            Err(_) => Addr::Name(host.to_owned()),
        };
        Self { addr, port }
    }

    /// The host name that this address is in a request, as GOST reads it.
    ///
    /// An IPv6 address is its canonical text (RFC 5952), an IPv4-mapped one the IPv4 text. A name is itself, except
    /// that one pair of brackets around a name without a colon is taken off, and other brackets make it empty.
    pub fn host_text(&self) -> String {
        match &self.addr {
            Addr::Ip(ip) => ip.to_canonical().to_string(),
            Addr::Name(name) => unbracketed(name).to_owned(),
        }
    }
}

/// Splits `host:port` and `[host]:port`; none when the text is neither.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let bracket = |c| matches!(c, '[' | ']');
    (!host.contains(bracket) && !port.contains(bracket)).then_some((host, port))
}

fn wrapped_port(text: &str) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "GOST wraps it too"
    )]
    text.parse::<i64>().map_or(0, |port| port as u16)
}

/// The name after GOST joins it with a port and splits the result.
fn unbracketed(name: &str) -> &str {
    let bracket = |c| matches!(c, '[' | ']');
    if !name.contains(bracket) {
        return name;
    }
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if !inner.contains(bracket) && !inner.contains(':') => inner,
        _ => "",
    }
}

/// What an association carries. GOST's hub only logs it; packets are framed alike for `Udp` and `Ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// 0x0000.
    Tcp,
    /// 0x0001; of a host whose forward target has a port.
    Udp,
    /// 0x0002; IP packets.
    Ip,
    /// 0x0010.
    Unix,
    /// 0x0011.
    Serial,
    /// An id without a name. With the id of a named network it is encoded as that network.
    Other(u16),
}

impl Network {
    /// The id on the wire (docs/wire.md section 3).
    pub fn id(self) -> u16 {
        match self {
            Self::Tcp => 0x0000,
            Self::Udp => 0x0001,
            Self::Ip => 0x0002,
            Self::Unix => 0x0010,
            Self::Serial => 0x0011,
            Self::Other(id) => id,
        }
    }
}

impl From<u16> for Network {
    fn from(id: u16) -> Self {
        match id {
            0x0000 => Self::Tcp,
            0x0001 => Self::Udp,
            0x0002 => Self::Ip,
            0x0010 => Self::Unix,
            0x0011 => Self::Serial,
            other => Self::Other(other),
        }
    }
}

/// An id of 16 bytes, and four bytes after it.
///
/// In a request it is the namespace, and the four bytes are zero. In an OK response it is the association, and the
/// reserved bytes say whether the hub is rtun ([`TunnelId::rtun_version`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TunnelId {
    /// A UUID; all zero is the default namespace.
    pub id: [u8; 16],
    /// 0x80 in a request: private; 0x01 in a response: UDP. Neither is used by routing tunnels.
    pub flag: u8,
    /// Zero from GOST; [`RTUN_SIGNATURE`] and a version in the response of an rtun hub.
    pub reserved: [u8; 2],
    /// Zero from GOST.
    pub weight: u8,
}

impl TunnelId {
    const LEN: usize = 20;

    /// `id` with zeros after it: for a request, and what GOST's hub answers.
    pub fn new(id: [u8; 16]) -> Self {
        Self { id, flag: 0, reserved: [0; 2], weight: 0 }
    }

    /// `id` with [`RTUN_SIGNATURE`] and a version after it: what an rtun hub answers.
    pub fn from_rtun(id: [u8; 16]) -> Self {
        Self { reserved: [RTUN_SIGNATURE, EXTENSION_VERSION], ..Self::new(id) }
    }

    /// The version of the extension frames that the hub speaks, at least 1; none if the hub is not rtun.
    pub fn rtun_version(&self) -> Option<u8> {
        match self.reserved {
            [RTUN_SIGNATURE, version] if version > 0 => Some(version),
            _ => None,
        }
    }
}

impl Feature {
    /// Reads a whole feature list and skips features of unknown types.
    pub(super) fn decode_all(list: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut features = Vec::new();
        let mut rest = ByteReader(list);
        while !rest.0.is_empty() {
            let (kind, mut body) = rest.feature().ok_or(DecodeError::FeatureLength)?;
            let short = |feature| move || DecodeError::FeatureShort { feature };
            features.push(match kind {
                USER_AUTH => body.user_auth().ok_or_else(short("user"))?,
                ADDR => Self::Addr(body.addr()?),
                TUNNEL => Self::Tunnel(body.tunnel_id().ok_or_else(short("tunnel"))?),
                NETWORK => Self::Network(body.u16().ok_or_else(short("network"))?.into()),
                _ => continue,
            });
        }
        Ok(features)
    }

    /// Appends the feature with its type and length.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::UserAuth { user, password } => {
                let user = short("user", user)?;
                let password = short("password", password)?;
                envelope(out, USER_AUTH, &[&[user.0], user.1, &[password.0], password.1]);
            }
            Self::Addr(AddrFeature { addr, port }) => {
                let port = port.to_be_bytes();
                match addr {
                    Addr::Ip(IpAddr::V4(ip)) => {
                        envelope(out, ADDR, &[&[ADDRESS_IPV4], &ip.octets(), &port]);
                    }
                    Addr::Ip(IpAddr::V6(ip)) => {
                        envelope(out, ADDR, &[&[ADDRESS_IPV6], &ip.octets(), &port]);
                    }
                    Addr::Name(name) => {
                        let name = short("host name", name.as_bytes())?;
                        envelope(out, ADDR, &[&[ADDRESS_NAME, name.0], name.1, &port]);
                    }
                }
            }
            Self::Tunnel(TunnelId { id, flag, reserved, weight }) => {
                envelope(out, TUNNEL, &[id, &[*flag], reserved, &[*weight]]);
            }
            Self::Network(network) => envelope(out, NETWORK, &[&network.id().to_be_bytes()]),
        }
        Ok(())
    }
}

/// `bytes` with their length, if it fits in one byte.
fn short<'a>(field: &'static str, bytes: &'a [u8]) -> Result<(u8, &'a [u8]), EncodeError> {
    match u8::try_from(bytes.len()) {
        Ok(len) => Ok((len, bytes)),
        Err(_) => Err(EncodeError::FieldTooLong { field, len: bytes.len() }),
    }
}

fn envelope(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let len: usize = body.iter().map(|part| part.len()).sum();
    let len = u16::try_from(len).expect("the longest body is two strings of 255 bytes");
    out.push(kind);
    out.extend_from_slice(&len.to_be_bytes());
    body.iter().for_each(|part| out.extend_from_slice(part));
}

impl<'a> ByteReader<'a> {
    fn feature(&mut self) -> Option<(u8, ByteReader<'a>)> {
        let kind = self.u8()?;
        let len = self.u16()?;
        Some((kind, ByteReader(self.bytes(usize::from(len))?)))
    }

    fn user_auth(&mut self) -> Option<Feature> {
        let user = self.string()?.to_vec();
        let password = self.string()?.to_vec();
        Some(Feature::UserAuth { user, password })
    }

    fn addr(&mut self) -> Result<AddrFeature, DecodeError> {
        let short = || DecodeError::FeatureShort { feature: "address" };
        let addr = match self.u8().ok_or_else(short)? {
            ADDRESS_IPV4 => Addr::Ip(Ipv4Addr::from(self.array::<4>().ok_or_else(short)?).into()),
            ADDRESS_IPV6 => Addr::Ip(Ipv6Addr::from(self.array::<16>().ok_or_else(short)?).into()),
            ADDRESS_NAME => {
                let name = self.string().ok_or_else(short)?;
                let name = str::from_utf8(name).map_err(|_| DecodeError::NameNotText)?;
                Addr::Name(name.to_owned())
            }
            other => return Err(DecodeError::AddressType(other)),
        };
        Ok(AddrFeature { addr, port: self.u16().ok_or_else(short)? })
    }

    /// The id of 16 bytes is required. Missing bytes of the four after it are zero.
    fn tunnel_id(&mut self) -> Option<TunnelId> {
        const AFTER: usize = TunnelId::LEN - 16;
        let id = self.array()?;
        let mut after = [0; AFTER];
        let given = &self.0[..self.0.len().min(AFTER)];
        after[..given.len()].copy_from_slice(given);
        let [flag, first, second, weight] = after;
        Some(TunnelId { id, flag, reserved: [first, second], weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(list: &[u8]) -> Result<Feature, DecodeError> {
        let mut features = Feature::decode_all(list)?;
        assert_eq!(features.len(), 1);
        Ok(features.remove(0))
    }

    fn envelope_of(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        envelope(&mut out, kind, &[body]);
        out
    }

    #[test]
    fn a_password_is_never_shown() {
        let feature = Feature::UserAuth { user: b"al\nice".to_vec(), password: b"s3cret".to_vec() };
        assert_eq!(format!("{feature:?}"), r#"UserAuth { user: "al\nice", .. }"#);
    }

    #[test]
    fn a_body_is_read_only_when_it_is_whole() {
        for (kind, feature, body) in [
            (USER_AUTH, "user", &[2, b'a', b'b', 1, b'c'][..]),
            (ADDR, "address", &[1, 10, 0, 0, 1, 0, 80]),
            (ADDR, "address", &[3, 2, b'a', b'b', 0, 80]),
            (ADDR, "address", &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
            (TUNNEL, "tunnel", &[7; 16]),
            (NETWORK, "network", &[0, 2]),
        ] {
            let whole = decode(&envelope_of(kind, body)).unwrap();
            let longer = decode(&envelope_of(kind, &[body, &[0, 0]].concat())).unwrap();
            assert_eq!(whole, longer);
            for cut in 0..body.len() {
                assert_eq!(
                    decode(&envelope_of(kind, &body[..cut])),
                    Err(DecodeError::FeatureShort { feature })
                );
            }
        }
    }

    #[test]
    fn an_address_has_one_of_three_types() {
        for kind in (0..=255).filter(|kind| ![1, 3, 4].contains(kind)) {
            let bytes = envelope_of(ADDR, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(decode(&bytes), Err(DecodeError::AddressType(kind)));
        }
    }

    #[test]
    fn a_name_must_be_text() {
        let bytes = envelope_of(ADDR, &[3, 1, 0xff, 0, 0]);
        assert_eq!(decode(&bytes), Err(DecodeError::NameNotText));
    }

    #[test]
    fn bytes_after_an_id_may_be_missing() {
        let id = TunnelId { id: [9; 16], flag: 1, reserved: [2, 3], weight: 4 };
        let body = [&[9; 16][..], &[1, 2, 3, 4, 5]].concat();
        let got = |len| decode(&envelope_of(TUNNEL, &body[..len])).unwrap();
        assert_eq!(got(16), Feature::Tunnel(TunnelId::new([9; 16])));
        assert_eq!(got(18), Feature::Tunnel(TunnelId { reserved: [2, 0], weight: 0, ..id }));
        assert_eq!(got(20), Feature::Tunnel(id));
        assert_eq!(got(21), Feature::Tunnel(id));
    }

    #[test]
    fn only_an_id_with_the_signature_is_rtuns() {
        assert_eq!(TunnelId::new([1; 16]).rtun_version(), None);
        assert_eq!(TunnelId::from_rtun([1; 16]).rtun_version(), Some(1));
        let with = |reserved| TunnelId { reserved, ..TunnelId::new([1; 16]) };
        assert_eq!(with([0x52, 7]).rtun_version(), Some(7));
        assert_eq!(with([0x52, 0]).rtun_version(), None);
        assert_eq!(with([0x53, 1]).rtun_version(), None);
    }

    #[test]
    fn fields_of_more_than_255_bytes_are_refused() {
        let long = vec![b'x'; 256];
        let fail = |feature: Feature| feature.encode(&mut Vec::new());
        let too_long = |field| Err(EncodeError::FieldTooLong { field, len: 256 });
        assert_eq!(
            fail(Feature::UserAuth { user: long.clone(), password: vec![] }),
            too_long("user")
        );
        assert_eq!(
            fail(Feature::UserAuth { user: vec![], password: long.clone() }),
            too_long("password")
        );
        let addr = Addr::Name(String::from_utf8(long).unwrap());
        assert_eq!(fail(Feature::Addr(AddrFeature { addr, port: 0 })), too_long("host name"));
    }

    #[test]
    fn text_becomes_an_address_by_gosts_rule() {
        let ip = |text: &str| Addr::Ip(text.parse().unwrap());
        let name = |text: &str| Addr::Name(text.to_owned());
        for (text, addr, port) in [
            ("host-1", name("host-1"), 0),
            ("host-1:80", name("host-1"), 80),
            ("host-1:http", name("host-1"), 0),
            ("host-1:65537", name("host-1"), 1),
            ("host-1:-1", name("host-1"), 65_535),
            ("", name(""), 0),
            (":8420", name(""), 8420),
            ("10.1.2.3", ip("10.1.2.3"), 0),
            ("10.1.2.3:9", ip("10.1.2.3"), 9),
            ("fd00:64::7", ip("fd00:64::7"), 0),
            ("[fd00:64::7]:9", ip("fd00:64::7"), 9),
            ("[fd00:64::7]", name("[fd00:64::7]"), 0),
            ("::ffff:10.1.2.3", ip("10.1.2.3"), 0),
            ("fe80::1%eth0", name("fe80::1%eth0"), 0),
            ("a:b:c", name("a:b:c"), 0),
        ] {
            assert_eq!(AddrFeature::from_text(text), AddrFeature { addr, port }, "{text:?}");
        }
    }

    #[test]
    fn a_host_name_is_the_host_part_of_its_address() {
        let of = |addr| AddrFeature { addr, port: 7 }.host_text();
        for (octets, text) in [
            ("fd00:64:0:0:0:0:0:7", "fd00:64::7"),
            ("::1.2.3.4", "::102:304"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("10.1.2.3", "10.1.2.3"),
        ] {
            assert_eq!(of(Addr::Ip(octets.parse().unwrap())), text);
        }
        for (name, text) in [
            ("Host-1", "Host-1"),
            ("", ""),
            ("fd00:0::7", "fd00:0::7"),
            ("[a]", "a"),
            ("[]", ""),
            ("[fd00::7]", ""),
            ("[a", ""),
            ("a]", ""),
            ("a[b]", ""),
            ("[[a]]", ""),
        ] {
            assert_eq!(of(Addr::Name(name.to_owned())), text, "{name:?}");
        }
    }
}
