//! Datagrams of UDP tunnels: what clients and servers send, and datagrams on a stream.

use rtun_proto::{
    packet::Packet,
    udp_tunnel::{FromClient, FromServer, addressed, encode_register, encode_reply},
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

/// Datagrams on a stream, each after its length and an address.
pub fn addressed_datagrams(bytes: &[u8]) {
    let mut from = 0;
    while let Ok(Some((datagram, next))) = addressed::decode(bytes, from) {
        assert!(next > from && next <= bytes.len());
        assert_eq!(&bytes[datagram.at.clone()], datagram.payload);
        assert_eq!(datagram.at.end, next);
        assert!(datagram.at.start - from <= addressed::MAX_HEADER);
        for cut in from..next {
            let early = addressed::decode(&bytes[..cut], from);
            assert_eq!(early, Ok(None), "a datagram that is not whole yet");
        }
        let mut again = Vec::new();
        if let Some(address) = datagram.address
            && addressed::write_header(address, datagram.payload.len(), &mut again).is_some()
        {
            again.extend_from_slice(datagram.payload);
            assert_eq!(again, &bytes[from..next]);
        }
        from = next;
    }
}
