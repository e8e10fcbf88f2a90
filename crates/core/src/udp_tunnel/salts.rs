//! Which sealed datagrams have been received before, by their salts.

use std::collections::HashSet;

/// How many salts are remembered at least.
const REMEMBERED: usize = 131_072;

/// The salts that were seen last: at least 131,072 and at most twice as many, in at most 5 MiB. What was seen before that can
/// be received a second time.
#[derive(Debug, Default)]
pub struct SaltWindow {
    /// Salts are random: their first eight bytes tell them apart.
    now: HashSet<u64>,
    before: HashSet<u64>,
}

impl SaltWindow {
    /// Whether this salt was seen.
    pub fn has_seen(&self, salt: &[u8]) -> bool {
        let salt = digits(salt);
        self.now.contains(&salt) || self.before.contains(&salt)
    }

    /// Remembers the salt of a datagram that has been opened, or sealed: nobody but who has the key can fill this up.
    pub fn remember(&mut self, salt: &[u8]) {
        if self.now.len() >= REMEMBERED {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
        }
        self.now.insert(digits(salt));
    }
}

fn digits(salt: &[u8]) -> u64 {
    salt.iter().take(8).fold(0, |digits, byte| digits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(n: usize) -> [u8; 16] {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&(n as u64).to_be_bytes());
        salt
    }

    #[test]
    fn the_last_salts_are_remembered_and_no_more_than_twice_as_many() {
        let mut window = SaltWindow::default();
        assert!(!window.has_seen(&salt(0)));
        for n in 0..5 * REMEMBERED / 2 {
            assert!(!window.has_seen(&salt(n)));
            window.remember(&salt(n));
            assert!(window.has_seen(&salt(n)));
            assert!(window.has_seen(&salt(n.saturating_sub(REMEMBERED - 1))));
        }
        assert!(!window.has_seen(&salt(0)));
        assert!(window.now.len() + window.before.len() <= 2 * REMEMBERED);
    }
}
