//! The extension frames without a packet: written frames are read, and frames that cannot be written are refused.

use std::{net::IpAddr, time::Duration};

use proptest::{collection::vec, prelude::*};
use rtun_proto::{
    extension::{
        Capabilities, ECHO_REPLY_FIELDS, Echo, EchoOutcome, EchoReply, Extension,
        ExtensionEncodeError, ExtensionError, GoAway, Hello, HelloReply, MAX_ADDRESSES, MAX_ECHO,
        Notice, RefusalNotice, RefusalReason, is_echo, is_extension,
    },
    frame::Frames,
};

fn hello() -> impl Strategy<Value = Hello> {
    let numbers = (any::<u8>(), any::<u32>(), any::<u16>(), any::<[u8; 16]>());
    (numbers, "[ -~]{0,64}").prop_map(|((version, bits, mtu, instance), software)| {
        let capabilities = Capabilities::from_bits(bits);
        Hello { version, capabilities, mtu, instance, software }
    })
}

fn address() -> impl Strategy<Value = (IpAddr, u8)> {
    any::<IpAddr>()
        .prop_flat_map(|address| (Just(address), 0..=if address.is_ipv4() { 32_u8 } else { 128 }))
}

fn hello_reply() -> impl Strategy<Value = HelloReply> {
    let numbers = (any::<u8>(), any::<u32>(), any::<u16>(), any::<u32>(), any::<[u8; 16]>());
    (numbers, vec(address(), 0..=MAX_ADDRESSES)).prop_map(|(numbers, addresses)| HelloReply {
        version: numbers.0,
        accepted: Capabilities::from_bits(numbers.1),
        max_frame: numbers.2,
        reconnect_window: Duration::from_millis(numbers.3.into()),
        namespace: numbers.4,
        addresses,
    })
}

fn refusal() -> impl Strategy<Value = RefusalNotice> {
    // At most 200 bytes: 50 characters of up to four.
    (any::<u8>(), "\\PC{0,50}")
        .prop_map(|(reason, text)| RefusalNotice { reason: reason.into(), text })
}

fn echo() -> impl Strategy<Value = Echo> {
    // At most 255 bytes: 63 characters of up to four. Type, stamp and the length of the name are ten.
    (any::<[u8; 8]>(), "\\PC{0,63}", 0..=MAX_ECHO).prop_map(|(stamp, host, length)| {
        let fields = u16::try_from(10 + host.len()).unwrap();
        Echo { stamp, host, length: length.max(fields) }
    })
}

fn echo_reply() -> impl Strategy<Value = EchoReply> {
    let numbers = (any::<u32>(), any::<u16>(), any::<u16>(), ECHO_REPLY_FIELDS..=MAX_ECHO);
    (any::<[u8; 8]>(), any::<u8>(), numbers).prop_map(|(stamp, outcome, numbers)| EchoReply {
        stamp,
        outcome: outcome.into(),
        round_trip: Duration::from_micros(numbers.0.into()),
        mtu: numbers.1,
        datagram: numbers.2,
        length: numbers.3,
    })
}

fn extension() -> impl Strategy<Value = Extension<'static>> {
    prop_oneof![
        3 => hello().prop_map(Extension::Hello),
        3 => hello_reply().prop_map(Extension::HelloReply),
        1 => any::<[u8; 8]>().prop_map(Extension::Ping),
        1 => any::<[u8; 8]>().prop_map(Extension::Pong),
        1 => any::<u32>().prop_map(|ms| {
            Extension::GoAway(GoAway { within: Duration::from_millis(ms.into()) })
        }),
        3 => refusal().prop_map(Extension::Refusal),
        1 => "\\PC{0,50}".prop_map(|text| Extension::Notice(Notice { text })),
        2 => echo().prop_map(Extension::Echo),
        2 => echo_reply().prop_map(Extension::EchoReply),
    ]
}

/// The payload of the one frame that is written.
fn written(extension: &Extension<'_>) -> Vec<u8> {
    let mut out = vec![7; 3];
    extension.write_frame(&mut out).unwrap();
    assert_eq!(out[..3], [7; 3]);
    let mut frames = Frames::new(&out[3..]);
    let payload = frames.next().unwrap().payload.to_vec();
    assert_eq!(frames.consumed(), out.len() - 3);
    payload
}

fn refused(extension: Extension<'_>) -> ExtensionEncodeError {
    let mut out = vec![7; 3];
    let error = extension.write_frame(&mut out).unwrap_err();
    assert_eq!(out, [7; 3]);
    error
}

proptest! {
    #[test]
    fn what_is_written_is_read(extension in extension()) {
        let payload = written(&extension);
        prop_assert!(is_extension(&payload));
        prop_assert_eq!(Extension::decode(&payload), Ok(extension));
    }

    #[test]
    fn a_frame_is_read_whole_or_not_at_all(extension in extension()) {
        let payload = written(&extension);
        // The end of an echo is padding.
        let whole = match &extension {
            Extension::Echo(echo) => 10 + echo.host.len(),
            Extension::EchoReply(_) => usize::from(ECHO_REPLY_FIELDS),
            _ => payload.len(),
        };
        for cut in 0..whole {
            prop_assert!(Extension::decode(&payload[..cut]).is_err());
        }
    }

    #[test]
    fn a_later_version_may_add_fields(extension in extension(), more in vec(any::<u8>(), 1..20)) {
        let payload = [written(&extension), more].concat();
        let decoded = Extension::decode(&payload);
        let length = u16::try_from(payload.len()).unwrap();
        match extension {
            Extension::Echo(_) | Extension::EchoReply(_) if length > MAX_ECHO => {
                let is_too_long = matches!(decoded, Err(ExtensionError::Length { .. }));
                prop_assert!(is_too_long);
            }
            Extension::Echo(echo) => {
                prop_assert_eq!(decoded, Ok(Extension::Echo(Echo { length, ..echo })));
            }
            Extension::EchoReply(reply) => {
                prop_assert_eq!(decoded, Ok(Extension::EchoReply(EchoReply { length, ..reply })));
            }
            Extension::Ping(_) => {
                prop_assert_eq!(decoded, Err(ExtensionError::Length { kind: "ping" }));
            }
            Extension::Pong(_) => {
                prop_assert_eq!(decoded, Err(ExtensionError::Length { kind: "pong" }));
            }
            _ => prop_assert_eq!(decoded, Ok(extension)),
        }
    }

    /// A decoded frame could have been written, except the ignored bytes after its fields.
    #[test]
    fn any_bytes_are_handled(
        extension in extension(),
        kind in prop_oneof![1 => 0_u8..12, 1 => any::<u8>()],
        random in vec(any::<u8>(), 0..80),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut changed = written(&extension);
        for (place, value) in changes {
            let place = place.index(changed.len());
            changed[place] = value;
        }
        for payload in [changed, [&[kind][..], &random].concat(), random] {
            let nibble = payload.first().map(|byte| byte >> 4);
            prop_assert_eq!(is_extension(&payload), !matches!(nibble, None | Some(4 | 6)));
            match Extension::decode(&payload) {
                Ok(Extension::Unknown(unknown)) => {
                    prop_assert_eq!(unknown, payload[0]);
                    prop_assert!(!(1..=10).contains(&unknown) && is_extension(&payload));
                }
                // Padding is written as zeros, and not looked at.
                Ok(extension @ (Extension::Echo(_) | Extension::EchoReply(_))) => {
                    let again = written(&extension);
                    prop_assert!(is_echo(&payload) && again.len() == payload.len());
                    prop_assert_eq!(Extension::decode(&again), Ok(extension));
                }
                Ok(extension) => prop_assert!(payload.starts_with(&written(&extension))),
                Err(ExtensionError::Type) => prop_assert!(!is_extension(&payload)),
                Err(error) => {
                    prop_assert!((1..=10).contains(&payload[0]));
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn any_text_can_be_sent(text in "\\PC*|(?s).*|[a-z\u{e9}\u{1f980}]{60,210}") {
        let hello = Hello {
            version: 1,
            capabilities: Capabilities::NONE,
            mtu: 1420,
            instance: [1; 16],
            software: text.clone(),
        };
        let payload = written(&Extension::Hello(hello));
        let Ok(Extension::Hello(hello)) = Extension::decode(&payload) else { panic!() };
        let expected: String =
            text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(64).collect();
        prop_assert_eq!(hello.software, expected);

        let notice = RefusalNotice { reason: RefusalReason::Revoked, text: text.clone() };
        let payload = written(&Extension::Refusal(notice));
        let Ok(Extension::Refusal(notice)) = Extension::decode(&payload) else { panic!() };
        let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        prop_assert!(clean.starts_with(&notice.text));
        let left = clean.len() - notice.text.len();
        prop_assert!(left == 0 || (197..=200).contains(&notice.text.len()), "cut without need");
    }
}

#[test]
fn text_beyond_the_rules_is_refused() {
    let hello = |software: &[u8]| {
        let len = u8::try_from(software.len()).unwrap();
        let payload = [&[1_u8; 24][..], &[len], software].concat();
        Extension::decode(&payload).err()
    };
    assert_eq!(hello(&[b'~'; 64]), None);
    for software in [&[b'~'; 65][..], b"rtun\n", b"\x7f", "r\u{fc}n".as_bytes(), b"\xff"] {
        assert_eq!(hello(software), Some(ExtensionError::Text { kind: "hello" }));
    }
    let refusal = |text: &[u8]| {
        let len = u8::try_from(text.len()).unwrap();
        Extension::decode(&[&[7, 1, len], text].concat()).err()
    };
    assert_eq!(refusal(&[b'~'; 200]), None);
    assert_eq!(refusal("r\u{fc}n".as_bytes()), None);
    for text in [&[b'~'; 201][..], b"a\x1b[2J", "\u{85}".as_bytes(), b"\xff"] {
        assert_eq!(refusal(text), Some(ExtensionError::Text { kind: "refusal" }));
    }
}

#[test]
fn addresses_are_few_and_possible() {
    let reply = |addresses: Vec<(IpAddr, u8)>| {
        Extension::HelloReply(HelloReply {
            version: 1,
            accepted: Capabilities::NONE,
            max_frame: 1500,
            reconnect_window: Duration::ZERO,
            namespace: [0; 16],
            addresses,
        })
    };
    let v4 = IpAddr::from([10, 0, 0, 1]);
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(refused(reply(vec![(v4, 32); 17])), ExtensionEncodeError::Addresses(17));
    assert_eq!(refused(reply(vec![(v4, 32); 256])), ExtensionEncodeError::Addresses(256));
    assert_eq!(refused(reply(vec![(v6, 128), (v4, 33)])), ExtensionEncodeError::Prefix(33));
    assert_eq!(refused(reply(vec![(v6, 129)])), ExtensionEncodeError::Prefix(129));

    let payload = written(&reply(vec![(v4, 24)]));
    let count = payload.len() - 7;
    for (place, value, error) in [
        (count, 17, ExtensionError::Addresses(17)),
        (count, 2, ExtensionError::Short { kind: "hello reply" }),
        (count + 1, 5, ExtensionError::Address),
        (count + 1, 6, ExtensionError::Short { kind: "hello reply" }),
        (count + 2, 33, ExtensionError::Address),
    ] {
        let mut payload = payload.clone();
        payload[place] = value;
        assert_eq!(Extension::decode(&payload), Err(error));
    }
}

#[test]
fn an_echo_is_as_long_as_asked_within_its_limit() {
    let stamp = [7; 8];
    let echo = |host: &str, length| {
        written(&Extension::Echo(Echo { stamp, host: host.into(), length })).len()
    };
    assert_eq!([echo("", 0), echo("host-2", 0), echo("", 1420)], [10, 16, 1420]);
    assert_eq!(echo("", u16::MAX), usize::from(MAX_ECHO));
    assert_eq!(echo(&"h".repeat(300), 0), 265, "a name is cut at its limit");
    let outcomes: Vec<u8> = (0..=5).map(|code| EchoOutcome::from(code).code()).collect();
    assert_eq!(outcomes, [0, 1, 2, 3, 4, 5]);
    assert_eq!(EchoOutcome::from(5), EchoOutcome::Other(5));
}

#[test]
fn an_unknown_type_is_told_and_never_sent() {
    for kind in (0..=255).filter(|kind| !(1..=10).contains(kind)) {
        let expected = match kind >> 4 {
            4 | 6 => Err(ExtensionError::Type),
            _ => Ok(Extension::Unknown(kind)),
        };
        assert_eq!(Extension::decode(&[kind]), expected);
        assert_eq!(Extension::decode(&[kind, 1, 2, 3]), expected);
        assert_eq!(refused(Extension::Unknown(kind)), ExtensionEncodeError::Unknown(kind));
    }
    assert_eq!(Extension::decode(&[]), Err(ExtensionError::Type));
}

#[test]
fn durations_are_milliseconds_that_fit() {
    for (sent, received) in [
        (Duration::from_micros(1999), Duration::from_millis(1)),
        (Duration::MAX, Duration::from_millis(u32::MAX.into())),
    ] {
        let payload = written(&Extension::GoAway(GoAway { within: sent }));
        let expected = Extension::GoAway(GoAway { within: received });
        assert_eq!(Extension::decode(&payload), Ok(expected));
    }
}

#[test]
fn capabilities_are_a_set() {
    let unknown = Capabilities::from_bits(0x8000_0000);
    let both = Capabilities::GSO_FRAMES.with(unknown);
    assert_eq!(both.bits(), 0x8000_0001);
    assert!(both.has(unknown) && both.has(both) && both.has(Capabilities::NONE));
    assert!(!unknown.has(both) && !Capabilities::NONE.has(unknown));
    assert_eq!(both.intersection(Capabilities::GSO_FRAMES), Capabilities::GSO_FRAMES);
    assert_eq!(unknown.intersection(Capabilities::GSO_FRAMES), Capabilities::NONE);
}
