//! Answers of proxies, and the PROXY protocol.

use rtun_proto::{
    proxy::{header, http_connect, socks4, socks5},
    relay::Decoded,
};

/// The answer of a proxy. The first byte selects the request; the rest is the answer.
pub fn proxy_reply(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    match first % 6 {
        0 => {
            let Some((reply, head)) =
                taken(bytes, http_connect::MAX_REPLY, http_connect::decode_reply)
            else {
                return;
            };
            assert!(head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n"));
            assert!(reply.status >= 200 && reply.line.len() <= 200);
            assert!(reply.line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        1 => drop(taken(bytes, 262, socks5::decode_reply)),
        2 => drop(taken(bytes, 2, socks5::decode_password_reply)),
        5 => drop(taken(bytes, 8, socks4::decode_reply)),
        has_password => {
            let method = taken(bytes, 2, |bytes| socks5::decode_method(bytes, has_password == 3));
            assert!(has_password == 3 || method.is_none_or(|(m, _)| m == socks5::Method::None));
        }
    }
}

/// The first bytes of an unauthenticated peer, or of a proxy.
pub fn proxy_preamble(bytes: &[u8]) {
    let Some((addresses, head)) = taken(bytes, header::MAX_V2, header::decode) else { return };
    assert!(head.starts_with(b"PROXY ") || head.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    let Some(addresses) = addresses else { return };
    for version in [header::Version::One, header::Version::Two] {
        let again = header::encode(version, Some(addresses));
        let (read, head) = taken(&again, header::MAX_V2, header::decode).expect("a whole header");
        assert_eq!(head, again);
        // An IPv4-mapped address is written as IPv4, unless the other address is IPv6.
        let read = read.expect("addresses were written");
        assert_eq!(read.source.ip().to_canonical(), addresses.source.ip().to_canonical());
        assert_eq!(read.destination.ip().to_canonical(), addresses.destination.ip().to_canonical());
        assert_eq!(read.source.port(), addresses.source.port());
        assert_eq!(read.destination.port(), addresses.destination.port());
    }
}

/// Reads a message by giving as many bytes as the decoder asks for. Returns the message and its bytes: at most `max`, and
/// no byte after them.
fn taken<T, E: std::fmt::Display>(
    bytes: &[u8],
    max: usize,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) -> Option<(T, &[u8])> {
    let mut taken = 0;
    loop {
        match decode(&bytes[..taken]) {
            Ok(Decoded::Complete { value, len }) => {
                assert_eq!(len, taken);
                return Some((value, &bytes[..len]));
            }
            Ok(Decoded::Incomplete { needed }) => {
                assert!(needed > taken && needed <= max);
                if needed > bytes.len() {
                    return None;
                }
                taken = needed;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return None;
            }
        }
    }
}
