//! The requests for a stream to one target: of bytes, or of datagrams, each as a frame ([`crate::frame`]); and for one of datagrams
//! to and from anywhere, each with its address ([`crate::udp_tunnel::addressed`]).

use std::net::{Ipv4Addr, SocketAddr};

use super::{Addr, AddrFeature, Feature, Network, Request, Response, Status};

/// The command of a request for a stream to a target.
pub const CONNECT: u8 = 0x01;

/// The command of a request for a socket of the relay's, whose datagrams have addresses.
pub const BIND: u8 = 0x02;

/// The flag of such requests, of which datagrams are meant and no bytes.
pub const UDP_FLAG: u8 = 0x80;

impl Request {
    /// The request for a stream of bytes to `target`, as `user` with a password.
    pub fn connect_to(target: AddrFeature, user: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        let user = user.map(|(user, password)| Feature::UserAuth { user, password });
        let features = user.into_iter().chain([Feature::Addr(target)]).collect();
        Self { command: CONNECT, flags: 0, features }
    }

    /// The request for datagrams to and from `target`, as `user` with a password. A target without a host is the relay's own
    /// machine.
    pub fn datagrams_to(target: AddrFeature, user: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        let mut features = vec![Feature::Network(Network::Udp)];
        features.extend(user.map(|(user, password)| Feature::UserAuth { user, password }));
        features.push(Feature::Addr(target));
        Self { command: CONNECT, flags: UDP_FLAG, features }
    }

    /// The request for a socket whose datagrams have addresses, as `user` with a password. The port is the relay's choice.
    pub fn bound_datagrams(user: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        let any = AddrFeature { addr: Addr::Ip(Ipv4Addr::UNSPECIFIED.into()), port: 0 };
        let mut features = Vec::new();
        features.extend(user.map(|(user, password)| Feature::UserAuth { user, password }));
        features.extend([Feature::Network(Network::Udp), Feature::Addr(any)]);
        Self { command: BIND, flags: UDP_FLAG, features }
    }

    /// Whether the request is for a socket whose datagrams have addresses.
    pub fn is_for_bound_datagrams(&self) -> bool {
        self.command == BIND && self.is_for_datagrams()
    }

    /// Where a relay is asked to send datagrams; `None` if the request is for something else. Of several addresses the last
    /// counts.
    pub fn datagram_target(&self) -> Option<&AddrFeature> {
        let target = self.features.iter().rev().find_map(|feature| match feature {
            Feature::Addr(target) => Some(target),
            _ => None,
        });
        target.filter(|_| self.command == CONNECT && self.is_for_datagrams())
    }

    fn is_for_datagrams(&self) -> bool {
        let network = self.features.iter().rev().find_map(|feature| match feature {
            Feature::Network(network) => Some(*network),
            _ => None,
        });
        network.map_or(self.flags & UDP_FLAG != 0, |network| network == Network::Udp)
    }

    /// The user and password that the request shows; of several the last count.
    pub fn user(&self) -> Option<(&[u8], &[u8])> {
        self.features.iter().rev().find_map(|feature| match feature {
            Feature::UserAuth { user, password } => Some((&user[..], &password[..])),
            _ => None,
        })
    }
}

impl Response {
    /// The answer to a request for a socket: it is bound there.
    pub fn bound_to(address: SocketAddr) -> Self {
        let address = AddrFeature { addr: Addr::Ip(address.ip()), port: address.port() };
        Self { status: Status::Ok, features: vec![Feature::Addr(address)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::{Decoded, TunnelId};

    #[test]
    fn a_request_for_datagrams_is_read_back() {
        let target = AddrFeature::from_text("127.0.0.1:8421");
        let user = (b"u".to_vec(), b"p".to_vec());
        let bytes = Request::datagrams_to(target.clone(), Some(user)).encode().unwrap();
        let Ok(Decoded::Complete { value, len }) = Request::decode(&bytes) else { panic!() };
        assert_eq!(len, bytes.len());
        assert_eq!(value.datagram_target(), Some(&target));
        assert_eq!(value.user(), Some((&b"u"[..], &b"p"[..])));
    }

    #[test]
    fn other_requests_have_no_datagram_target() {
        let target = Feature::Addr(AddrFeature::from_text(":1"));
        let request = |command, flags, features: &[Feature]| {
            let features = features.iter().cloned().chain([target.clone()]).collect();
            Request { command, flags, features }.datagram_target().is_some()
        };
        assert!(request(CONNECT, UDP_FLAG, &[]));
        assert!(request(CONNECT, 0, &[Feature::Network(Network::Udp)]));
        assert!(!request(CONNECT, UDP_FLAG, &[Feature::Network(Network::Tcp)]));
        assert!(!request(CONNECT, 0, &[Feature::Tunnel(TunnelId::new([0; 16]))]));
        assert!(!request(BIND, UDP_FLAG, &[]));
        assert!(!request(super::super::ASSOCIATE, UDP_FLAG, &[]));
        let bytes = Request::connect_to(AddrFeature::from_text("hub.example:8443"), None);
        assert_eq!(bytes.datagram_target(), None);
        assert_eq!(
            bytes.encode().unwrap(),
            *b"\x01\x01\0\x12\x02\0\x0f\x03\x0bhub.example\x20\xfb"
        );
        let none = Request { command: CONNECT, flags: UDP_FLAG, features: Vec::new() };
        assert_eq!(none.datagram_target(), None);
    }

    #[test]
    fn a_request_for_a_socket_is_read_back() {
        let request = Request::bound_datagrams(Some((b"u".to_vec(), b"p".to_vec())));
        let bytes = request.encode().unwrap();
        assert_eq!(
            bytes,
            *b"\x01\x82\x00\x16\x01\x00\x04\x01u\x01p\x04\x00\x02\x00\x01\x02\x00\x07\x01\0\0\0\0\0\0"
        );
        let Ok(Decoded::Complete { value, .. }) = Request::decode(&bytes) else { panic!() };
        assert!(value.is_for_bound_datagrams() && value.datagram_target().is_none());
        assert_eq!(value.user(), Some((&b"u"[..], &b"p"[..])));
        assert!(!Request { command: CONNECT, ..value.clone() }.is_for_bound_datagrams());
        assert!(!Request { flags: 0, features: Vec::new(), ..value }.is_for_bound_datagrams());
        let bound = Response::bound_to("[::]:42850".parse().unwrap()).encode().unwrap();
        assert_eq!((bound.len(), &bound[..8]), (26, &b"\x01\x00\x00\x16\x02\x00\x13\x04"[..]));
        assert_eq!(bound[24..], [0xa7, 0x62]);
    }
}
