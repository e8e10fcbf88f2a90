//! What is done to each datagram on its way out and in, where there is a cipher: sealed, opened, and taken once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use rtun_core::udp_tunnel::{DatagramDrop, SaltWindow};
use rtun_proto::datagram_cipher::{DatagramCipher, MAX_SALT};

/// A service's cipher, or none. What it has sealed itself is not taken either: nobody can send its own datagrams back to it.
pub(super) struct Sealing {
    cipher: Option<DatagramCipher>,
    salts: Mutex<SaltWindow>,
}

impl Sealing {
    pub(super) fn new(cipher: Option<DatagramCipher>) -> Self {
        Self { cipher, salts: Mutex::default() }
    }

    /// The name of its method; none: clear text.
    pub(super) fn method(&self) -> Option<String> {
        self.cipher.as_ref().map(|cipher| cipher.method().to_string())
    }

    /// Whether there is a cipher.
    pub(super) fn is_sealed(&self) -> bool {
        self.cipher.is_some()
    }

    /// How many bytes stand before a frame in its datagram.
    pub(super) fn front(&self) -> usize {
        self.cipher.as_ref().map_or(0, |cipher| cipher.method().salt_len())
    }

    /// By how many bytes a datagram is longer than its frame.
    pub(super) fn overhead(&self) -> usize {
        self.cipher.as_ref().map_or(0, DatagramCipher::overhead)
    }

    /// Seals a datagram whose frame stands after [`front`](Self::front) bytes, with room for the rest after it.
    pub(super) fn seal(&self, datagram: &mut [u8]) -> Result<(), DatagramDrop> {
        let Some(cipher) = &self.cipher else { return Ok(()) };
        let front = self.front();
        let salt = datagram.get_mut(..front).ok_or(DatagramDrop::Malformed)?;
        // Never known to fail; without a fresh salt nothing may be sent.
        rand::fill(salt).map_err(|_| DatagramDrop::Send)?;
        self.salts().remember(salt);
        Ok(cipher.seal(datagram)?)
    }

    /// A frame in a datagram of its own.
    pub(super) fn sealed(&self, frame: &[u8]) -> Result<Vec<u8>, DatagramDrop> {
        let mut datagram = vec![0; self.overhead() + frame.len()];
        let front = self.front();
        datagram[front..front + frame.len()].copy_from_slice(frame);
        self.seal(&mut datagram)?;
        Ok(datagram)
    }

    /// The frame of a datagram, in `room` if it was sealed.
    pub(super) fn open<'a>(
        &self,
        datagram: &'a [u8],
        room: &'a mut [u8],
    ) -> Result<&'a [u8], DatagramDrop> {
        let Some(cipher) = &self.cipher else { return Ok(datagram) };
        let mut salt = [0; MAX_SALT];
        let front = self.front();
        if let Some(found) = cipher.salt(datagram) {
            salt[..front].copy_from_slice(found);
            if self.salts().has_seen(found) {
                return Err(DatagramDrop::Replayed);
            }
        }
        let len = cipher.open(datagram, room)?;
        self.salts().remember(&salt[..front]);
        Ok(&room[..len])
    }

    /// A poisoned lock still guards a usable window.
    fn salts(&self) -> MutexGuard<'_, SaltWindow> {
        self.salts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rtun_proto::datagram_cipher::CipherMethod;

    use super::*;

    fn end() -> Sealing {
        let cipher = DatagramCipher::from_password(CipherMethod::Aes256Gcm, "secret");
        Sealing::new(Some(cipher))
    }

    #[test]
    fn each_datagram_is_taken_once_and_none_of_ones_own() {
        let (one, other, mut room) = (end(), end(), [0; 200]);
        let datagram = one.sealed(b"a frame").unwrap();
        assert_ne!(datagram, one.sealed(b"a frame").unwrap());
        assert_eq!(other.open(&datagram, &mut room), Ok(&b"a frame"[..]));
        assert_eq!(other.open(&datagram, &mut room), Err(DatagramDrop::Replayed));
        assert_eq!(one.open(&datagram, &mut room), Err(DatagramDrop::Replayed));
        let mut changed = one.sealed(b"a frame").unwrap();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(other.open(&changed, &mut room), Err(DatagramDrop::Undecryptable));
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(other.open(&changed, &mut room), Ok(&b"a frame"[..]), "it was not counted");
        assert_eq!(other.open(&datagram[..47], &mut room), Err(DatagramDrop::Malformed));
        assert_eq!(other.open(&[], &mut room), Err(DatagramDrop::Malformed));
    }

    #[test]
    fn without_a_cipher_a_datagram_is_its_frame() {
        let clear = Sealing::new(None);
        assert_eq!(clear.sealed(b"a frame").unwrap(), b"a frame");
        assert_eq!(clear.open(b"a frame", &mut []), Ok(&b"a frame"[..]));
        assert_eq!((clear.front(), clear.overhead(), clear.method()), (0, 0, None));
    }
}
