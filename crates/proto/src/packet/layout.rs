//! Offsets and values of the IP headers.

/// Offsets and values of the IPv4 header (RFC 791 section 3.1).
pub(super) mod v4 {
    pub(crate) const MIN_HEADER: usize = 20;
    pub(crate) const DSCP_ECN: usize = 1;
    pub(crate) const TOTAL_LENGTH: usize = 2;
    pub(crate) const FRAGMENT: usize = 6;
    pub(crate) const TTL: usize = 8;
    pub(crate) const PROTOCOL: usize = 9;
    pub(crate) const CHECKSUM: usize = 10;
    pub(crate) const SOURCE: usize = 12;
    pub(crate) const DESTINATION: usize = 16;
    /// In the byte at `FRAGMENT`.
    pub(crate) const DO_NOT_FRAGMENT: u8 = 0x40;
    /// In the word at `FRAGMENT`.
    pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
    pub(crate) const FRAGMENT_OFFSET: u16 = 0x1fff;
}

/// Offsets and values of the IPv6 header (RFC 8200 section 3) and its fragment header (section 4.5).
pub(super) mod v6 {
    pub(crate) const HEADER: usize = 40;
    pub(crate) const PAYLOAD_LENGTH: usize = 4;
    pub(crate) const NEXT_HEADER: usize = 6;
    pub(crate) const HOP_LIMIT: usize = 7;
    pub(crate) const SOURCE: usize = 8;
    pub(crate) const DESTINATION: usize = 24;
    /// In an extension header.
    pub(crate) const EXTENSION_LENGTH: usize = 1;
    /// The fixed part of an authentication header (RFC 4302 section 2).
    pub(crate) const MIN_AUTHENTICATION: usize = 12;
    pub(crate) const FRAGMENT_HEADER: usize = 8;
    pub(crate) const FRAGMENT: usize = 2;
    /// In the word at `FRAGMENT`.
    pub(crate) const MORE_FRAGMENTS: u16 = 0x0001;
    /// In units of 8 bytes, without the lower three bits.
    pub(crate) const FRAGMENT_OFFSET: u16 = 0xfff8;
    /// A legal packet has at most one of each kind, destination options twice (RFC 8200 section 4.1); a longer chain is
    /// not followed.
    pub(crate) const MAX_EXTENSIONS: usize = 8;
}
