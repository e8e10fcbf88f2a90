//! Ethernet tunnels: frames, sealed datagrams, and what a server learns.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rtun_core::udp_tunnel::{Bridge, BridgePort, FrameTarget, MAX_MACS, MAX_PEERS};
use rtun_proto::{
    datagram_cipher::{CipherMethod, DatagramCipher, TAG},
    ethernet::{EthernetFrame, MacAddress, is_keepalive, keepalive},
};

/// A frame of anybody.
pub fn ethernet_frame(bytes: &[u8]) {
    let slow = slow_header(bytes);
    let Ok(frame) = EthernetFrame::parse(bytes) else {
        assert_eq!(slow, None);
        return;
    };
    assert_eq!(frame.bytes(), bytes);
    assert_eq!(frame.destination().octets(), bytes[..6]);
    assert_eq!(frame.source().octets(), bytes[6..12]);
    let header = bytes.len() - frame.payload().len();
    assert_eq!(slow, Some((frame.vlan(), frame.ether_type(), header)));
    let source = frame.source();
    assert_eq!(source.to_string().parse::<MacAddress>().as_ref(), Ok(&source));
    if is_keepalive(&frame) {
        assert_eq!(keepalive(source)[..14], bytes[..14]);
    }
}

/// VLAN, type and length of a header.
fn slow_header(bytes: &[u8]) -> Option<(Option<u16>, u16, usize)> {
    let word = |at: usize| Some(u16::from(*bytes.get(at)?) << 8 | u16::from(*bytes.get(at + 1)?));
    let is_tag = |kind: u16| kind == 0x8100 || kind == 0x88a8;
    let first = word(12)?;
    if !is_tag(first) {
        return Some((None, first, 14));
    }
    let (vlan, second) = (word(14)? % 4096, word(16)?);
    if !is_tag(second) {
        return Some((Some(vlan), second, 18));
    }
    Some((Some(vlan), word(20)?, 22))
}

/// A sealed datagram of anybody. The first byte chooses method and change; the rest is first opened, then sealed.
pub fn sealed_datagram(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let method = [CipherMethod::Aes128Gcm, CipherMethod::Aes256Gcm, CipherMethod::ChaCha20Poly1305]
        [usize::from(choice % 3)];
    let cipher = DatagramCipher::from_password(method, "secret");
    let front = method.salt_len();
    let mut text = vec![0; rest.len()];
    assert_eq!(cipher.salt(rest).is_some(), rest.len() >= front + TAG);
    if let Ok(len) = cipher.open(rest, &mut text) {
        assert_eq!(len + cipher.overhead(), rest.len());
        let mut again = rest[..front].to_vec();
        again.extend_from_slice(&text[..len]);
        again.extend_from_slice(&[0; TAG]);
        cipher.seal(&mut again).expect("as long as it was");
        assert_eq!(again, rest);
    }
    let mut datagram = vec![choice; front];
    datagram.extend_from_slice(rest);
    datagram.extend_from_slice(&[0; TAG]);
    cipher.seal(&mut datagram).expect("there is room");
    let mut text = vec![0; datagram.len()];
    assert_eq!(cipher.open(&datagram, &mut text), Ok(rest.len()));
    assert_eq!(&text[..rest.len()], rest);
    let changed = usize::from(choice) % datagram.len();
    datagram[changed] ^= 1 << (choice % 8);
    assert!(cipher.open(&datagram, &mut text).is_err());
    assert!(cipher.open(&datagram[..changed], &mut text).is_err());
}

/// Frames that come to a server: each after a byte that tells from whom, one that tells how much later, and its length.
pub fn learnt_addresses(mut bytes: &[u8]) {
    let own = MacAddress::local(1);
    let mut bridge: Bridge<u8> = Bridge::new(own);
    let mut now = Instant::now();
    while let [from, later, len, rest @ ..] = bytes {
        let (frame, left) = rest.split_at(usize::from(*len).min(rest.len()));
        bytes = left;
        now += Duration::from_millis(u64::from(*later).pow(2) * 10);
        let Ok(frame) = EthernetFrame::parse(frame) else { continue };
        let from = if *from == 0 { BridgePort::Device } else { BridgePort::Peer(*from) };
        let others: BTreeSet<u8> = bridge.others(from).collect();
        match bridge.forward(from, &frame, now) {
            Ok(FrameTarget::Port(to)) => {
                assert_ne!(to, from, "never back");
                assert!(!frame.destination().is_group());
            }
            Ok(FrameTarget::Flood) => {
                let now: BTreeSet<u8> = bridge.others(from).collect();
                assert!(now.is_subset(&others), "one frame brings nobody but its sender");
                assert!(from != BridgePort::Device || !now.is_empty());
            }
            Ok(FrameTarget::Echo) => assert!(is_keepalive(&frame) && from != BridgePort::Device),
            Err(_) => continue,
        }
        assert!(frame.source().is_station());
        assert!(from == BridgePort::Device || frame.source() != own);
        if let BridgePort::Peer(peer) = from {
            assert!(bridge.others(BridgePort::Device).any(|other| other == peer));
            assert!(bridge.traffic(peer).is_some_and(|traffic| traffic.heard == now));
        }
        let peers = bridge.peers();
        assert!(peers.len() <= MAX_PEERS);
        assert!(peers.values().map(|(_, macs)| macs.len()).sum::<usize>() <= MAX_MACS);
    }
}
