//! Tools that need no installed program: ping, a UDP echo server, TCP transfers, load.
//!
//! Each runs its sockets on threads inside the given namespaces, and each wait is bounded.

mod congestion;
mod load;
mod ping;
mod pulse;
mod slow_link;
mod tcp;
mod udp;

pub use congestion::{CongestionSetting, congestion_control};
pub use load::{LoadFlow, TcpLoad, UdpLoad, UdpRun, UdpSource, udp_load, udp_receiver};
pub use ping::{PingError, ping};
pub use pulse::{Pulse, PulseRun};
pub use slow_link::slow_link;
pub use tcp::{Throughput, TransferError, tcp_hash_transfer, tcp_throughput};
pub use udp::{UdpEcho, udp_echo};
