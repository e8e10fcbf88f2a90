//! What the payloads of a stream's frames are, for queues that count and sort what is in them.

use crate::{
    ethernet::{EthernetFrame, ether_type},
    extension::{self, ip_packet, ip_packet_mut},
    packet::{Packet, mark_ce},
};

/// What the payloads of a stream's frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameContent {
    /// IP packets, and frames of the extension.
    #[default]
    Packets,
    /// Ethernet frames, sealed or not. What is sealed looks like a frame of no known protocol.
    Ethernet,
}

impl FrameContent {
    /// How many packets a payload counts as: a GSO frame as its segments, any other as one.
    #[inline]
    pub fn packets(self, payload: &[u8]) -> usize {
        match self {
            Self::Packets => extension::packets(payload),
            Self::Ethernet => 1,
        }
    }

    /// The hash of the flow that a payload belongs to. All without a whole IP packet are one flow.
    #[inline]
    pub fn flow_hash(self, payload: &[u8], seed: u64) -> u64 {
        let packet = match self {
            Self::Packets => ip_packet(payload),
            Self::Ethernet => ip_of_ethernet(payload).and_then(|start| payload.get(start..)),
        };
        let packet = packet.and_then(|packet| Packet::parse(packet).ok());
        packet.map_or(0, |packet| packet.flow_hash(seed))
    }

    /// Sets the CE mark of the IP packet in a payload; false where there is none, or one that takes no mark.
    #[inline]
    pub fn mark_ce(self, payload: &mut [u8]) -> bool {
        let packet = match self {
            Self::Packets => ip_packet_mut(payload),
            Self::Ethernet => {
                ip_of_ethernet(payload).and_then(|start| payload.get_mut(start..)).filter(
                    |packet| {
                        // Nothing else says that the frame is not sealed.
                        Packet::parse(packet).is_ok()
                    },
                )
            }
        };
        packet.is_some_and(mark_ce)
    }
}

/// Where the IP packet of an Ethernet frame begins.
fn ip_of_ethernet(bytes: &[u8]) -> Option<usize> {
    let frame = EthernetFrame::parse(bytes).ok()?;
    let is_ip = matches!(frame.ether_type(), ether_type::IPV4 | ether_type::IPV6);
    is_ip.then(|| bytes.len() - frame.payload().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Checksum;

    /// An IPv4 packet of UDP that can be marked, in an Ethernet frame.
    fn frame(port: u8) -> Vec<u8> {
        let mut packet =
            vec![0x45, 0x02, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = Checksum::new().add_bytes(&packet).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend([0, port, 0, 53, 0, 8, 0, 0]);
        [&[2; 12][..], &[8, 0], &packet].concat()
    }

    #[test]
    fn ethernet_frames_are_sorted_and_marked_by_the_packets_in_them() {
        let content = FrameContent::Ethernet;
        let (one, other) = (frame(1), frame(2));
        assert_eq!(content.flow_hash(&one, 7), FrameContent::Packets.flow_hash(&one[14..], 7));
        assert_ne!(content.flow_hash(&one, 7), content.flow_hash(&other, 7));
        let mut marked = one.clone();
        assert!(content.mark_ce(&mut marked));
        let mut expected = one[14..].to_vec();
        assert!(mark_ce(&mut expected));
        assert_eq!((&marked[..14], &marked[14..]), (&one[..14], &expected[..]));
    }

    #[test]
    fn what_is_no_ip_packet_is_left_alone_and_counts_as_one() {
        let content = FrameContent::Ethernet;
        let mut arp = frame(1);
        arp[13] = 6;
        // As an IP packet or a GSO frame would begin.
        for first in [0x45, 0x60, 3, 0xff] {
            let mut bytes = arp.clone();
            bytes[0] = first;
            let before = bytes.clone();
            assert!(!content.mark_ce(&mut bytes));
            assert_eq!((content.packets(&bytes), content.flow_hash(&bytes, 7)), (1, 0));
            assert_eq!(bytes, before);
        }
        let mut cut = frame(1);
        cut.truncate(30);
        assert!(!content.mark_ce(&mut cut));
        assert_eq!(content.flow_hash(&[], 7), 0);
    }
}
