//! What rtun uses of the operating system: TUN devices that carry packets, links with their addresses and routes, name
//! servers and network namespaces. Nothing here knows what a namespace of rtun or a host is.

pub mod changes;
pub mod dns;
pub mod installation;
pub mod link;
pub mod netlink;
pub mod netns;
pub mod os_route;
mod os_rule;
pub mod placement;
pub mod tun;
