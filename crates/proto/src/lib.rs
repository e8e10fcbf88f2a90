//! rtun's wire format: relay messages, frames, IP packets; bytes in, values out, and back.
//!
//! Nothing here reads a socket, a clock or a random source. The formats are those of `docs/wire.md`.
//!
//! | Module | Subject |
//! |---|---|
//! | [`relay`] | the request and the response that open an association |
//! | [`frame`] | packets on a byte stream, each after its length |
//! | [`extension`] | frames between rtun ends that are no IP packets |
//! | [`packet`] | a borrowed IP packet whose header has been checked |
//! | [`icmp`] | the ICMP error about a packet that cannot be delivered |
//! | [`offload`] | packets of up to 64 KiB as a TUN device exchanges them: segmented, and joined |
//! | [`checksum`] | the Internet checksum |
//! | [`mux`] | smux frames: several streams on one connection |
//! | [`udp_tunnel`] | packets as datagrams: the messages of a UDP tunnel, and datagrams on a stream |
//! | [`ethernet`] | Ethernet frames and hardware addresses |
//! | [`datagram_cipher`] | datagrams sealed one by one |
//! | [`proxy`] | protocols of proxies: HTTP CONNECT, SOCKS 5, the PROXY protocol |

#![forbid(unsafe_code)]

pub mod checksum;
pub mod datagram_cipher;
pub mod ethernet;
pub mod extension;
pub mod frame;
pub mod frame_content;
pub mod icmp;
pub mod mux;
pub mod offload;
pub mod packet;
pub mod proxy;
mod reader;
pub mod relay;
pub mod udp_tunnel;
