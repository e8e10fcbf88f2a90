//! SOCKS version 5 as a client speaks it: a greeting, a user and a password if required, a request (RFC 1928, RFC 1929).
//!
//! Names are sent to the proxy, which resolves them.

use super::{Target, TargetHost};
use crate::relay::Decoded;

const VERSION: u8 = 5;
/// The version of the exchange of user and password.
const PASSWORD_VERSION: u8 = 1;

const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
/// GOST's own: datagrams on the stream.
const DATAGRAMS: u8 = 0xf3;

/// The request for datagrams on the stream ([`crate::udp_tunnel::addressed`]), from a port of the proxy's choice.
pub const DATAGRAMS_REQUEST: [u8; 10] = [VERSION, DATAGRAMS, 0, address::V4, 0, 0, 0, 0, 0, 0];

mod address {
    pub(super) const V4: u8 = 1;
    pub(super) const NAME: u8 = 3;
    pub(super) const V6: u8 = 4;
}

/// The shortest reply: a name of no byte.
const SHORTEST_REPLY: usize = 7;

/// How the client authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None = 0,
    /// With a user and a password.
    Password = 2,
}

/// The proxy's reason for a refusal (RFC 1928 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocksRefusal {
    /// 1.
    #[error("general failure")]
    General,
    /// 2.
    #[error("not allowed by its rules")]
    NotAllowed,
    /// 3.
    #[error("network unreachable")]
    NetworkUnreachable,
    /// 4.
    #[error("host unreachable")]
    HostUnreachable,
    /// 5.
    #[error("connection refused")]
    ConnectionRefused,
    /// 6.
    #[error("time to live expired")]
    TtlExpired,
    /// 7.
    #[error("command not supported")]
    CommandNotSupported,
    /// 8.
    #[error("address type not supported")]
    AddressTypeNotSupported,
    /// A code without a meaning.
    #[error("unknown code {0}")]
    Unknown(u8),
}

impl From<u8> for SocksRefusal {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::General,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::ConnectionRefused,
            6 => Self::TtlExpired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressTypeNotSupported,
            code => Self::Unknown(code),
        }
    }
}

/// Why a proxy does not connect to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The answer begins with another version: the peer is no SOCKS 5 proxy.
    #[error("the answer is not SOCKS 5, it begins with {0:#04x}")]
    Version(u8),
    /// The proxy accepts none of the offered methods. Without a configured password only [`Method::None`] was offered.
    #[error(
        "the proxy accepts none of the offered methods: no password, or with `auth` a user and password"
    )]
    NoMethod,
    /// The proxy chose a method that was not offered.
    #[error("the proxy chose the method {0}, which was not offered")]
    Method(u8),
    /// The proxy does not know this user with this password.
    #[error("the proxy refused the user and password, status {0}")]
    Password(u8),
    /// The proxy does not connect to the target.
    #[error("the proxy refused: {0}")]
    Refused(SocksRefusal),
    /// The answer has an address of an unknown type.
    #[error("the answer has an address of the unknown type {0}")]
    AddressType(u8),
}

/// A user and a password cannot be sent. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a user for a SOCKS 5 proxy has 1 to 255 bytes, and a password at most 255")]
pub struct CredentialsError;

/// The first message: the methods of the client. With a password it offers [`Method::None`] too.
pub fn greeting(has_password: bool) -> &'static [u8] {
    if has_password {
        &[VERSION, 2, Method::None as u8, Method::Password as u8]
    } else {
        &[VERSION, 1, Method::None as u8]
    }
}

/// Reads the answer to a greeting: the method chosen.
pub fn decode_method(bytes: &[u8], has_password: bool) -> Result<Decoded<Method>, ReplyError> {
    let Some([version, method]) = bytes.first_chunk() else {
        return Ok(Decoded::Incomplete { needed: 2 });
    };
    let value = match (*version, *method) {
        (VERSION, 0) => Method::None,
        (VERSION, 2) if has_password => Method::Password,
        (VERSION, NO_METHOD) => return Err(ReplyError::NoMethod),
        (VERSION, method) => return Err(ReplyError::Method(method)),
        (version, _) => return Err(ReplyError::Version(version)),
    };
    Ok(Decoded::Complete { value, len: 2 })
}

/// The message with user and password.
pub fn password_request(user: &str, password: &str) -> Result<Vec<u8>, CredentialsError> {
    let length = |text: &str| u8::try_from(text.len()).map_err(|_| CredentialsError);
    if user.is_empty() {
        return Err(CredentialsError);
    }
    let mut message = vec![PASSWORD_VERSION, length(user)?];
    message.extend_from_slice(user.as_bytes());
    message.push(length(password)?);
    message.extend_from_slice(password.as_bytes());
    Ok(message)
}

/// Reads the answer to user and password.
pub fn decode_password_reply(bytes: &[u8]) -> Result<Decoded<()>, ReplyError> {
    match bytes.first_chunk() {
        None => Ok(Decoded::Incomplete { needed: 2 }),
        Some([PASSWORD_VERSION, 0]) => Ok(Decoded::Complete { value: (), len: 2 }),
        Some([PASSWORD_VERSION, status]) => Err(ReplyError::Password(*status)),
        Some([version, _]) => Err(ReplyError::Version(*version)),
    }
}

/// The request to connect to `target`.
pub fn request(target: &Target) -> Vec<u8> {
    let mut message = vec![VERSION, CONNECT, 0];
    match &target.host {
        TargetHost::V4(ip) => {
            message.push(address::V4);
            message.extend_from_slice(&ip.octets());
        }
        TargetHost::V6(ip) => {
            message.push(address::V6);
            message.extend_from_slice(&ip.octets());
        }
        // Only a name can have a zone.
        TargetHost::Zoned(ip, zone) => push_name(&mut message, &format!("{ip}%{zone}")),
        TargetHost::Name(name) => push_name(&mut message, name),
    }
    message.extend_from_slice(&target.port.to_be_bytes());
    message
}

fn push_name(message: &mut Vec<u8>, name: &str) {
    let length = u8::try_from(name.len()).expect("a target's name has at most 255 bytes");
    message.extend_from_slice(&[address::NAME, length]);
    message.extend_from_slice(name.as_bytes());
}

/// Reads the answer to a request. The address in it, the proxy's own, is skipped. At most 262 bytes are asked for.
pub fn decode_reply(bytes: &[u8]) -> Result<Decoded<()>, ReplyError> {
    match bytes {
        [VERSION, 0, ..] | [] | [VERSION] => {}
        [VERSION, code, ..] => return Err(ReplyError::Refused(SocksRefusal::from(*code))),
        [version, ..] => return Err(ReplyError::Version(*version)),
    }
    let [_, _, _, kind, length, ..] = *bytes else {
        // The version and the code first, as a refusal may have no more.
        let needed = if bytes.len() < 2 { 2 } else { SHORTEST_REPLY };
        return Ok(Decoded::Incomplete { needed });
    };
    let len = match kind {
        address::V4 => 4 + 4 + 2,
        address::V6 => 4 + 16 + 2,
        address::NAME => SHORTEST_REPLY + usize::from(length),
        kind => return Err(ReplyError::AddressType(kind)),
    };
    if bytes.len() < len {
        return Ok(Decoded::Incomplete { needed: len });
    }
    Ok(Decoded::Complete { value: (), len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_standard() {
        assert_eq!(greeting(false), [5, 1, 0]);
        assert_eq!(greeting(true), [5, 2, 0, 2]);
        assert_eq!(password_request("me", "s3").unwrap(), *b"\x01\x02me\x02s3");
        assert_eq!(password_request("me", "").unwrap(), *b"\x01\x02me\x00");
        let long = "a".repeat(256);
        for (user, password) in [("", "x"), (&*long, "x"), ("x", &*long)] {
            assert_eq!(password_request(user, password), Err(CredentialsError));
        }
        let request = |text: &str| request(&text.parse().unwrap());
        assert_eq!(request("192.0.2.1:258"), [5, 1, 0, 1, 192, 0, 2, 1, 1, 2]);
        assert_eq!(request("hub.example:1"), *b"\x05\x01\x00\x03\x0bhub.example\x00\x01");
        let v6 = [&[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 1]].concat();
        assert_eq!(request("[2001:db8::1]:1"), v6);
    }

    #[test]
    fn every_refusal_is_reported() {
        use ReplyError::*;
        assert_eq!(decode_method(b"HT", true), Err(Version(b'H')));
        assert_eq!(decode_method(&[5, 0xff], true), Err(NoMethod));
        assert_eq!(decode_method(&[5, 2], false), Err(Method(2)));
        assert_eq!(decode_method(&[5, 1], true), Err(Method(1)));
        assert_eq!(decode_password_reply(&[1, 3]), Err(Password(3)));
        assert_eq!(decode_password_reply(&[5, 0]), Err(Version(5)));
        assert_eq!(decode_reply(&[4]), Err(Version(4)));
        assert_eq!(decode_reply(&[5, 0, 0, 2, 0]), Err(AddressType(2)));
        let texts: Vec<_> = (1..=9)
            .map(|code| decode_reply(&[5, code]).unwrap_err().to_string())
            .map(|text| text.strip_prefix("the proxy refused: ").unwrap().to_owned())
            .collect();
        assert_eq!(
            texts,
            [
                "general failure",
                "not allowed by its rules",
                "network unreachable",
                "host unreachable",
                "connection refused",
                "time to live expired",
                "command not supported",
                "address type not supported",
                "unknown code 9",
            ]
        );
    }
}
