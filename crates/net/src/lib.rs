//! rtun's outside world: transports that carry bytes, TUN devices that carry packets, and the
//! system's addresses, routes and name servers. Nothing here knows what a namespace or a host is.

pub mod changes;
pub mod dns;
pub mod installation;
pub mod link;
pub mod netns;
pub mod os_route;
mod os_rule;
pub mod placement;
pub mod tls;
pub mod transport;
pub mod tun;
