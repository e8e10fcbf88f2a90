//! What an IP packet carries after its headers, and whether it is a fragment.

use super::{
    Packet,
    layout::{v4, v6},
    protocol,
};

/// What an IP packet carries after all IP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper<'a> {
    /// The protocol of the payload. In a later fragment: the protocol at the beginning of the first fragment.
    pub protocol: u8,
    /// The payload; may be empty.
    pub payload: &'a [u8],
    /// The position of the payload, if it is only a part.
    pub fragment: Option<Fragment>,
}

/// The position of a fragment in its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// In bytes; 0 is the first one.
    pub offset: usize,
    /// Whether others follow.
    pub more: bool,
}

impl Fragment {
    fn new(offset: usize, more: bool) -> Option<Self> {
        (offset > 0 || more).then_some(Self { offset, more })
    }
}

impl<'a> Packet<'a> {
    /// Whether the packet is one of several fragments. An IPv6 packet with a fragment header that is all of its
    /// datagram (RFC 6946) is not.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.upper().is_some_and(|upper| upper.fragment.is_some())
    }

    /// What follows the IP headers; none if the chain of IPv6 extension headers is cut, impossible or longer than any legal
    /// one.
    #[inline]
    pub fn upper(&self) -> Option<Upper<'a>> {
        if self.is_v4() {
            let word = u16::from_be_bytes(self.array(v4::FRAGMENT));
            let fragment = Fragment::new(
                usize::from(word & v4::FRAGMENT_OFFSET) * 8,
                word & v4::MORE_FRAGMENTS != 0,
            );
            let payload = &self.bytes[self.header_len()..];
            Some(Upper { protocol: self.protocol(), payload, fragment })
        } else {
            self.upper_v6()
        }
    }

    fn upper_v6(&self) -> Option<Upper<'a>> {
        let mut protocol = self.protocol();
        let mut payload = &self.bytes[v6::HEADER..];
        let mut fragment = None;
        for _ in 0..v6::MAX_EXTENSIONS {
            // A later fragment has only data after its header, also if its next header says otherwise.
            if fragment.is_some_and(|fragment: Fragment| fragment.offset > 0) {
                break;
            }
            let len = match protocol {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY => (usize::from(*payload.get(v6::EXTENSION_LENGTH)?) + 1) * 8,
                // Counted in words of 32 bits less two (RFC 4302 section 2.2).
                protocol::AUTHENTICATION => {
                    let len = (usize::from(*payload.get(v6::EXTENSION_LENGTH)?) + 2) * 4;
                    if len < v6::MIN_AUTHENTICATION {
                        return None;
                    }
                    len
                }
                protocol::FRAGMENT => {
                    let word = payload.get(v6::FRAGMENT..)?.first_chunk()?;
                    let word = u16::from_be_bytes(*word);
                    fragment = Fragment::new(
                        usize::from(word & v6::FRAGMENT_OFFSET),
                        word & v6::MORE_FRAGMENTS != 0,
                    );
                    v6::FRAGMENT_HEADER
                }
                _ => return Some(Upper { protocol, payload, fragment }),
            };
            protocol = *payload.first()?;
            payload = payload.get(len..)?;
        }
        let is_data = fragment.is_some_and(|fragment| fragment.offset > 0);
        is_data.then_some(Upper { protocol, payload, fragment })
    }
}
