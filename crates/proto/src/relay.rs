//! The relay messages that open an association: one request from the host, one response from the hub.
//!
//! The host writes a request and reads a response; after an OK both directions carry frames
//! ([`crate::frame`]). Both messages have the same layout (docs/wire.md section 2), all integers big-endian:
//!
//! ```text
//!  0               1               2               3
//! +---------------+-------+-------+---------------+---------------+
//! |  version = 1  | flags |command|    length F of the features   |   request
//! +---------------+-------+-------+---------------+---------------+
//! |  version = 1  |    status     |    length F of the features   |   response
//! +---------------+---------------+---------------+---------------+
//! |  F bytes: features, one after the other, without padding      |
//! ```

mod association;
mod datagrams;
mod error;
mod feature;

pub use association::Association;
pub use datagrams::{BIND, CONNECT, UDP_FLAG};
pub use error::{DecodeError, EncodeError};
pub use feature::{
    Addr, AddrFeature, EXTENSION_VERSION, Feature, Network, RTUN_SIGNATURE, TunnelId,
};

/// The only version of the relay protocol.
pub const VERSION: u8 = 1;

/// The longest message accepted or produced, in bytes with its header, request and response alike.
///
/// The longest associate request with every feature once is 1,071 bytes. A longer message is refused as soon as its header
/// has arrived, so an unauthenticated peer cannot make a hub buffer more than this.
pub const MAX_REQUEST: usize = 2048;

/// The command of a request that opens an association; the only one that a hub of routing tunnels serves.
pub const ASSOCIATE: u8 = 0x03;

/// Version, command or status, and the length of the features.
const HEADER_LEN: usize = 4;
const COMMAND_MASK: u8 = 0x0f;

/// The result of reading the beginning of a byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<T> {
    /// A whole message. The bytes after it are not part of it.
    Complete {
        /// The message.
        value: T,
        /// The length of the message in bytes.
        len: usize,
    },
    /// The beginning of a message.
    Incomplete {
        /// The number of bytes, from the first byte of the message, that are needed before the next try: more than were
        /// given, and at most the allowed length of the message.
        needed: usize,
    },
}

/// What a host asks from a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The low four bits of the second byte; a hub serves only [`ASSOCIATE`].
    pub command: u8,
    /// The high four bits of the second byte, not shifted: `0x80` is GOST's former UDP flag. A hub ignores them.
    pub flags: u8,
    /// In the order of the wire; repetitions are legal. A decoded request has none of unknown types.
    pub features: Vec<Feature>,
}

impl Request {
    /// The encoded request, at most [`MAX_REQUEST`] bytes.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.command & !COMMAND_MASK != 0 {
            return Err(EncodeError::Command(self.command));
        }
        if self.flags & COMMAND_MASK != 0 {
            return Err(EncodeError::Flags(self.flags));
        }
        encode(self.flags | self.command, &self.features)
    }

    /// Reads a request from the beginning of a stream of which `bytes` has arrived so far.
    ///
    /// An error is final: no further byte can make it a request that rtun accepts. Features of unknown types are skipped, so
    /// that a later host may send more than this hub understands. A feature of a known type with an invalid body is an
    /// error. Commands are not checked here.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        decode(bytes, |second, features| Self {
            command: second & COMMAND_MASK,
            flags: second & !COMMAND_MASK,
            features,
        })
    }
}

/// How a hub answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The association is established; frames follow.
    Ok,
    /// The hub does not serve the request, for example its command.
    BadRequest,
    /// User and password are missing or wrong.
    Unauthorized,
    /// Refused by a rule.
    Forbidden,
    /// The hub waited for something too long.
    Timeout,
    /// The hub cannot serve now.
    ServiceUnavailable,
    /// This host may not join this namespace.
    HostUnreachable,
    /// The network asked for is not reachable.
    NetworkUnreachable,
    /// The hub failed.
    InternalError,
    /// A code without a name. With the code of a named status it is encoded as that status.
    Other(u8),
}

impl Status {
    /// The code on the wire (docs/wire.md section 2).
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::BadRequest => 1,
            Self::Unauthorized => 2,
            Self::Forbidden => 3,
            Self::Timeout => 4,
            Self::ServiceUnavailable => 5,
            Self::HostUnreachable => 6,
            Self::NetworkUnreachable => 7,
            Self::InternalError => 8,
            Self::Other(code) => code,
        }
    }
}

impl From<u8> for Status {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::BadRequest,
            2 => Self::Unauthorized,
            3 => Self::Forbidden,
            4 => Self::Timeout,
            5 => Self::ServiceUnavailable,
            6 => Self::HostUnreachable,
            7 => Self::NetworkUnreachable,
            8 => Self::InternalError,
            other => Self::Other(other),
        }
    }
}

impl std::fmt::Display for Status {
    /// Code and name, as in `6 host unreachable`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Ok => "ok",
            Self::BadRequest => "bad request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Timeout => "timeout",
            Self::ServiceUnavailable => "service unavailable",
            Self::HostUnreachable => "host unreachable",
            Self::NetworkUnreachable => "network unreachable",
            Self::InternalError => "internal server error",
            Self::Other(_) => "unknown status",
        };
        write!(f, "{} {name}", self.code())
    }
}

/// The answer of a hub to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Accepted, or the reason of the refusal.
    pub status: Status,
    /// In the order of the wire. A decoded response has none of unknown types.
    pub features: Vec<Feature>,
}

impl Response {
    /// The answer to an accepted request: the association's id and nothing else.
    pub fn ok(connector: TunnelId) -> Self {
        Self { status: Status::Ok, features: vec![Feature::Tunnel(connector)] }
    }

    /// The answer to a refused request, without features; the hub closes the stream after it.
    pub fn refusal(status: Status) -> Self {
        Self { status, features: Vec::new() }
    }

    /// The association's id; none if the response has none.
    pub fn connector_id(&self) -> Option<TunnelId> {
        self.features.iter().rev().find_map(|feature| match feature {
            Feature::Tunnel(id) => Some(*id),
            _ => None,
        })
    }

    /// The encoded response, at most [`MAX_REQUEST`] bytes.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self.status.code(), &self.features)
    }

    /// Reads a response from the beginning of a stream of which `bytes` has arrived so far.
    ///
    /// An error is final. Features are read as in [`Request::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        decode(bytes, |second, features| Self { status: Status::from(second), features })
    }
}

fn encode(second: u8, features: &[Feature]) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![VERSION, second, 0, 0];
    for feature in features {
        feature.encode(&mut bytes)?;
    }
    if bytes.len() > MAX_REQUEST {
        return Err(EncodeError::TooLong { len: bytes.len() });
    }
    let features_len =
        u16::try_from(bytes.len() - HEADER_LEN).expect("MAX_REQUEST is far below 64 KiB");
    bytes[2..HEADER_LEN].copy_from_slice(&features_len.to_be_bytes());
    Ok(bytes)
}

fn decode<T>(
    bytes: &[u8],
    make: impl FnOnce(u8, Vec<Feature>) -> T,
) -> Result<Decoded<T>, DecodeError> {
    if let Some(&version) = bytes.first()
        && version != VERSION
    {
        return Err(DecodeError::Version(version));
    }
    let Some((&[_, second, high, low], rest)) = bytes.split_first_chunk() else {
        return Ok(Decoded::Incomplete { needed: HEADER_LEN });
    };
    let features_len = usize::from(u16::from_be_bytes([high, low]));
    let len = HEADER_LEN + features_len;
    if len > MAX_REQUEST {
        return Err(DecodeError::TooLong { len });
    }
    match rest.get(..features_len) {
        None => Ok(Decoded::Incomplete { needed: len }),
        Some(features) => {
            let value = make(second, Feature::decode_all(features)?);
            Ok(Decoded::Complete { value, len })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(bytes: &[u8]) -> Request {
        match Request::decode(bytes) {
            Ok(Decoded::Complete { value, len }) if len == bytes.len() => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_feature_list_is_legal() {
        let request = complete(&[1, 3, 0, 0]);
        assert_eq!(request, Request { command: ASSOCIATE, flags: 0, features: vec![] });
    }

    #[test]
    fn flags_and_command_share_a_byte() {
        let request = complete(&[1, 0x83, 0, 0]);
        assert_eq!((request.command, request.flags), (3, 0x80));
        assert_eq!(request.encode().unwrap(), [1, 0x83, 0, 0]);
        assert_eq!(
            Request { command: 0x13, flags: 0, features: vec![] }.encode(),
            Err(EncodeError::Command(0x13))
        );
        assert_eq!(
            Request { command: 3, flags: 0x81, features: vec![] }.encode(),
            Err(EncodeError::Flags(0x81))
        );
    }

    #[test]
    fn another_version_is_refused_with_the_first_byte() {
        for version in (0..=255).filter(|v| *v != VERSION) {
            assert_eq!(Request::decode(&[version]), Err(DecodeError::Version(version)));
            assert_eq!(Response::decode(&[version]), Err(DecodeError::Version(version)));
        }
    }

    #[test]
    fn a_long_message_is_refused_with_its_header() {
        assert_eq!(
            Request::decode(&[1, 3, 0x07, 0xfc]),
            Ok(Decoded::Incomplete { needed: MAX_REQUEST })
        );
        assert_eq!(
            Request::decode(&[1, 3, 0x07, 0xfd]),
            Err(DecodeError::TooLong { len: MAX_REQUEST + 1 })
        );
        assert_eq!(
            Response::decode(&[1, 0, 0xff, 0xff]),
            Err(DecodeError::TooLong { len: 65_539 })
        );
    }

    #[test]
    fn a_message_too_long_to_be_read_is_not_written() {
        let feature = Feature::Addr(AddrFeature { addr: Addr::Name("x".repeat(255)), port: 0 });
        let fits = Response { status: Status::Ok, features: vec![feature.clone(); 7] };
        assert_eq!(fits.encode().unwrap().len(), 4 + 7 * 262);
        let too_long = Response { status: Status::Ok, features: vec![feature; 8] };
        assert_eq!(too_long.encode(), Err(EncodeError::TooLong { len: 4 + 8 * 262 }));
    }

    #[test]
    fn bytes_after_the_message_are_left_alone() {
        let decoded = Response::decode(&[1, 6, 0, 0, 0, 28, 0x45]).unwrap();
        let value = Response::refusal(Status::HostUnreachable);
        assert_eq!(decoded, Decoded::Complete { value, len: 4 });
    }

    #[test]
    fn an_unknown_feature_is_skipped() {
        let message = [1, 3, 0, 10, 0x7f, 0, 2, 0xaa, 0xbb, 0x04, 0, 2, 0, 1];
        let features = vec![Feature::Network(Network::Udp)];
        assert_eq!(complete(&message).features, features);
        let Ok(Decoded::Complete { value, len: 14 }) = Response::decode(&message) else { panic!() };
        assert_eq!(value.features, features);
    }

    #[test]
    fn a_feature_may_not_reach_past_the_list() {
        for features in [&[0x04][..], &[0x04, 0], &[0x04, 0, 3, 0, 1]] {
            let length = u8::try_from(features.len()).unwrap();
            let message = [&[1, 3, 0, length], features].concat();
            assert_eq!(Request::decode(&message), Err(DecodeError::FeatureLength));
            assert_eq!(Response::decode(&message), Err(DecodeError::FeatureLength));
        }
    }

    #[test]
    fn every_status_code_has_one_value() {
        for code in 0..=255 {
            assert_eq!(Status::from(code).code(), code);
        }
        assert_eq!(Status::HostUnreachable.to_string(), "6 host unreachable");
        assert_eq!(Status::from(200).to_string(), "200 unknown status");
    }

    #[test]
    fn the_last_tunnel_feature_is_the_connector() {
        let first = TunnelId::new([1; 16]);
        let last = TunnelId::from_rtun([2; 16]);
        let mut response = Response::ok(first);
        assert_eq!(response.connector_id(), Some(first));
        response.features.push(Feature::Tunnel(last));
        assert_eq!(response.connector_id(), Some(last));
        assert_eq!(Response::refusal(Status::Unauthorized).connector_id(), None);
    }
}
