//! Properties of relay messages: written messages are read, memory is bounded, nothing panics.

use std::net::IpAddr;

use proptest::{collection::vec, option, prelude::*};
use rtun_proto::relay::{
    Addr, AddrFeature, Association, DecodeError, Decoded, Feature, MAX_REQUEST, Network, Request,
    Response, Status, TunnelId, VERSION,
};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9._-]{0,20}",
        "[\\[\\]:.%a1]{0,12}",
        // Three bytes a character, 255 at most.
        "\\PC{0,63}",
        Just("x".repeat(255)),
    ]
}

fn addr() -> impl Strategy<Value = AddrFeature> {
    let addr = prop_oneof![any::<IpAddr>().prop_map(Addr::Ip), name().prop_map(Addr::Name)];
    (addr, any::<u16>()).prop_map(|(addr, port)| AddrFeature { addr, port })
}

fn short_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 255)]
}

fn feature() -> impl Strategy<Value = Feature> {
    prop_oneof![
        (short_bytes(), short_bytes())
            .prop_map(|(user, password)| Feature::UserAuth { user, password }),
        addr().prop_map(Feature::Addr),
        (any::<[u8; 16]>(), any::<u8>(), any::<[u8; 2]>(), any::<u8>()).prop_map(
            |(id, flag, reserved, weight)| Feature::Tunnel(TunnelId { id, flag, reserved, weight })
        ),
        prop_oneof![0..0x20_u16, any::<u16>()].prop_map(|id| Feature::Network(Network::from(id))),
    ]
}

/// So few that the longest list fits into a message.
fn features() -> impl Strategy<Value = Vec<Feature>> {
    vec(feature(), 0..4)
}

fn request() -> impl Strategy<Value = Request> {
    (0..16_u8, 0..16_u8, features()).prop_map(|(command, flags, features)| Request {
        command,
        flags: flags << 4,
        features,
    })
}

fn response() -> impl Strategy<Value = Response> {
    (any::<u8>(), features())
        .prop_map(|(status, features)| Response { status: Status::from(status), features })
}

/// Bytes that look like a message more often than random ones do.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let feature = (0..8_u8, vec(any::<u8>(), 0..30), -2..3_i32).prop_map(|(kind, body, lie)| {
        let len = (i32::try_from(body.len()).unwrap() + lie).max(0);
        [&[kind], &u16::try_from(len).unwrap().to_be_bytes()[..], &body].concat()
    });
    let message = (any::<u8>(), vec(feature, 0..6), -2..3_i32).prop_map(|(second, list, lie)| {
        let list = list.concat();
        let len = (i32::try_from(list.len()).unwrap() + lie).max(0);
        [&[VERSION, second], &u16::try_from(len).unwrap().to_be_bytes()[..], &list].concat()
    });
    let header = (any::<[u8; 3]>(), vec(any::<u8>(), 0..50))
        .prop_map(|(header, rest)| [&[VERSION], &header[..], &rest].concat());
    prop_oneof![4 => message, 2 => header, 1 => vec(any::<u8>(), 0..3000)]
}

/// The properties of both decoders for any input.
fn check_bounds<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
) -> Result<(), TestCaseError> {
    match decode(bytes) {
        Ok(Decoded::Incomplete { needed }) => {
            prop_assert!(needed > bytes.len() && needed <= MAX_REQUEST);
        }
        Ok(Decoded::Complete { len, .. }) => {
            prop_assert!(len <= bytes.len() && len <= MAX_REQUEST);
            for cut in 0..len {
                let prefix = decode(&bytes[..cut]);
                let is_bounded = matches!(
                    prefix,
                    Ok(Decoded::Incomplete { needed }) if needed > cut && needed <= len
                );
                prop_assert!(is_bounded, "cut at {}", cut);
            }
        }
        Err(_) => {
            let longer = [bytes, &[0; 8]].concat();
            prop_assert!(decode(&longer).is_err(), "more bytes heal no error");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_request_written_is_the_request_read(request in request(), rest in vec(any::<u8>(), 0..9)) {
        let bytes = request.encode().unwrap();
        let len = bytes.len();
        let stream = [bytes, rest].concat();
        check_bounds(&stream, Request::decode)?;
        prop_assert_eq!(Request::decode(&stream), Ok(Decoded::Complete { value: request, len }));
    }

    #[test]
    fn a_response_written_is_the_response_read(response in response(), rest in vec(any::<u8>(), 0..9)) {
        let bytes = response.encode().unwrap();
        let len = bytes.len();
        let stream = [bytes, rest].concat();
        check_bounds(&stream, Response::decode)?;
        prop_assert_eq!(Response::decode(&stream), Ok(Decoded::Complete { value: response, len }));
    }

    #[test]
    fn any_bytes_are_read_within_bounds(bytes in hostile()) {
        check_bounds(&bytes, Request::decode)?;
        check_bounds(&bytes, Response::decode)?;
    }

    /// Everything that a decoder accepts has one encoding of the same meaning.
    #[test]
    fn what_is_accepted_can_be_sent_on(bytes in hostile()) {
        if let Ok(Decoded::Complete { value, len }) = Request::decode(&bytes) {
            let again = value.encode().unwrap();
            prop_assert!(again.len() <= len + 4 * value.features.len(), "missing id bytes at most");
            let len = again.len();
            prop_assert_eq!(Request::decode(&again), Ok(Decoded::Complete { value, len }));
        }
        if let Ok(Decoded::Complete { value, .. }) = Response::decode(&bytes) {
            let again = value.encode().unwrap();
            let len = again.len();
            prop_assert_eq!(Response::decode(&again), Ok(Decoded::Complete { value, len }));
        }
    }

    #[test]
    fn a_host_is_understood_as_it_asked(
        user in option::of((short_bytes(), short_bytes())),
        is_udp in any::<bool>(),
        source in addr(),
        host in prop_oneof!["[a-zA-Z0-9._-]{1,40}", any::<IpAddr>().prop_map(|ip| ip.to_canonical().to_string())],
        router_id in prop_oneof![Just([0; 16]), any::<[u8; 16]>()],
    ) {
        let network = if is_udp { Network::Udp } else { Network::Ip };
        let wanted = Association { user, network, source: Some(source), host, router_id };
        let bytes = Request::associate(&wanted).encode().unwrap();
        match Request::decode(&bytes) {
            Ok(Decoded::Complete { value, .. }) => prop_assert_eq!(value.association(), wanted),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// A text that splits into host and port, or does not, never panics and never grows.
    #[test]
    fn any_text_is_an_address(text in name()) {
        let addr = AddrFeature::from_text(&text);
        if let Addr::Name(name) = &addr.addr {
            prop_assert!(text.contains(name.as_str()));
            prop_assert!(text.contains(&addr.host_text()));
        }
    }
}

#[test]
fn the_longest_request_of_a_host_fits() {
    let longest = Association {
        user: Some((vec![b'u'; 255], vec![b'p'; 255])),
        network: Network::Ip,
        source: Some(AddrFeature { addr: Addr::Name("s".repeat(255)), port: 0 }),
        host: "h".repeat(255),
        router_id: [1; 16],
    };
    assert_eq!(Request::associate(&longest).encode().unwrap().len(), 1071);
}
