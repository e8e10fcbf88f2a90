//! Frames of a multiplexed session.

use rtun_proto::mux::{self, Command, Decoder, Event, Version};

/// The stream of a peer of a multiplexed session. The first byte is the version and the number of bytes after it that set
/// the lengths of reads; the rest is the stream.
pub fn smux_frames(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let version = if first & 0x80 == 0 { Version::One } else { Version::Two };
    let (reads, mut rest) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let expected = slow_smux(version, rest);
    let mut reads = reads.iter().map(|n| usize::from(*n)).chain(std::iter::repeat(4096));
    let mut decoder = Decoder::new(version);
    let mut got = Vec::new();
    while !rest.is_empty() {
        let (mut read, unread) = rest.split_at(rest.len().min(reads.next().expect("endless") + 1));
        rest = unread;
        loop {
            match decoder.next(&mut read) {
                Ok(Some(Event::Psh(id, payload))) => {
                    assert!(!payload.is_empty());
                    got.extend(payload.iter().map(|byte| (Command::Psh, id, u64::from(*byte))));
                }
                Ok(Some(Event::Syn(id))) => got.push((Command::Syn, id, 0)),
                Ok(Some(Event::Fin(id))) => got.push((Command::Fin, id, 0)),
                Ok(Some(Event::Nop)) => got.push((Command::Nop, 0, 0)),
                Ok(Some(Event::Upd { id, consumed, window })) => {
                    got.push((Command::Upd, id, u64::from(consumed) << 32 | u64::from(window)));
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return assert_eq!((got, false), expected);
                }
            }
        }
        assert!(read.is_empty());
    }
    assert_eq!((got, true), expected);
}

/// The events of the whole frames and of the beginning of the last one, payload byte by byte, and whether no error follows.
fn slow_smux(version: Version, mut bytes: &[u8]) -> (Vec<(Command, u32, u64)>, bool) {
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut said = Vec::new();
    while bytes.len() >= mux::HEADER {
        let length = usize::from(bytes[2]) + 256 * usize::from(bytes[3]);
        let id = word(&bytes[4..]);
        let body = &bytes[8..bytes.len().min(8 + length)];
        match (bytes[1], length) {
            _ if bytes[0] != version as u8 => return (said, false),
            (0, 0) => said.push((Command::Syn, id, 0)),
            (1, 0) => said.push((Command::Fin, id, 0)),
            (2, _) => said.extend(body.iter().map(|byte| (Command::Psh, id, u64::from(*byte)))),
            (3, 0) => said.push((Command::Nop, 0, 0)),
            (4, 8) if version == Version::Two && body.len() < 8 => break,
            (4, 8) if version == Version::Two => {
                let (consumed, window) = (word(body), word(&body[4..]));
                said.push((Command::Upd, id, u64::from(consumed) << 32 | u64::from(window)));
            }
            _ => return (said, false),
        }
        bytes = &bytes[8 + body.len()..];
    }
    (said, true)
}
