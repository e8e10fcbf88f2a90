//! SOCKS version 4 as a client speaks it, with the extension 4A for names: one request, one reply of 8 bytes.

use super::{Target, TargetHost};
use crate::relay::Decoded;

const VERSION: u8 = 4;
const CONNECT: u8 = 1;

/// The longest user name, in bytes. The protocol has no limit of its own.
const USER_MAX: usize = 255;

/// In the place of an IPv4 address: a name follows (4A).
const NAME_FOLLOWS: [u8; 4] = [0, 0, 0, 1];

const REPLY_LEN: usize = 8;
const GRANTED: u8 = 90;

/// Why a proxy does not connect to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The answer does not begin with 0: the peer is no SOCKS 4 proxy.
    #[error("the answer is not SOCKS 4, it begins with {0:#04x}")]
    Version(u8),
    /// 91.
    #[error("the proxy refused the request, or did not reach the target")]
    Refused,
    /// 92 or 93.
    #[error("the proxy refused the user: it asks this machine (identd) who connects")]
    User,
    /// A code without a meaning.
    #[error("the proxy answered with the unknown code {0}")]
    Unknown(u8),
}

/// A user cannot be sent. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a user for a SOCKS 4 proxy has at most 255 bytes, none of them zero")]
pub struct UserError;

/// The request to connect to `target` as `user`, which may be empty. A target that is no IPv4 address is sent as a name, which
/// the proxy resolves.
pub fn request(target: &Target, user: &str) -> Result<Vec<u8>, UserError> {
    if user.len() > USER_MAX || user.contains('\0') {
        return Err(UserError);
    }
    let (address, name) = match &target.host {
        TargetHost::V4(ip) => (ip.octets(), None),
        TargetHost::V6(ip) => (NAME_FOLLOWS, Some(ip.to_string())),
        TargetHost::Zoned(ip, zone) => (NAME_FOLLOWS, Some(format!("{ip}%{zone}"))),
        TargetHost::Name(name) => (NAME_FOLLOWS, Some(name.clone())),
    };
    let mut message = vec![VERSION, CONNECT];
    message.extend_from_slice(&target.port.to_be_bytes());
    message.extend_from_slice(&address);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    if let Some(name) = name {
        message.extend_from_slice(name.as_bytes());
        message.push(0);
    }
    Ok(message)
}

/// Reads the answer to a request. The address in it is skipped.
pub fn decode_reply(bytes: &[u8]) -> Result<Decoded<()>, ReplyError> {
    match bytes {
        // The version and the code first, as a refusal may have no more.
        [] | [0] => Ok(Decoded::Incomplete { needed: 2 }),
        [0, GRANTED, ..] if bytes.len() < REPLY_LEN => {
            Ok(Decoded::Incomplete { needed: REPLY_LEN })
        }
        [0, GRANTED, ..] => Ok(Decoded::Complete { value: (), len: REPLY_LEN }),
        [0, 91, ..] => Err(ReplyError::Refused),
        [0, 92 | 93, ..] => Err(ReplyError::User),
        [0, code, ..] => Err(ReplyError::Unknown(*code)),
        [version, ..] => Err(ReplyError::Version(*version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_protocol() {
        let request = |target: &str, user| request(&target.parse().unwrap(), user).unwrap();
        assert_eq!(request("192.0.2.1:258", ""), [4, 1, 1, 2, 192, 0, 2, 1, 0]);
        assert_eq!(request("192.0.2.1:258", "me"), *b"\x04\x01\x01\x02\xc0\x00\x02\x01me\0");
        let name = b"\x04\x01\x00\x07\0\0\0\x01me\0hub.example\0";
        assert_eq!(request("hub.example:7", "me"), *name);
        let v6 = b"\x04\x01\x00\x07\0\0\0\x01\x002001:db8::1\0";
        assert_eq!(request("[2001:db8::1]:7", ""), *v6);
    }

    #[test]
    fn a_user_that_would_end_early_is_not_sent() {
        let target = "192.0.2.1:1".parse().unwrap();
        for user in ["a\0b", &"a".repeat(256)] {
            assert_eq!(request(&target, user), Err(UserError));
        }
    }

    #[test]
    fn every_answer_is_read() {
        let granted = [0, 90, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(decode_reply(&granted[..1]), Ok(Decoded::Incomplete { needed: 2 }));
        assert_eq!(decode_reply(&granted[..7]), Ok(Decoded::Incomplete { needed: 8 }));
        assert_eq!(decode_reply(&granted), Ok(Decoded::Complete { value: (), len: 8 }));
        assert_eq!(decode_reply(&[0, 91]), Err(ReplyError::Refused));
        assert_eq!(decode_reply(&[0, 92]), Err(ReplyError::User));
        assert_eq!(decode_reply(&[0, 93]), Err(ReplyError::User));
        assert_eq!(decode_reply(&[0, 1]), Err(ReplyError::Unknown(1)));
        assert_eq!(decode_reply(&[5, 0]), Err(ReplyError::Version(5)));
    }
}
