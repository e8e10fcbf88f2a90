//! rtun's outside world: transports that carry bytes, TUN devices that carry packets, and the
//! system's addresses, routes and name servers. Nothing here knows what a namespace or a host is.

pub mod dns;
pub mod link;
pub mod netns;
pub mod os_route;
pub mod tls;
pub mod transport;
pub mod tun;
