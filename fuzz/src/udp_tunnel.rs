//! Datagrams of UDP tunnels: what clients and servers send, and datagrams on a stream.

use rtun_proto::{
    packet::Packet,
    relay::{Addr, AddrFeature},
    udp_tunnel::{
        FromClient, FromServer,
        addressed::{
            AddressedDecoder, AddressedEncoder, AddressedHeader, MAX_HEADER, decode_header,
        },
        encode_register, encode_reply,
    },
};

/// A datagram of a client.
pub fn tunnel_register(bytes: &[u8]) {
    match FromClient::decode(bytes) {
        Ok(FromClient::Register(register)) => {
            let addresses: Vec<_> = register.addresses().collect();
            assert!(!addresses.is_empty());
            assert_eq!(encode_register(register.presented(), &addresses), bytes);
            assert!(register.passphrase().last() != Some(&0));
            assert!(format!("{register:?}").len() < 4096);
        }
        Ok(FromClient::Packet(packet)) => is_packet(&packet, bytes),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A datagram of a server.
pub fn tunnel_reply(bytes: &[u8]) {
    match FromServer::decode(bytes) {
        Ok(FromServer::Reply(outer)) => assert_eq!(encode_reply(outer)[..], *bytes),
        Ok(FromServer::Packet(packet)) => is_packet(&packet, bytes),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn is_packet(packet: &Packet<'_>, bytes: &[u8]) {
    assert!(!bytes.starts_with(b"GOST"), "a message is never delivered");
    assert_eq!(Packet::parse(bytes).as_ref(), Ok(packet));
    assert!(packet.len() <= bytes.len());
}

/// Datagrams on a stream, each after its length and an address. The first byte says how the stream is cut; datagrams for odd ports
/// are those of others.
pub fn addressed_datagrams(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let takes = |address: &AddrFeature, _: usize| address.port.is_multiple_of(2);
    let (mut expected, mut again, mut from) = (Vec::new(), Vec::new(), 0);
    let outcome = loop {
        let header = match decode_header(&bytes[from..]) {
            Ok(Some(header)) => header,
            other => break other,
        };
        let AddressedHeader { address, datagram, len } = header;
        assert!(len <= MAX_HEADER);
        for cut in 0..len {
            assert_eq!(decode_header(&bytes[from..from + cut]), Ok(None));
        }
        let end = (from + len + datagram).min(bytes.len());
        let payload = &bytes[from + len..end];
        let mut frame = vec![bytes[from], bytes[from + 1]];
        frame.extend_from_slice(payload);
        if takes(&address, datagram) {
            expected.extend_from_slice(&frame);
        }
        if let Addr::Ip(ip) = address.addr
            && datagram > 0
        {
            again.clear();
            AddressedEncoder::new((ip, address.port).into()).encode(&frame, &mut again);
            assert_eq!(again, &bytes[from..end]);
        }
        from = end;
        if payload.len() < datagram {
            break Ok(None);
        }
    };
    let (mut decoder, mut frames) = (AddressedDecoder::default(), Vec::new());
    let mut parts = bytes.chunks(usize::from(size).max(1));
    let failed = parts.find_map(|part| decoder.decode(part, &mut frames, takes).err());
    assert_eq!((failed, frames), (outcome.err(), expected), "wherever the stream is cut");
}
