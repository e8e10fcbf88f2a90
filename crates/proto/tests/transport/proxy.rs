//! Answers of proxies and PROXY headers, read in parts.

use std::net::{IpAddr, SocketAddr};

use proptest::{collection::vec, prelude::*};
use rtun_proto::{
    proxy::{
        Target,
        header::{self, Addresses, Version},
        http_connect, socks5,
    },
    relay::Decoded,
};

/// Reads a message like a client that takes as many bytes as are asked for. Returns the message, the number of taken bytes,
/// and how often bytes were asked for. None if the bytes end before.
fn read<T, E>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) -> Result<Option<(T, usize, usize)>, E> {
    let mut taken = 0;
    for asked in 0.. {
        match decode(&bytes[..taken])? {
            Decoded::Complete { value, len } => {
                assert_eq!(len, taken, "more was asked for than is in the message");
                return Ok(Some((value, taken, asked)));
            }
            Decoded::Incomplete { needed } => {
                assert!(needed > taken);
                if needed > bytes.len() {
                    return Ok(None);
                }
                taken = needed;
            }
        }
    }
    unreachable!()
}

/// For the beginning of a whole message, only bytes of that message are asked for.
fn holds_for_every_beginning<T: std::fmt::Debug, E: std::fmt::Debug>(
    message: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) {
    for length in 0..message.len() {
        match decode(&message[..length]).unwrap() {
            Decoded::Incomplete { needed } => {
                assert!(needed > length && needed <= message.len(), "{needed} after {length}");
            }
            complete @ Decoded::Complete { .. } => panic!("{complete:?} after {length}"),
        }
    }
}

fn http_head(status: impl Strategy<Value = u16>) -> impl Strategy<Value = (u16, String, String)> {
    let end = prop_oneof![3 => Just("\r\n"), 1 => Just("\n")];
    let reason = prop_oneof![Just(String::new()), " [ -~]{0,60}"];
    let field = "[A-Za-z-]{1,10}:[ -~\t]{0,40}";
    (status, 0..10_u8, reason, vec(field, 0..6), end).prop_map(
        |(status, minor, reason, fields, end)| {
            let line = format!("HTTP/1.{minor} {status}{reason}");
            let fields: String = fields.iter().map(|field| format!("{field}{end}")).collect();
            let head = format!("{line}{end}{fields}{end}");
            (status, line, head)
        },
    )
}

fn socket_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn an_http_answer_is_taken_to_its_end_and_no_further(
        interim in vec(http_head(100..200_u16), 0..3),
        (status, line, head) in http_head(200..1000_u16),
        behind in vec(any::<u8>(), 0..30),
    ) {
        let heads: String = interim.into_iter().map(|(_, _, head)| head).chain([head]).collect();
        holds_for_every_beginning(heads.as_bytes(), http_connect::decode_reply);
        let bytes = [heads.as_bytes(), &behind].concat();
        let (reply, len, _) = read(&bytes, http_connect::decode_reply).unwrap().unwrap();
        prop_assert_eq!((reply.status, reply.line, len), (status, line, heads.len()));
    }

    #[test]
    fn any_http_answer_ends_within_its_bound(bytes in "HTTP/1[.]1 [0-9 ]{3}[\\PC\r\n]{0,200}") {
        if let Ok(Some((reply, len, _))) = read(bytes.as_bytes(), http_connect::decode_reply) {
            let heads = &bytes[..len];
            prop_assert!(heads.ends_with("\n\n") || heads.ends_with("\n\r\n"));
            prop_assert!(reply.status >= 200);
            prop_assert!(reply.line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }

    #[test]
    fn a_socks_answer_is_taken_to_its_end_and_no_further(
        address in prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| [&[1][..], &ip].concat()),
            any::<[u8; 16]>().prop_map(|ip| [&[4][..], &ip].concat()),
            vec(any::<u8>(), 0..=255).prop_map(|name| {
                [&[3, u8::try_from(name.len()).unwrap()][..], &name].concat()
            }),
        ],
        (reserved, port) in any::<(u8, [u8; 2])>(),
        behind in vec(any::<u8>(), 0..30),
    ) {
        let reply = [&[5, 0, reserved][..], &address, &port].concat();
        holds_for_every_beginning(&reply, socks5::decode_reply);
        let bytes = [&reply[..], &behind].concat();
        let ((), len, asked) = read(&bytes, socks5::decode_reply).unwrap().unwrap();
        prop_assert_eq!(len, reply.len());
        prop_assert!(asked <= 3);
    }

    #[test]
    fn requests_say_what_was_asked_for(
        address in any::<IpAddr>(),
        port in 1..=u16::MAX,
        (user, password) in ("[^:\\pC]{1,60}", "\\PC{0,60}"),
    ) {
        let target = Target::from((address, port));
        prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target.clone());
        let request = socks5::request(&target);
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        prop_assert_eq!(&request[4..], &[&octets[..], &port.to_be_bytes()].concat());
        let request = http_connect::request(&target, Some((&user, &password)), &[]).unwrap();
        let request = String::from_utf8(request).unwrap();
        let line = format!("CONNECT {target} HTTP/1.1\r\n");
        prop_assert!(request.starts_with(&line) && request.ends_with("\r\n\r\n"));
        prop_assert_eq!(request.matches("\r\n").count(), 4);
        let message = socks5::password_request(&user, &password).unwrap();
        prop_assert_eq!(message.len(), 3 + user.len() + password.len());
    }

    #[test]
    fn a_header_means_what_was_encoded_and_ends_where_it_does(
        (source, destination) in (socket_address(), socket_address()),
        none in any::<bool>(),
        behind in vec(any::<u8>(), 0..30),
    ) {
        let addresses = (!none).then_some(Addresses { source, destination });
        for version in [Version::One, Version::Two] {
            let encoded = header::encode(version, addresses);
            holds_for_every_beginning(&encoded, header::decode);
            let bytes = [&encoded[..], &behind].concat();
            let (decoded, len, asked) = read(&bytes, header::decode).unwrap().unwrap();
            prop_assert_eq!(len, encoded.len());
            prop_assert!(version == Version::One || asked <= 3);
            let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            prop_assert_eq!(
                decoded.map(|ends| (plain(ends.source), plain(ends.destination))),
                addresses.map(|ends| (plain(ends.source), plain(ends.destination)))
            );
            prop_assert!(
                decoded.is_none_or(|ends| ends.source.is_ipv4() == ends.destination.is_ipv4())
            );
        }
    }

    #[test]
    fn any_bytes_are_a_header_or_none(
        bytes in prop_oneof![
            "PROXY (TCP4|TCP6|UNKNOWN|UDP4)[ 0-9a-f.:]{0,120}(\r\n)?".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..60).prop_map(|body| [&b"\r\n\r\n\0\r\nQUIT\n"[..], &body].concat()),
            vec(any::<u8>(), 0..60),
        ],
    ) {
        if let Ok(Some((Some(ends), len, _))) = read(&bytes, header::decode) {
            // Read again as the same, whichever way it is written.
            for version in [Version::One, Version::Two] {
                let again = header::encode(version, Some(ends));
                let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
                let (read, ..) = read(&again, header::decode).unwrap().unwrap();
                prop_assert_eq!(read.map(|read| plain(read.source)), Some(plain(ends.source)));
            }
            prop_assert!(len <= header::MAX_V2);
        }
    }
}
