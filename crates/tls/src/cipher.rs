//! Sealing and opening records: the keys of one direction, none of which ever sees a nonce twice.

use std::io::IoSlice;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::{
    protocol::TlsVersion,
    record::{ContentType, HEADER_LEN, PLAINTEXT_MAX, RecordError, RecordHeader, unpad},
};

/// Bytes of every algorithm's tag.
const TAG_LEN: usize = MAX_TAG_LEN;
/// Bytes of the nonce that AES-GCM sends along in TLS 1.2 (RFC 5288).
const EXPLICIT_LEN: usize = 8;

/// What records are sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// With a key of 16 bytes.
    Aes128Gcm,
    /// With a key of 32 bytes.
    Aes256Gcm,
    /// With a key of 32 bytes.
    Chacha20Poly1305,
}

/// Where a record's nonce and additional data come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NonceForm {
    /// RFC 8446 section 5.2.
    Tls13,
    /// RFC 5288: part of the nonce is in the record.
    Tls12Explicit,
    /// RFC 7905: the nonce is as in TLS 1.3.
    Tls12Implicit,
}

/// The key of one direction and the number of the next record. Numbers only ever go up, and there is no second instance: this is
/// what keeps nonces unique.
struct Keyed {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    form: NonceForm,
    sequence: u64,
}

impl Keyed {
    fn new(secrets: &ConnectionTrafficSecrets, sequence: u64, version: TlsVersion) -> Option<Self> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Algorithm::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Algorithm::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Algorithm::Chacha20Poly1305, key, iv)
            }
            _ => return None,
        };
        Self::of(algorithm, key.as_ref(), iv.as_ref().try_into().ok()?, sequence, version)
    }

    fn of(
        algorithm: Algorithm,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        sequence: u64,
        version: TlsVersion,
    ) -> Option<Self> {
        let (aead, implicit) = match algorithm {
            Algorithm::Aes128Gcm => (&AES_128_GCM, false),
            Algorithm::Aes256Gcm => (&AES_256_GCM, false),
            Algorithm::Chacha20Poly1305 => (&CHACHA20_POLY1305, true),
        };
        let form = match (version, implicit) {
            (TlsVersion::Tls13, _) => NonceForm::Tls13,
            (TlsVersion::Tls12, false) => NonceForm::Tls12Explicit,
            (TlsVersion::Tls12, true) => NonceForm::Tls12Implicit,
        };
        let key = LessSafeKey::new(UnboundKey::new(aead, key).ok()?);
        Some(Self { key, iv, form, sequence })
    }

    /// The number of the next record, which is used up by it.
    fn next(&mut self) -> Result<u64, RecordError> {
        let number = self.sequence;
        self.sequence = number.checked_add(1).ok_or(RecordError::Exhausted)?;
        Ok(number)
    }

    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    fn explicit_len(&self) -> usize {
        match self.form {
            NonceForm::Tls12Explicit => EXPLICIT_LEN,
            NonceForm::Tls13 | NonceForm::Tls12Implicit => 0,
        }
    }

    /// Bytes of a body that are neither content nor TLS 1.3's type.
    fn overhead(&self) -> usize {
        self.explicit_len() + TAG_LEN
    }
}

/// RFC 5246 section 6.2.3.3.
fn tls12_aad(number: u64, header: [u8; HEADER_LEN], content_len: usize) -> Aad<[u8; 13]> {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&number.to_be_bytes());
    aad[8..11].copy_from_slice(&header[..3]);
    aad[11..].copy_from_slice(&(content_len as u16).to_be_bytes());
    Aad::from(aad)
}

/// Blocks of 16 bytes that are sealed under one key of TLS 1.2, which knows no update: as many as RFC 8446 section 5.5 allows in
/// records of full size, 256 GiB.
const TLS12_BLOCKS_MAX: u64 = 1 << 34;

/// Seals what this side sends.
pub struct Sealer {
    keyed: Keyed,
    blocks: u64,
}

impl Sealer {
    /// From the secrets of the records from number `sequence` on; `None` for an algorithm that is not known.
    pub fn new(
        secrets: &ConnectionTrafficSecrets,
        sequence: u64,
        version: TlsVersion,
    ) -> Option<Self> {
        Keyed::new(secrets, sequence, version).map(|keyed| Self { keyed, blocks: 0 })
    }

    /// From a key and what its nonces are made of; `None` for a key of the wrong length.
    pub fn with_key(
        algorithm: Algorithm,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        sequence: u64,
        version: TlsVersion,
    ) -> Option<Self> {
        let keyed = Keyed::of(algorithm, key, iv, sequence, version)?;
        Some(Self { keyed, blocks: 0 })
    }

    /// Whether this key has to be replaced: after `records_max` records, and in TLS 1.2 after `TLS12_BLOCKS_MAX`.
    pub fn is_worn(&self, records_max: u64) -> bool {
        match self.keyed.form {
            NonceForm::Tls13 => self.keyed.sequence >= records_max,
            NonceForm::Tls12Explicit | NonceForm::Tls12Implicit => self.blocks >= TLS12_BLOCKS_MAX,
        }
    }

    /// The length of a record that carries `content_len` bytes.
    pub fn record_len(&self, content_len: usize) -> usize {
        let inner_type = usize::from(self.keyed.form == NonceForm::Tls13);
        HEADER_LEN + content_len + inner_type + self.keyed.overhead()
    }

    /// Seals the next `len` bytes of `content`, at most [`PLAINTEXT_MAX`], into a record at the beginning of `into`, which has
    /// room for it; the record's length.
    pub fn seal(
        &mut self,
        content_type: ContentType,
        content: &mut RecordContent<'_>,
        len: usize,
        into: &mut [u8],
    ) -> Result<usize, RecordError> {
        debug_assert!(len <= PLAINTEXT_MAX);
        let number = self.keyed.next()?;
        self.blocks += 2 + len as u64 / 16;
        let record_len = self.record_len(len);
        let (header_place, body) = into[..record_len].split_at_mut(HEADER_LEN);
        let outer_type = match self.keyed.form {
            NonceForm::Tls13 => ContentType::ApplicationData,
            NonceForm::Tls12Explicit | NonceForm::Tls12Implicit => content_type,
        };
        let header = RecordHeader::write(outer_type, body.len());
        header_place.copy_from_slice(&header);
        let nonce = self.keyed.nonce(number);
        let (explicit, body) = body.split_at_mut(self.keyed.explicit_len());
        explicit.copy_from_slice(&nonce[NONCE_LEN - explicit.len()..]);
        let (sealed, trailer) = body.split_at_mut(len);
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.keyed.form {
            NonceForm::Tls13 => {
                let inner_type = [content_type.code()];
                self.seal_with(nonce, Aad::from(header), content, sealed, &inner_type, trailer)
            }
            NonceForm::Tls12Explicit | NonceForm::Tls12Implicit => {
                let aad = tls12_aad(number, header, len);
                self.seal_with(nonce, aad, content, sealed, &[], trailer)
            }
        }?;
        Ok(record_len)
    }

    fn seal_with<A: AsRef<[u8]>>(
        &self,
        nonce: Nonce,
        aad: Aad<A>,
        content: &mut RecordContent<'_>,
        sealed: &mut [u8],
        inner_type: &[u8],
        trailer: &mut [u8],
    ) -> Result<(), RecordError> {
        let key = &self.keyed.key;
        let result = match content.take_slice(sealed.len()) {
            Some(plain) => {
                key.seal_out_of_place_scatter(nonce, aad, plain, sealed, inner_type, trailer)
            }
            None => {
                content.copy_to(sealed);
                key.seal_in_place_scatter(nonce, aad, sealed, inner_type, trailer)
            }
        };
        result.map_err(|_| RecordError::Exhausted)
    }
}

/// Bytes in pieces, taken from the beginning.
pub struct RecordContent<'a> {
    pieces: &'a [IoSlice<'a>],
    /// Taken of the first piece.
    taken: usize,
}

impl<'a> RecordContent<'a> {
    /// All of `pieces`.
    pub fn new(pieces: &'a [IoSlice<'a>]) -> Self {
        Self { pieces, taken: 0 }
    }

    /// The next `len` bytes if they lie in one piece.
    fn take_slice(&mut self, len: usize) -> Option<&'a [u8]> {
        while self.pieces.len() > 1 && self.pieces[0].len() == self.taken {
            self.pieces = &self.pieces[1..];
            self.taken = 0;
        }
        let Some(piece) = self.pieces.first() else { return (len == 0).then_some(&[]) };
        let slice = piece.get(self.taken..self.taken + len)?;
        self.taken += len;
        Some(slice)
    }

    /// Copies the next bytes, of which there are enough.
    fn copy_to(&mut self, mut into: &mut [u8]) {
        while !into.is_empty() {
            let rest = &self.pieces[0][self.taken..];
            let len = rest.len().min(into.len());
            into[..len].copy_from_slice(&rest[..len]);
            into = &mut into[len..];
            self.taken += len;
            if self.taken == self.pieces[0].len() {
                self.pieces = &self.pieces[1..];
                self.taken = 0;
            }
        }
    }
}

/// Opens what the other side sends. A number is used up even by a record that is refused.
pub struct Opener(Keyed);

impl Opener {
    /// From the secrets of the records from number `sequence` on; `None` for an algorithm that is not known.
    pub fn new(
        secrets: &ConnectionTrafficSecrets,
        sequence: u64,
        version: TlsVersion,
    ) -> Option<Self> {
        Keyed::new(secrets, sequence, version).map(Self)
    }

    /// From a key and what its nonces are made of; `None` for a key of the wrong length.
    pub fn with_key(
        algorithm: Algorithm,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        sequence: u64,
        version: TlsVersion,
    ) -> Option<Self> {
        Keyed::of(algorithm, key, iv, sequence, version).map(Self)
    }

    /// Bytes of a record's body that are neither content nor TLS 1.3's type.
    pub fn overhead(&self) -> usize {
        self.0.overhead()
    }

    /// Opens a whole record into the beginning of `into`, which has room for its body without [`Self::overhead`]: its true type,
    /// and the length of its content.
    pub fn open(
        &mut self,
        record: &[u8],
        into: &mut [u8],
    ) -> Result<(ContentType, usize), RecordError> {
        let number = self.0.next()?;
        let (header, body) = record.split_first_chunk().ok_or(RecordError::TooShort)?;
        let mut nonce = self.0.nonce(number);
        let explicit_len = self.0.explicit_len();
        let (explicit, body) = body.split_at_checked(explicit_len).ok_or(RecordError::TooShort)?;
        nonce[NONCE_LEN - explicit_len..].copy_from_slice(explicit);
        let (sealed, tag) = body.split_last_chunk::<TAG_LEN>().ok_or(RecordError::TooShort)?;
        let inner = &mut into[..sealed.len()];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = &self.0.key;
        match self.0.form {
            NonceForm::Tls13 => {
                key.open_separate_gather(nonce, Aad::from(*header), sealed, tag, inner)
            }
            NonceForm::Tls12Explicit | NonceForm::Tls12Implicit => {
                let aad = tls12_aad(number, *header, sealed.len());
                key.open_separate_gather(nonce, aad, sealed, tag, inner)
            }
        }
        .map_err(|_| RecordError::Forged)?;
        match self.0.form {
            NonceForm::Tls13 => unpad(inner),
            NonceForm::Tls12Explicit | NonceForm::Tls12Implicit if inner.len() > PLAINTEXT_MAX => {
                Err(RecordError::TooLong)
            }
            NonceForm::Tls12Explicit | NonceForm::Tls12Implicit => {
                let header = RecordHeader::read(record, TlsVersion::Tls12, self.overhead())?;
                let header = header.ok_or(RecordError::TooShort)?;
                Ok((header.content_type, inner.len()))
            }
        }
    }
}
