//! The cipher of GOST's Ethernet tunnel: each datagram sealed on its own, as Shadowsocks does it over UDP (SIP004), without
//! an address in front.
//!
//! ```text
//! +---------------------+----------------+-----------+
//! |  salt (16 or 32)    |  ciphertext    |  tag (16) |
//! +---------------------+----------------+-----------+
//! ```
//!
//! The salt is random and as long as the key, at least 16 bytes. A datagram's own key is HKDF-SHA1 (RFC 5869) of the key, with
//! that salt and the text `ss-subkey`; its nonce is 0. Nothing tells the order of datagrams: who receives one twice has to
//! notice by its salt.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce},
    aead::{Algorithm, UnboundKey},
    hkdf::{HKDF_SHA1_FOR_LEGACY_USE_ONLY, KeyType, Salt},
};
use md5::{Digest, Md5};

/// The length of a tag, in bytes.
pub const TAG: usize = 16;

/// The length of the longest salt and key, in bytes.
pub const MAX_SALT: usize = 32;

/// The most bytes that any method adds to a frame.
pub const MAX_OVERHEAD: usize = MAX_SALT + TAG;

/// What a datagram is sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CipherMethod {
    /// AES-128-GCM (NIST SP 800-38D).
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
}

/// A text that names no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such cipher: it is aes-128-gcm, aes-256-gcm or chacha20-ietf-poly1305")]
pub struct UnknownMethod;

/// A key of another length than its method's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of {method} has {} bytes, not {len}", method.key_len())]
pub struct KeyLength {
    /// What the key is for.
    pub method: CipherMethod,
    /// Its length in bytes.
    pub len: usize,
}

/// Why a datagram cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CipherError {
    /// It has no room for a salt and a tag.
    #[error("{0} bytes are no sealed datagram")]
    Short(usize),
    /// Another method or key has sealed it, or somebody has changed it.
    #[error("the datagram cannot be decrypted")]
    Undecryptable,
}

/// A method and its key. Comparing two does not take constant time: it is for configurations.
#[derive(Clone, PartialEq, Eq)]
pub struct DatagramCipher {
    method: CipherMethod,
    /// As long as the method says; the rest is 0.
    key: [u8; MAX_SALT],
}

impl CipherMethod {
    /// The length of a key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The length of a salt, in bytes.
    pub const fn salt_len(self) -> usize {
        self.key_len()
    }

    /// Its name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-ietf-poly1305",
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

impl fmt::Display for CipherMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CipherMethod {
    type Err = UnknownMethod;

    /// In any case, by Shadowsocks' name or IANA's (`AEAD_AES_256_GCM`).
    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        match text.to_ascii_lowercase().as_str() {
            "aes-128-gcm" | "aead_aes_128_gcm" => Ok(Self::Aes128Gcm),
            "aes-256-gcm" | "aead_aes_256_gcm" => Ok(Self::Aes256Gcm),
            "chacha20-ietf-poly1305" | "aead_chacha20_poly1305" => Ok(Self::ChaCha20Poly1305),
            _ => Err(UnknownMethod),
        }
    }
}

impl DatagramCipher {
    /// With the key that `password` becomes, as OpenSSL makes one (`EVP_BytesToKey` with MD5, one round and no salt). It is as
    /// hard to guess as the password.
    pub fn from_password(method: CipherMethod, password: &str) -> Self {
        let mut key = [0; MAX_SALT];
        let mut last: Option<[u8; 16]> = None;
        for part in key[..method.key_len()].chunks_exact_mut(16) {
            let mut hash = Md5::new();
            if let Some(last) = last {
                hash.update(last);
            }
            hash.update(password);
            let sum: [u8; 16] = hash.finalize().into();
            part.copy_from_slice(&sum);
            last = Some(sum);
        }
        Self { method, key }
    }

    /// With this key.
    pub fn from_key(method: CipherMethod, key: &[u8]) -> Result<Self, KeyLength> {
        let len = key.len();
        if len != method.key_len() {
            return Err(KeyLength { method, len });
        }
        let mut whole = [0; MAX_SALT];
        whole[..len].copy_from_slice(key);
        Ok(Self { method, key: whole })
    }

    /// What it seals with.
    pub const fn method(&self) -> CipherMethod {
        self.method
    }

    /// By how many bytes a datagram is longer than what is in it.
    pub const fn overhead(&self) -> usize {
        self.method.salt_len() + TAG
    }

    /// The salt of a sealed datagram; none: it has no room for one and a tag.
    #[inline]
    pub fn salt<'a>(&self, datagram: &'a [u8]) -> Option<&'a [u8]> {
        (datagram.len() >= self.overhead()).then(|| &datagram[..self.method.salt_len()])
    }

    /// Seals a datagram in place: its salt stands in front, which must never be used again with this key, and room for the tag
    /// behind.
    ///
    /// # Errors
    ///
    /// [`CipherError::Short`]: it has no room for a salt and a tag. Nothing is changed.
    pub fn seal(&self, datagram: &mut [u8]) -> Result<(), CipherError> {
        let short = CipherError::Short(datagram.len());
        if datagram.len() < self.overhead() {
            return Err(short);
        }
        let (salt, rest) = datagram.split_at_mut(self.method.salt_len());
        let (text, room) = rest.split_at_mut(rest.len() - TAG);
        let key = self.key_of(salt).ok_or(short)?;
        let tag = key.seal_in_place_separate_tag(zero(), Aad::empty(), text);
        room.copy_from_slice(tag.map_err(|_| short)?.as_ref());
        Ok(())
    }

    /// Opens a datagram and tells how many bytes it has written to `text`, which has room for as many as the datagram has.
    ///
    /// # Errors
    ///
    /// It is none, or does not open; then nothing of `text` means anything.
    pub fn open(&self, datagram: &[u8], text: &mut [u8]) -> Result<usize, CipherError> {
        let Some(salt) = self.salt(datagram) else {
            return Err(CipherError::Short(datagram.len()));
        };
        let sealed = &datagram[salt.len()..datagram.len() - TAG];
        let tag = &datagram[datagram.len() - TAG..];
        let wrong = CipherError::Undecryptable;
        let text = text.get_mut(..sealed.len()).ok_or(wrong)?;
        let key = self.key_of(salt).ok_or(wrong)?;
        let opened = key.open_separate_gather(zero(), Aad::empty(), sealed, tag, text);
        opened.map(|()| sealed.len()).map_err(|_| wrong)
    }

    /// The key of one datagram.
    fn key_of(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let len = self.method.key_len();
        let mut bytes = [0; MAX_SALT];
        let secret = Salt::new(HKDF_SHA1_FOR_LEGACY_USE_ONLY, salt).extract(&self.key[..len]);
        let key = secret.expand(&[b"ss-subkey"], Length(len)).ok()?;
        key.fill(&mut bytes[..len]).ok()?;
        Some(LessSafeKey::new(UnboundKey::new(self.method.algorithm(), &bytes[..len]).ok()?))
    }
}

impl fmt::Debug for DatagramCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.method)
    }
}

/// How many bytes are asked of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [CipherMethod; 3] =
        [CipherMethod::Aes128Gcm, CipherMethod::Aes256Gcm, CipherMethod::ChaCha20Poly1305];

    fn sealed(cipher: &DatagramCipher, salt: u8, text: &[u8]) -> Vec<u8> {
        let mut datagram = vec![salt; cipher.method.salt_len()];
        datagram.extend_from_slice(text);
        datagram.extend_from_slice(&[0; TAG]);
        cipher.seal(&mut datagram).unwrap();
        datagram
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone() {
        for method in METHODS {
            let cipher = DatagramCipher::from_password(method, "secret");
            for text in [&b""[..], b"x", &[7; 1500]] {
                let datagram = sealed(&cipher, 3, text);
                assert_eq!(datagram.len(), text.len() + cipher.overhead());
                assert_ne!(datagram, sealed(&cipher, 4, text));
                let mut room = vec![0; datagram.len()];
                assert_eq!(cipher.open(&datagram, &mut room), Ok(text.len()));
                assert_eq!(room[..text.len()], *text);
                for other in METHODS {
                    let wrong = DatagramCipher::from_password(other, "Secret");
                    assert!(wrong.open(&datagram, &mut room).is_err());
                }
            }
        }
    }

    #[test]
    fn any_change_and_any_cut_is_noticed() {
        for method in METHODS {
            let cipher = DatagramCipher::from_password(method, "secret");
            let datagram = sealed(&cipher, 9, b"a frame");
            let mut room = [0; 100];
            for at in 0..datagram.len() {
                let mut changed = datagram.clone();
                changed[at] ^= 1;
                assert_eq!(cipher.open(&changed, &mut room), Err(CipherError::Undecryptable));
                let cut = cipher.open(&datagram[..at], &mut room);
                let short = at < cipher.overhead();
                let expected =
                    if short { CipherError::Short(at) } else { CipherError::Undecryptable };
                assert_eq!(cut, Err(expected));
            }
            let mut short = vec![0; cipher.overhead() - 1];
            assert_eq!(cipher.seal(&mut short), Err(CipherError::Short(short.len())));
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        for (text, method) in [
            ("AES-128-GCM", CipherMethod::Aes128Gcm),
            ("AEAD_AES_256_GCM", CipherMethod::Aes256Gcm),
            ("chacha20-ietf-Poly1305", CipherMethod::ChaCha20Poly1305),
            ("aead_chacha20_poly1305", CipherMethod::ChaCha20Poly1305),
        ] {
            assert_eq!(text.parse(), Ok(method));
            assert_eq!(method.as_str().parse(), Ok(method));
        }
        for text in ["", "aes-192-gcm", "aes-256-cfb", "none", "dummy"] {
            assert_eq!(text.parse::<CipherMethod>(), Err(UnknownMethod));
        }
    }

    #[test]
    fn a_key_has_its_length_and_is_not_shown() {
        for method in METHODS {
            for len in 0..40 {
                let key = DatagramCipher::from_key(method, &vec![1; len]);
                assert_eq!(key.is_ok(), len == method.key_len(), "{method} {len}");
            }
        }
        let error = DatagramCipher::from_key(CipherMethod::Aes128Gcm, b"short").unwrap_err();
        assert_eq!(error.to_string(), "a key of aes-128-gcm has 16 bytes, not 5");
        let cipher = DatagramCipher::from_password(CipherMethod::Aes256Gcm, "secret");
        assert_eq!(format!("{cipher:?}"), "aes-256-gcm:***");
    }
}
