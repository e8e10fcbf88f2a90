//! The closed list of ways to lose a datagram of a UDP tunnel.

use rtun_proto::{datagram_cipher::CipherError, ethernet::ShortFrame, udp_tunnel::DatagramError};
use serde::{Deserialize, Serialize};

/// Why a datagram, or the packet of a device, went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DatagramDrop {
    /// Neither a packet or frame nor a message: empty, cut, or of a length that no message has.
    Malformed,
    /// Longer than its receiver can take.
    TooBig,
    /// Data from an address and port that nobody has registered from.
    Unregistered,
    /// The source is neither an address of its sender nor in a network behind it.
    Spoofed,
    /// Nobody has the destination.
    NoRoute,
    /// Link-local and multicast packets, which stay on their own link; a frame whose destination is
    /// where it came from.
    Local,
    /// A register with a wrong passphrase; a sender that an admission refuses.
    Auth,
    /// A register of the server's own address; a frame from the hardware address of the device.
    OwnAddress,
    /// A register of an address that is not in the server's networks, or is nobody's; a frame from
    /// a hardware address that no machine has.
    BadAddress,
    /// A register of an address that another client has and keeps; a frame of a new client from a
    /// hardware address that was elsewhere a moment ago.
    Duplicate,
    /// As many addresses are registered, or clients known, as may be.
    TableFull,
    /// Registers come too often; more copies of frames for all than one batch may have.
    Rate,
    /// It cannot be decrypted.
    Undecryptable,
    /// It has been received before.
    Replayed,
    /// The socket did not take it.
    Send,
    /// The device did not take it.
    Device,
    /// A client has no server to send to.
    NotConnected,
    /// A limit lets less through than is sent.
    RateLimited,
    /// A quota is used up.
    QuotaExceeded,
}

impl DatagramDrop {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::TooBig,
        Self::Unregistered,
        Self::Spoofed,
        Self::NoRoute,
        Self::Local,
        Self::Auth,
        Self::OwnAddress,
        Self::BadAddress,
        Self::Duplicate,
        Self::TableFull,
        Self::Rate,
        Self::Undecryptable,
        Self::Replayed,
        Self::Send,
        Self::Device,
        Self::NotConnected,
        Self::RateLimited,
        Self::QuotaExceeded,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Position in [`DatagramDrop::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The fixed word used in logs, metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooBig => "too_big",
            Self::Unregistered => "unregistered",
            Self::Spoofed => "spoofed",
            Self::NoRoute => "no_route",
            Self::Local => "local",
            Self::Auth => "auth",
            Self::OwnAddress => "own_address",
            Self::BadAddress => "bad_address",
            Self::Duplicate => "duplicate",
            Self::TableFull => "table_full",
            Self::Rate => "rate",
            Self::Undecryptable => "undecryptable",
            Self::Replayed => "replayed",
            Self::Send => "send",
            Self::Device => "device",
            Self::NotConnected => "not_connected",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }

    /// What it means and what to look at, for people.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Malformed => {
                "Neither a packet or frame nor a message: empty, cut, or of a length that no message has. Look at: the sender, an attack."
            }
            Self::TooBig => "Longer than its receiver can take. Look at: MTU.",
            Self::Unregistered => {
                "Data from an address and port that nobody has registered from. Look at: a client without keepalive after a restart, or an attack."
            }
            Self::Spoofed => {
                "The source is neither an address of its sender nor in a network behind it. Look at: a missing route for that network, or an attack."
            }
            Self::NoRoute => {
                "Nobody has the destination. Look at: `route`, `routes`, the client that should have it."
            }
            Self::Local => {
                "Link-local and multicast packets, which stay on their own link; a frame whose destination is where it came from. Normal noise."
            }
            Self::Auth => {
                "A register with a wrong passphrase; a sender that an admission refuses. Look at: the client's passphrase, the auther's user of that address; the admission."
            }
            Self::OwnAddress => {
                "A register of the server's own address; a frame from the hardware address of the device. Look at: the client's `net`; a loop between networks that are bridged."
            }
            Self::BadAddress => {
                "A register of an address that is not in the server's networks, or is nobody's; a frame from a hardware address that no machine has. Look at: the client's `net`, `allow`; an attack."
            }
            Self::Duplicate => {
                "A register of an address that another client has and keeps; a frame of a new client from a hardware address that was elsewhere a moment ago. Look at: two clients with one `net` or `mac`."
            }
            Self::TableFull => {
                "As many addresses are registered, or clients known, as may be. Look at: an attack."
            }
            Self::Rate => {
                "Registers come too often; more copies of frames for all than one batch may have. Look at: an attack, a loop."
            }
            Self::Undecryptable => {
                "It cannot be decrypted. Look at: cipher and password of both ends."
            }
            Self::Replayed => "It has been received before. Look at: an attack.",
            Self::Send => "The socket did not take it. Look at: the network.",
            Self::Device => "The device did not take it. Look at: the machine.",
            Self::NotConnected => {
                "A client has no server to send to. Look at: the server, the network."
            }
            Self::RateLimited => {
                "A limit of the configuration lets less through than is sent. Look at: the service's `limiter`."
            }
            Self::QuotaExceeded => {
                "A quota of the service is used up. Look at: `quotas`, `rtun status`."
            }
        }
    }
}

impl From<DatagramError> for DatagramDrop {
    fn from(_: DatagramError) -> Self {
        Self::Malformed
    }
}

impl From<ShortFrame> for DatagramDrop {
    fn from(_: ShortFrame) -> Self {
        Self::Malformed
    }
}

impl From<CipherError> for DatagramDrop {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Short(_) => Self::Malformed,
            CipherError::Undecryptable => Self::Undecryptable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_is_complete_and_every_word_its_own() {
        for (position, reason) in DatagramDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        let words: HashSet<_> = DatagramDrop::ALL.map(DatagramDrop::as_str).into_iter().collect();
        assert_eq!(words.len(), DatagramDrop::COUNT);
    }
}
