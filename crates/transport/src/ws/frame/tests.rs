//! Frames, and the decoder against a walker over the whole stream at once.

use proptest::{collection::vec, prelude::*};

use super::*;

/// What a whole stream of frames comes to.
#[derive(Debug, Default, PartialEq)]
struct WsDecoded {
    messages: Vec<u8>,
    last_ping: Option<Vec<u8>>,
    close: Option<Vec<u8>>,
    error: Option<ProtocolError>,
    between_messages: bool,
}

/// Frame by frame over all bytes, each byte unmasked on its own.
fn model(bytes: &[u8], masked: bool) -> WsDecoded {
    let mut outcome = WsDecoded::default();
    let mut at = 0;
    let mut in_message = false;
    while at + 2 <= bytes.len() {
        let (first, second) = (bytes[at], bytes[at + 1]);
        let opcode = first & 15;
        let is_control = opcode > 7;
        let error = if ![0, 1, 2, 8, 9, 10].contains(&opcode) {
            Some(ProtocolError::UnknownOpcode(opcode))
        } else if first & 0x70 != 0 {
            Some(ProtocolError::ReservedBits)
        } else if masked && second < 128 {
            Some(ProtocolError::NotMasked)
        } else if !masked && second >= 128 {
            Some(ProtocolError::Masked)
        } else if opcode == 0 && !in_message {
            Some(ProtocolError::NothingToContinue)
        } else if (opcode == 1 || opcode == 2) && in_message {
            Some(ProtocolError::MessageInMessage)
        } else if is_control && first < 128 {
            Some(ProtocolError::ControlFragmented)
        } else if is_control && second % 128 > 125 {
            Some(ProtocolError::ControlTooLong)
        } else {
            None
        };
        if error.is_some() {
            return WsDecoded { error, ..outcome };
        }
        let mut payload_at = at + 2;
        let length_bytes = [(126, 2), (127, 8)].iter().find(|(code, _)| *code == second % 128);
        let mut length = u64::from(second % 128);
        if let Some((_, count)) = length_bytes {
            let Some(field) = bytes.get(payload_at..payload_at + count) else { return outcome };
            length = field.iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte));
            payload_at += count;
        }
        let mut key = vec![0; 4];
        if masked {
            let Some(field) = bytes.get(payload_at..payload_at + 4) else { return outcome };
            key = field.to_vec();
            payload_at += 4;
        }
        if length >= 1 << 63 {
            return WsDecoded { error: Some(ProtocolError::LengthTooLarge), ..outcome };
        }
        let there: Vec<u8> = bytes[payload_at..]
            .iter()
            .take(length.try_into().unwrap())
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4])
            .collect();
        let is_whole = there.len() as u64 == length;
        at = payload_at + there.len();
        match opcode {
            0..=2 => {
                outcome.messages.extend(&there);
                in_message = !is_whole || first < 128;
            }
            _ if !is_whole => {}
            8 if length == 1 => {
                return WsDecoded { error: Some(ProtocolError::HalfCloseCode), ..outcome };
            }
            8 => return WsDecoded { close: Some(there), ..outcome },
            9 => outcome.last_ping = Some(there),
            _ => {}
        }
        if !is_whole {
            return outcome;
        }
    }
    outcome.between_messages = at == bytes.len() && !in_message;
    outcome
}

/// The decoder's outcome when the stream comes in pieces of these lengths, over and over.
fn decode(bytes: &[u8], masked: bool, cuts: &[usize]) -> WsDecoded {
    let mut decoder = WsDecoder::new(masked);
    let mut outcome = WsDecoded::default();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let mut piece;
        (piece, rest) = {
            let (piece, rest) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            (piece.to_vec(), rest)
        };
        let len = decoder.decode(&mut piece);
        outcome.messages.extend(&piece[..len]);
        if let Some(ping) = decoder.take_ping() {
            outcome.last_ping = Some(ping.bytes().to_vec());
        }
    }
    match decoder.end() {
        Some(WsEnd::Closed(control)) => outcome.close = Some(control.bytes().to_vec()),
        Some(WsEnd::Failed(error)) => outcome.error = Some(*error),
        None => outcome.between_messages = decoder.is_between_messages(),
    }
    outcome
}

#[derive(Debug, Clone)]
struct AnyFrame {
    first: u8,
    masked: bool,
    /// How many bytes the length takes beyond its first; more than needed is allowed.
    form: usize,
    key: [u8; 4],
    payload: Vec<u8>,
}

impl AnyFrame {
    fn write(&self, into: &mut Vec<u8>) {
        let masked = if self.masked { 128 } else { 0 };
        let length = self.payload.len() as u64;
        into.push(self.first);
        match self.form {
            0 if length < 126 => into.push(masked | length as u8),
            0 | 2 => {
                into.push(masked | 126);
                into.extend((length as u16).to_be_bytes());
            }
            _ => {
                into.push(masked | 127);
                into.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            into.extend(self.key);
        }
        let masked = self.payload.iter().zip(self.key.iter().cycle());
        into.extend(masked.map(|(byte, key)| if self.masked { byte ^ key } else { *byte }));
    }
}

fn any_frame(masked: bool) -> impl Strategy<Value = AnyFrame> {
    let opcode = prop_oneof![
        8 => Just(0x82), 2 => Just(0x81), 4 => Just(0x02), 6 => Just(0x80), 4 => Just(0x00),
        4 => Just(0x89), 3 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
    ];
    let payload = prop_oneof![8 => vec(any::<u8>(), 0..20), 2 => vec(any::<u8>(), 100..400)];
    let is_masked = prop_oneof![30 => Just(masked), 1 => Just(!masked)];
    let form = prop_oneof![8 => Just(0), 1 => Just(2), 1 => Just(8)];
    (opcode, is_masked, form, any::<[u8; 4]>(), payload).prop_map(
        |(first, masked, form, key, payload)| AnyFrame { first, masked, form, key, payload },
    )
}

proptest! {
    #[test]
    fn frames_come_to_the_same_however_the_stream_is_cut(
        (masked, frames) in any::<bool>().prop_flat_map(|m| (Just(m), vec(any_frame(m), 0..12))),
        missing in 0_usize..10,
        cuts in vec(1_usize..40, 1..6),
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        bytes.truncate(bytes.len().saturating_sub(missing.saturating_sub(5)));
        let expected = model(&bytes, masked);
        prop_assert_eq!(&decode(&bytes, masked, &[1]), &expected);
        prop_assert_eq!(&decode(&bytes, masked, &cuts), &expected);
        prop_assert_eq!(&decode(&bytes, masked, &[usize::MAX]), &expected);
    }

    #[test]
    fn noise_comes_to_the_same(bytes in vec(any::<u8>(), 0..60), cuts in vec(1_usize..9, 1..4)) {
        for masked in [true, false] {
            prop_assert_eq!(decode(&bytes, masked, &cuts), model(&bytes, masked));
        }
    }

    #[test]
    fn what_is_written_is_read(
        len in 0_usize..70_000, key in any::<Option<[u8; 4]>>(),
    ) {
        let payload: Vec<u8> = (0..len).map(|at| (at * 7 + (at >> 8)) as u8).collect();
        let mut bytes = WsHeader::new(Opcode::Binary, payload.len(), key).bytes().to_vec();
        let at = bytes.len();
        bytes.extend(&payload);
        if let Some(key) = key {
            mask(&mut bytes[at..], key);
        }
        let outcome = decode(&bytes, key.is_some(), &[1000]);
        prop_assert!(outcome.between_messages);
        prop_assert!(outcome.messages == payload);
    }
}

/// The examples of RFC 6455 section 5.7.
#[test]
fn the_examples_of_the_standard_are_read() {
    let unmasked = [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(decode(&unmasked, false, &[100]).messages, b"Hello");
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode(&masked, true, &[100]).messages, b"Hello");
    let fragments = [0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f];
    assert_eq!(decode(&fragments, false, &[100]).messages, b"Hello");
    let ping = [0x89, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(decode(&ping, false, &[100]).last_ping.unwrap(), b"Hello");
    let pong = WsHeader::new(Opcode::Pong, 5, Some([0x37, 0xfa, 0x21, 0x3d]));
    assert_eq!(pong.bytes(), [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(WsHeader::new(Opcode::Binary, 256, None).bytes(), [0x82, 126, 1, 0]);
    let long = [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(WsHeader::new(Opcode::Binary, 65_536, None).bytes(), long);
}

#[test]
fn each_break_of_the_protocol_is_named() {
    let breaks: [(&[u8], bool, ProtocolError); 10] = [
        (&[0xc2, 0], false, ProtocolError::ReservedBits),
        (&[0x83, 0], false, ProtocolError::UnknownOpcode(3)),
        (&[0x82, 0], true, ProtocolError::NotMasked),
        (&[0x82, 0x80], false, ProtocolError::Masked),
        (&[0x89, 126], false, ProtocolError::ControlTooLong),
        (&[0x09, 0], false, ProtocolError::ControlFragmented),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], false, ProtocolError::LengthTooLarge),
        (&[0x80, 0], false, ProtocolError::NothingToContinue),
        (&[0x02, 0, 0x82, 0], false, ProtocolError::MessageInMessage),
        (&[0x88, 1, 3], false, ProtocolError::HalfCloseCode),
    ];
    for (bytes, masked, error) in breaks {
        assert_eq!(decode(bytes, masked, &[1]).error, Some(error));
    }
}

#[test]
fn bytes_before_a_break_are_kept_and_nothing_behind_it() {
    let mut bytes = [0x82, 2, b'h', b'i', 0x83, 0, 0x82, 1, b'!'];
    let mut decoder = WsDecoder::of_server();
    assert_eq!(decoder.decode(&mut bytes), 2);
    assert_eq!(&bytes[..2], b"hi");
    assert_eq!(decoder.decode(&mut [0x82, 1, b'!']), 0);
    assert_eq!(decoder.end(), Some(&WsEnd::Failed(ProtocolError::UnknownOpcode(3))));
}

#[test]
fn a_close_tells_its_code_and_reason() {
    let mut decoder = WsDecoder::of_server();
    decoder.decode(&mut [0x88, 5, 0x03, 0xe9, b'b', b'y', b'e']);
    let end = decoder.end().unwrap();
    assert_eq!((end.code(), end.reason()), (Some(1001), &b"bye"[..]));
    let mut decoder = WsDecoder::of_server();
    decoder.decode(&mut [0x88, 0]);
    let end = decoder.end().unwrap();
    assert_eq!((end.code(), end.reason()), (None, &b""[..]));
}
