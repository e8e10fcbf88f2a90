//! Packets built field by field, and the segments that a device makes of a GSO packet.

use rtun_proto::offload::{VirtioHeader, flag, gso_type};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;
pub(crate) const DF: u16 = 0x4000;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// Every field of a TCP or UDP packet that a test may want to choose.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) v6: bool,
    pub(crate) protocol: u8,
    /// The last bytes of source and destination address.
    pub(crate) hosts: [u8; 2],
    pub(crate) ports: [u16; 2],
    pub(crate) dscp_ecn: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) fragment: u16,
    pub(crate) ip_options: Vec<u8>,
    /// The protocol of the first IPv6 extension header, and all of them; the last one says `protocol`.
    pub(crate) extensions: (u8, Vec<u8>),
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Fields {
    pub(crate) fn new(v6: bool, protocol: u8, payload: Vec<u8>) -> Self {
        Self {
            v6,
            protocol,
            hosts: [1, 2],
            ports: [1000, 80],
            dscp_ecn: 0x02,
            ttl: 64,
            id: 0xfffe,
            fragment: DF,
            ip_options: Vec::new(),
            extensions: (0, Vec::new()),
            sequence: 0xffff_ff00,
            acknowledgment: 77,
            flags: ACK,
            window: 500,
            urgent: 0,
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload,
        }
    }

    pub(crate) fn transport(&self) -> usize {
        if self.v6 { 40 + self.extensions.1.len() } else { 20 + self.ip_options.len() }
    }

    pub(crate) fn headers(&self) -> usize {
        self.transport() + if self.protocol == TCP { 20 + self.tcp_options.len() } else { 8 }
    }

    fn checksum_place(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    /// The finished packet.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut packet = self.build_partial();
        let (transport, place) = (self.transport(), self.checksum_place());
        let mut sum = !sum(&packet[transport..]);
        if sum == 0 && self.protocol == UDP {
            sum = 0xffff;
        }
        put(&mut packet[transport + place..], sum);
        packet
    }

    /// The packet with only the sum of the pseudo-header in its checksum field.
    pub(crate) fn build_partial(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.ports[0].to_be_bytes());
        segment.extend(self.ports[1].to_be_bytes());
        if self.protocol == TCP {
            segment.extend(self.sequence.to_be_bytes());
            segment.extend(self.acknowledgment.to_be_bytes());
            segment.push(u8::try_from((20 + self.tcp_options.len()) / 4).unwrap() << 4);
            segment.push(self.flags);
            segment.extend(self.window.to_be_bytes());
            segment.extend([0, 0]);
            segment.extend(self.urgent.to_be_bytes());
            segment.extend(&self.tcp_options);
        } else {
            segment.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
            segment.extend([0, 0]);
        }
        segment.extend(&self.payload);
        let pseudo_header = self.pseudo_header(segment.len());
        put(&mut segment[self.checksum_place()..], sum(&pseudo_header));

        let mut packet = self.ip_header(segment.len());
        packet.extend(segment);
        packet
    }

    fn addresses(&self) -> Vec<u8> {
        let net: &[u8] =
            if self.v6 { &[0xfd, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0] } else { &[10, 9, 0] };
        [net, &self.hosts[..1], net, &self.hosts[1..]].concat()
    }

    fn pseudo_header(&self, len: usize) -> Vec<u8> {
        let len = u32::try_from(len).unwrap().to_be_bytes();
        [&self.addresses()[..], &len, &[0, 0, 0, self.protocol]].concat()
    }

    fn ip_header(&self, segment: usize) -> Vec<u8> {
        if self.v6 {
            let (first, extensions) = &self.extensions;
            let next = if extensions.is_empty() { self.protocol } else { *first };
            let len = u16::try_from(extensions.len() + segment).unwrap().to_be_bytes();
            let class = [0x60 | self.dscp_ecn >> 4, self.dscp_ecn << 4 | 5, 1, 2];
            let fixed = [&class[..], &len, &[next, self.ttl], &self.addresses()];
            return [fixed.concat(), extensions.clone()].concat();
        }
        let len = 20 + self.ip_options.len();
        let mut header =
            vec![0x40 | u8::try_from(len / 4).unwrap(), self.dscp_ecn, 0, 0, 0, 0, 0, 0];
        put(&mut header[2..], u16::try_from(len + segment).unwrap());
        put(&mut header[4..], self.id);
        put(&mut header[6..], self.fragment);
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.addresses());
        header.extend(&self.ip_options);
        let check = !sum(&header);
        put(&mut header[10..], check);
        header
    }

    /// The header of a device for this packet with its partial checksum.
    pub(crate) fn virtio(&self, gso_size: u16) -> VirtioHeader {
        let mut kind = match (gso_size, self.protocol, self.v6) {
            (0, ..) => gso_type::NONE,
            (_, TCP, false) => gso_type::TCPV4,
            (_, TCP, true) => gso_type::TCPV6,
            _ => gso_type::UDP_L4,
        };
        if kind != gso_type::NONE && self.protocol == TCP && self.flags & CWR != 0 {
            kind |= gso_type::ECN;
        }
        VirtioHeader {
            flags: flag::NEEDS_CSUM,
            gso_type: kind,
            hdr_len: u16::try_from(self.headers()).unwrap(),
            gso_size,
            csum_start: u16::try_from(self.transport()).unwrap(),
            csum_offset: u16::try_from(self.checksum_place()).unwrap(),
        }
    }

    /// The finished packets a device makes of this one.
    pub(crate) fn cut(&self, gso_size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = match self.payload.len() {
            0 => vec![&[]],
            _ => self.payload.chunks(gso_size).collect(),
        };
        let last = chunks.len() - 1;
        let mut packets = Vec::new();
        for (n, chunk) in chunks.into_iter().enumerate() {
            let mut fields = Self { payload: chunk.to_vec(), ..self.clone() };
            fields.id = self.id.wrapping_add(u16::try_from(n).unwrap());
            fields.sequence = self.sequence.wrapping_add(u32::try_from(n * gso_size).unwrap());
            if n != last {
                fields.flags &= !(FIN | PSH);
            }
            if n != 0 {
                fields.flags &= !CWR;
            }
            packets.push(fields.build());
        }
        packets
    }
}

/// The one's complement sum of words of 16 bits, the carry added after each.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u16 = 0;
    for word in bytes.chunks(2) {
        let word = u16::from(word[0]) << 8 | word.get(1).map_or(0, |low| u16::from(*low));
        let (next, carry) = sum.overflowing_add(word);
        sum = next + u16::from(carry);
    }
    sum
}

pub(crate) fn put(place: &mut [u8], word: u16) {
    place[..2].copy_from_slice(&word.to_be_bytes());
}

/// Bytes that do not repeat at the distance of a segment.
pub(crate) fn data(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// The protocol of the transport header, and where it begins, by the steps of RFC 791 section 3.1 and RFC 8200 section 4.
fn transport_of(packet: &[u8]) -> (u8, usize) {
    if packet[0] >> 4 == 4 {
        return (packet[9], usize::from(packet[0] % 16) * 4);
    }
    let (mut next, mut start) = (packet[6], 40);
    while [0, 43, 60].contains(&next) {
        (next, start) = (packet[start], start + 8 + usize::from(packet[start + 1]) * 8);
    }
    (next, start)
}

/// Verifies all checksums and lengths of a packet on its bytes as they are, and gives its payload.
pub(crate) fn payload_of_intact(packet: &[u8]) -> Vec<u8> {
    let (protocol, start) = transport_of(packet);
    let (header, segment) = packet.split_at(start);
    let length = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let addresses = if packet[0] >> 4 == 4 {
        assert_eq!(length(2), packet.len());
        assert_eq!(sum(header), 0xffff);
        &packet[12..20]
    } else {
        assert_eq!(40 + length(4), packet.len());
        &packet[8..40]
    };
    let len = u32::try_from(segment.len()).unwrap().to_be_bytes();
    let pseudo_header = [addresses, &len, &[0, 0, 0, protocol]].concat();
    assert_eq!(sum(&[&pseudo_header, segment].concat()), 0xffff);
    match protocol {
        TCP => segment[usize::from(segment[12] >> 4) * 4..].to_vec(),
        UDP => {
            assert_eq!(length(start + 4), segment.len());
            assert_ne!(segment[6..8], [0, 0], "zero means that there is no checksum");
            segment[8..].to_vec()
        }
        other => panic!("protocol {other}"),
    }
}
