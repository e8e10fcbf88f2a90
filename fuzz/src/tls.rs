//! TLS records of an unauthenticated peer, compared with slow and simple readers.

use std::io::IoSlice;

use rtun_tls::{
    TlsVersion,
    cipher::{Algorithm, Opener, RecordContent, Sealer},
    record::{
        ContentType, HEADER_LEN, KeyUpdate, Messages, PLAINTEXT_MAX, RECORD_MAX, RecordError,
        RecordHeader, unpad,
    },
};

/// The longest ticket that its fields allow (RFC 8446 section 4.6.1).
const TICKET_MAX: usize = 4 + 4 + 1 + 255 + 2 + 0xffff + 2 + 0xffff;

/// A stream of records. The first byte is the version and the overhead of each body in bytes; the rest is the stream.
pub fn tls_headers(bytes: &[u8]) {
    let Some((&first, mut rest)) = bytes.split_first() else { return };
    let version = if first >= 128 { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
    let overhead = usize::from(first % 32);
    loop {
        let whole = RecordHeader::whole(rest, version, overhead);
        match RecordHeader::read(rest, version, overhead) {
            Ok(None) => {
                assert!(rest.len() < HEADER_LEN);
                return assert_eq!(whole, Ok(None));
            }
            Ok(Some(header)) => {
                let body = usize::from(rest[3]) * 256 + usize::from(rest[4]);
                assert_eq!(header.record_len, HEADER_LEN + body);
                assert!(header.record_len <= RECORD_MAX && body >= overhead);
                assert_eq!(header.content_type.code(), rest[0]);
                assert!(version == TlsVersion::Tls12 || (rest[0] == 23 && body > overhead));
                assert!(version == TlsVersion::Tls13 || rest[1..3] == [3, 3]);
                if rest[1..3] == [3, 3] {
                    assert_eq!(RecordHeader::write(header.content_type, body), rest[..HEADER_LEN]);
                }
                if header.record_len > rest.len() {
                    return assert_eq!(whole, Ok(None));
                }
                assert_eq!(whole, Ok(Some(header)));
                rest = &rest[header.record_len..];
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = error.alert();
                return assert_eq!(whole, Err(error));
            }
        }
    }
}

/// The inner plaintext of a TLS 1.3 record. The first two bytes are the number of zeros after the rest.
pub fn tls_padding(bytes: &[u8]) {
    let Some((&[high, low], inner)) = bytes.split_first_chunk() else { return };
    let padding = (usize::from(high) * 256 + usize::from(low)) % (PLAINTEXT_MAX + 10);
    let padded = [inner, &vec![0; padding]].concat();
    let mut end = padded.len();
    while end > 0 && padded[end - 1] == 0 {
        end -= 1;
    }
    let expected = match padded[..end].last() {
        _ if padded.len() > PLAINTEXT_MAX + 1 => Err(RecordError::TooLong),
        None => Err(RecordError::Empty),
        Some(21) => Ok((ContentType::Alert, end - 1)),
        Some(22) => Ok((ContentType::Handshake, end - 1)),
        Some(23) => Ok((ContentType::ApplicationData, end - 1)),
        Some(&code) => Err(RecordError::UnexpectedType(code)),
    };
    assert_eq!(unpad(&padded), expected);
}

/// Messages after a handshake. The first byte is the side and the number of bytes after it that set the lengths of records;
/// the rest is the messages.
pub fn tls_messages(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let at_client = first >= 128;
    let (cuts, mut rest) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let mut cuts = cuts.iter().map(|n| usize::from(*n)).chain(std::iter::repeat(PLAINTEXT_MAX));
    let mut messages = Messages::default();
    let mut pending = Vec::new();
    while !rest.is_empty() {
        let record;
        (record, rest) = rest.split_at(cuts.next().expect("endless").min(rest.len()));
        let taken = messages.take(record, at_client);
        assert_eq!(taken, slow_messages(&mut pending, record, at_client));
        if taken.is_err() {
            return;
        }
        assert_eq!(messages.is_within(), !pending.is_empty());
    }
}

/// Buffers a message until it is whole.
fn slow_messages(
    pending: &mut Vec<u8>,
    record: &[u8],
    at_client: bool,
) -> Result<Option<KeyUpdate>, RecordError> {
    if record.is_empty() {
        return Err(RecordError::Empty);
    }
    pending.extend_from_slice(record);
    while let [kind, high, middle, low, body @ ..] = &pending[..] {
        let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        match kind {
            4 if !at_client => return Err(RecordError::UnexpectedMessage(4)),
            4 if len > TICKET_MAX => return Err(RecordError::Malformed),
            24 if len != 1 => return Err(RecordError::Malformed),
            4 | 24 => {}
            kind => return Err(RecordError::UnexpectedMessage(*kind)),
        }
        if body.len() < len {
            break;
        }
        if *kind == 24 {
            return match body {
                [answer @ (0 | 1)] => {
                    let answer = *answer == 1;
                    pending.clear();
                    Ok(Some(KeyUpdate { answer }))
                }
                [_] => Err(RecordError::Malformed),
                _ => Err(RecordError::UnexpectedMessage(24)),
            };
        }
        pending.drain(..4 + len);
    }
    Ok(None)
}

/// Records that are sealed and then changed. The first byte is the algorithm and the version, the next two are the position of
/// the change, the fourth is the change. Each byte of the rest is the length of a record and its content.
pub fn tls_opener(bytes: &[u8]) {
    let Some((&[first, high, low, change], lengths)) = bytes.split_first_chunk() else { return };
    let (algorithm, key_len) = match first % 3 {
        0 => (Algorithm::Aes128Gcm, 16),
        1 => (Algorithm::Aes256Gcm, 32),
        _ => (Algorithm::Chacha20Poly1305, 32),
    };
    let version = if first >= 128 { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
    let (key, iv) = (&[first; 32][..key_len], [high; 12]);
    let sequence = u64::from(low);
    let sealer = Sealer::with_key(algorithm, key, iv, sequence, version);
    let opener = Opener::with_key(algorithm, key, iv, sequence, version);
    let (mut sealer, mut opener) = (sealer.expect("a whole key"), opener.expect("a whole key"));

    let types = [ContentType::ApplicationData, ContentType::Handshake, ContentType::Alert];
    let mut stream = Vec::new();
    let mut sealed = Vec::new();
    for (&len, content_type) in lengths.iter().take(64).zip(types.into_iter().cycle()) {
        let content = vec![len; usize::from(len)];
        let pieces = [IoSlice::new(&content)];
        let from = stream.len();
        stream.resize(from + sealer.record_len(content.len()), 0);
        let mut pieces = RecordContent::new(&pieces);
        let written = sealer.seal(content_type, &mut pieces, content.len(), &mut stream[from..]);
        assert_eq!(written, Ok(stream.len() - from));
        sealed.push((from, content_type, content));
    }
    let at = usize::from(high) * 256 + usize::from(low);
    let changed = (change != 0 && at < stream.len()).then_some(at);
    if let Some(at) = changed {
        stream[at] ^= change;
    }
    let mut rest = &stream[..];
    for (n, (from, content_type, content)) in sealed.iter().enumerate() {
        let end = sealed.get(n + 1).map_or(stream.len(), |(from, ..)| *from);
        let is_changed = changed.is_some_and(|at| (*from..end).contains(&at));
        let Ok(Some(header)) = RecordHeader::whole(rest, version, opener.overhead()) else {
            return assert!(is_changed);
        };
        let mut into = vec![0; header.record_len];
        match opener.open(&rest[..header.record_len], &mut into) {
            Ok((found, len)) => {
                assert!(!is_changed, "nothing that was changed is opened");
                assert_eq!((found, &into[..len]), (*content_type, &content[..]));
            }
            Err(error) => {
                assert!(is_changed, "{error}");
                return;
            }
        }
        rest = &rest[header.record_len..];
    }
    assert!(rest.is_empty());
    // A changed record is never opened.
    if lengths.len() > HEADER_LEN + opener.overhead() {
        let mut into = vec![0; lengths.len()];
        assert!(opener.open(lengths, &mut into).is_err());
    }
}
