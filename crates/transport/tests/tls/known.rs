//! Known answers for each cipher suite, as Go's crypto/tls said them to OpenSSL, and where numbers and keys end.
//!
//! `known/go.txt` has what a server sent after its handshake: of each suite its key and nonce, then records with the type and the
//! content of each. Those of TLS 1.3 begin with a session ticket.

use std::io::IoSlice;

use rtun_tls::{
    RECORDS_PER_KEY, TlsVersion,
    cipher::{Algorithm, Opener, RecordContent, Sealer},
    record::{Alert, ContentType, Messages, PLAINTEXT_MAX, RecordError, RecordHeader},
};
const KNOWN: &str = include_str!("known/go.txt");

/// What one server sent with one suite.
struct Known {
    suite: &'static str,
    version: TlsVersion,
    key: Vec<u8>,
    iv: [u8; 12],
    sequence: u64,
    records: Vec<(ContentType, Vec<u8>, Vec<u8>)>,
}

impl Known {
    fn algorithm(&self) -> Algorithm {
        match self.suite {
            suite if suite.contains("CHACHA20") => Algorithm::Chacha20Poly1305,
            suite if suite.contains("AES_256") => Algorithm::Aes256Gcm,
            _ => Algorithm::Aes128Gcm,
        }
    }

    fn opener(&self, sequence: u64) -> Opener {
        Opener::with_key(self.algorithm(), &self.key, self.iv, sequence, self.version).unwrap()
    }

    fn sealer(&self, sequence: u64) -> Sealer {
        Sealer::with_key(self.algorithm(), &self.key, self.iv, sequence, self.version).unwrap()
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn known() -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    for line in KNOWN.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["suite", suite, version] => all.push(Known {
                suite,
                version: if version == "1.2" { TlsVersion::Tls12 } else { TlsVersion::Tls13 },
                key: Vec::new(),
                iv: [0; 12],
                sequence: 0,
                records: Vec::new(),
            }),
            ["key", key] => all.last_mut().unwrap().key = hex(key),
            ["iv", iv] => all.last_mut().unwrap().iv = hex(iv).try_into().unwrap(),
            ["sequence", sequence] => all.last_mut().unwrap().sequence = sequence.parse().unwrap(),
            ["record", code, content, record] => {
                let content_type = match code {
                    "21" => ContentType::Alert,
                    "22" => ContentType::Handshake,
                    _ => ContentType::ApplicationData,
                };
                all.last_mut().unwrap().records.push((content_type, hex(content), hex(record)));
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(all.len(), 6);
    all
}

fn seal(
    sealer: &mut Sealer,
    content_type: ContentType,
    content: &[u8],
) -> Result<Vec<u8>, RecordError> {
    let mut record = vec![0; sealer.record_len(content.len())];
    // In one piece and in several: they are sealed in different ways.
    let (first, second) = content.split_at(content.len() / 2);
    let pieces = [IoSlice::new(first), IoSlice::new(second)];
    let whole = [IoSlice::new(content)];
    let pieces = if content.len().is_multiple_of(4) { &pieces[..] } else { &whole[..] };
    let len =
        sealer.seal(content_type, &mut RecordContent::new(pieces), content.len(), &mut record)?;
    assert_eq!(len, record.len());
    Ok(record)
}

fn open(opener: &mut Opener, record: &[u8]) -> Result<(ContentType, Vec<u8>), RecordError> {
    let mut into = vec![0; record.len()];
    let (content_type, len) = opener.open(record, &mut into)?;
    into.truncate(len);
    Ok((content_type, into))
}

#[test]
fn every_suite_opens_and_seals_what_go_does() {
    for known in known() {
        let mut opener = known.opener(known.sequence);
        let mut sealer = known.sealer(known.sequence);
        for (content_type, content, record) in &known.records {
            let header =
                RecordHeader::whole(record, known.version, opener.overhead()).unwrap().unwrap();
            assert_eq!(header.record_len, record.len());
            let opened = open(&mut opener, record).unwrap();
            assert_eq!(opened, (*content_type, content.clone()), "{}", known.suite);
            let sealed = seal(&mut sealer, *content_type, content).unwrap();
            assert_eq!(sealed, *record, "{}", known.suite);
        }
    }
}

/// Go's session tickets are passed over, and its close is one.
#[test]
fn what_go_says_besides_data_is_understood() {
    for known in known() {
        let mut tickets = 0;
        for (content_type, content, _) in &known.records {
            match content_type {
                ContentType::Handshake => {
                    let mut messages = Messages::default();
                    assert_eq!(messages.take(content, true), Ok(None));
                    assert!(!messages.is_within());
                    let at_server = Messages::default().take(content, false);
                    assert_eq!(at_server, Err(RecordError::UnexpectedMessage(4)));
                    tickets += 1;
                }
                ContentType::Alert => {
                    assert_eq!(Alert::read(content, known.version), Ok(Alert::Close));
                }
                ContentType::ApplicationData => {}
            }
        }
        assert_eq!(tickets, usize::from(known.version == TlsVersion::Tls13));
    }
}

/// Any other number, key or byte, and nothing is opened.
#[test]
fn a_record_opens_at_its_place_alone() {
    for known in known() {
        let (_, _, record) = &known.records[1];
        for sequence in [known.sequence, known.sequence + 2, u64::MAX - 1] {
            let refused = open(&mut known.opener(sequence), record);
            assert_eq!(refused, Err(RecordError::Forged), "{} {sequence}", known.suite);
        }
        for at in 5..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 0x10;
            let refused = open(&mut known.opener(known.sequence + 1), &changed);
            assert_eq!(refused, Err(RecordError::Forged), "{} {at}", known.suite);
        }
        for len in 5..record.len() {
            assert!(open(&mut known.opener(known.sequence + 1), &record[..len]).is_err());
        }
        assert!(open(&mut known.opener(known.sequence + 1), record).is_ok());
    }
}

/// 2⁶⁴ − 1 would be followed by none, and is refused at both ends (RFC 8446 section 5.3).
#[test]
fn numbers_end_before_they_begin_anew() {
    for known in known() {
        let mut sealer = known.sealer(u64::MAX - 1);
        let last = seal(&mut sealer, ContentType::ApplicationData, b"last").unwrap();
        for _ in 0..2 {
            let more = seal(&mut sealer, ContentType::ApplicationData, b"more");
            assert_eq!(more, Err(RecordError::Exhausted));
        }
        let mut opener = known.opener(u64::MAX - 1);
        assert_eq!(open(&mut opener, &last).unwrap().1, b"last");
        assert_eq!(open(&mut opener, &last), Err(RecordError::Exhausted));
    }
}

/// AES-GCM seals 2^24.5 records of full size (RFC 8446 section 5.5); long before that the key is worn.
#[test]
fn keys_are_worn_before_their_confidentiality_is() {
    assert!((RECORDS_PER_KEY as f64).log2() < 24.5);
    for known in known() {
        match known.version {
            TlsVersion::Tls13 => {
                let mut sealer = known.sealer(RECORDS_PER_KEY - 1);
                assert!(!sealer.is_worn(RECORDS_PER_KEY));
                seal(&mut sealer, ContentType::ApplicationData, b"last").unwrap();
                assert!(sealer.is_worn(RECORDS_PER_KEY));
            }
            // There blocks count, whatever the number.
            TlsVersion::Tls12 => assert!(!known.sealer(RECORDS_PER_KEY).is_worn(RECORDS_PER_KEY)),
        }
    }
}

#[test]
fn the_longest_record_is_of_full_size() {
    for known in known() {
        let content = vec![7; PLAINTEXT_MAX];
        let sealed = seal(&mut known.sealer(1), ContentType::ApplicationData, &content).unwrap();
        let mut opener = known.opener(1);
        assert!(RecordHeader::whole(&sealed, known.version, opener.overhead()).unwrap().is_some());
        assert!(open(&mut opener, &sealed).unwrap().1 == content);
    }
}
