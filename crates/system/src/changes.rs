//! What changes in the system that a tunnel's device stands in, as netlink tells it.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use crate::link::LinkSetup;
use crate::netlink::LinkError;
use crate::os_route;

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Bytes of messages that the system keeps for us. Past it some are lost, and everything is read anew.
const KEPT: usize = 128 * 1024;

/// The longest datagram of messages that the system sends unasked (`NLMSG_GOODSIZE` and more).
const DATAGRAM: usize = 32 * 1024;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Something of the device, of rtun's routes or of rules, perhaps by ourselves.
    Own,
    /// Something around it: another device, another address, a route of somebody else's to one of the destinations. Also
    /// when messages were lost.
    Surroundings,
    /// The device is gone from this network namespace.
    Gone,
}

/// Follows the changes around one device.
pub struct Changes {
    socket: TokioSocket,
    datagram: Vec<u8>,
    index: u32,
    destinations: BTreeSet<IpNet>,
}

impl Changes {
    /// Follows what happens from now on to the device `index`, and to routes with the destinations of `setup`, in the
    /// network namespace of the calling thread. Must be called within a tokio runtime.
    pub fn follow(index: u32, setup: &LinkSetup) -> Result<Self, LinkError> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            let inner = socket.socket_mut();
            inner.set_rx_buf_sz(KEPT as libc::c_int)?;
            let groups = GROUPS.iter().fold(0, |all, group| all | 1 << (*group as u32 - 1));
            inner.bind(&SocketAddr::new(0, groups))?;
            Ok(socket)
        };
        let socket = open().map_err(|source: io::Error| LinkError {
            action: "following the changes of devices, addresses and routes".into(),
            source,
        })?;
        let destinations = setup.routes.iter().map(|route| route.destination.trunc());
        let prefixes = setup.addresses.iter().map(IpNet::trunc);
        Ok(Self {
            socket,
            datagram: Vec::with_capacity(DATAGRAM),
            index,
            destinations: destinations.chain(prefixes).collect(),
        })
    }

    /// Waits for the next change that matters; of those in one datagram the gravest. Loses nothing when dropped while it
    /// waits.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            self.datagram.clear();
            let change = match self.socket.recv(&mut self.datagram).await {
                Ok(_) => self.gravest_of(&self.datagram),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    Some(Change::Surroundings)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => return Err(error),
            };
            if let Some(change) = change {
                return Ok(change);
            }
        }
    }

    fn gravest_of(&self, datagram: &[u8]) -> Option<Change> {
        let mut rest = datagram;
        let mut gravest = None;
        while !rest.is_empty() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
                // Newer than we are: it may be anything.
                return gravest.max(Some(Change::Surroundings));
            };
            // Messages begin at multiples of four.
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                gravest = gravest.max(self.judge(&message));
            }
        }
        gravest
    }

    fn judge(&self, message: &RouteNetlinkMessage) -> Option<Change> {
        use RouteNetlinkMessage as M;
        let around = |index| if index == self.index { Change::Own } else { Change::Surroundings };
        match message {
            M::DelLink(link) if link.header.index == self.index => Some(Change::Gone),
            M::NewLink(link) | M::DelLink(link) => Some(around(link.header.index)),
            M::NewAddress(address) | M::DelAddress(address) => Some(around(address.header.index)),
            M::NewRule(_) | M::DelRule(_) => Some(Change::Own),
            M::NewRoute(route) | M::DelRoute(route) => {
                let found = os_route::parse(route)?;
                if found.is_rtuns() || found.through == Some(self.index) {
                    return Some(Change::Own);
                }
                self.destinations.contains(&found.route.destination).then_some(Change::Surroundings)
            }
            _ => None,
        }
    }
}
