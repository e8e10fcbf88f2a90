//! The fuzz targets as functions, which need no fuzzer.
//!
//! A target panics if a property does not hold. It is no failure if an input is refused.

mod api;
mod config;
mod ethernet;
mod grpc;
mod gso;
mod packets;
mod proxy;
mod relay;
mod rows;
mod smux;
mod tls;
mod udp_tunnel;
mod ws;

pub use api::{api_change, api_request};
pub use config::{cli_url, config_yaml};
pub use ethernet::{ethernet_frame, learnt_addresses, sealed_datagram};
pub use grpc::grpc_chunks;
pub use gso::{extension_frame, virtio};
pub use packets::{frame_stream, ip_header};
pub use proxy::{proxy_preamble, proxy_reply};
pub use relay::{relay_request, relay_response};
pub use rows::{admission_text, auth_text, hosts_text, ingress_text, limits_text, routes_text};
pub use smux::smux_frames;
pub use tls::{tls_headers, tls_messages, tls_opener, tls_padding};
pub use udp_tunnel::{addressed_datagrams, tunnel_register, tunnel_reply};
pub use ws::{ws_frames, ws_upgrade};

/// A target: its name, which is also the name of its corpus, and its function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [FuzzTarget; 32] = [
    ("relay_request", relay_request),
    ("relay_response", relay_response),
    ("frame_stream", frame_stream),
    ("ip_header", ip_header),
    ("virtio", virtio),
    ("extension_frame", extension_frame),
    ("smux_frames", smux_frames),
    ("proxy_reply", proxy_reply),
    ("proxy_preamble", proxy_preamble),
    ("config_yaml", config_yaml),
    ("cli_url", cli_url),
    ("routes_text", routes_text),
    ("hosts_text", hosts_text),
    ("ingress_text", ingress_text),
    ("auth_text", auth_text),
    ("admission_text", admission_text),
    ("limits_text", limits_text),
    ("ws_frames", ws_frames),
    ("ws_upgrade", ws_upgrade),
    ("grpc_chunks", grpc_chunks),
    ("tls_headers", tls_headers),
    ("tls_padding", tls_padding),
    ("tls_messages", tls_messages),
    ("tls_opener", tls_opener),
    ("tunnel_register", tunnel_register),
    ("tunnel_reply", tunnel_reply),
    ("addressed_datagrams", addressed_datagrams),
    ("ethernet_frame", ethernet_frame),
    ("sealed_datagram", sealed_datagram),
    ("learnt_addresses", learnt_addresses),
    ("api_request", api_request),
    ("api_change", api_change),
];
