//! The decisions of a UDP tunnel's server: who may register which address, and where a packet or frame goes.
//!
//! | Module | Subject |
//! |---|---|
//! | `drop` | the closed list of ways to lose a datagram |
//! | `addresses` | which addresses may be registered at all |
//! | `rate` | how often unauthenticated peers may try |
//! | `clients` | who has registered what, where from |
//! | `contest` | one address wanted by two |
//! | `forward` | where a packet goes, and whether its sender may send it |
//! | `relay` | where a relay may lead |
//! | `mac_table` | behind whom a hardware address is |
//! | `bridge` | where an Ethernet frame goes |
//! | `salts` | which datagrams have been received before |

mod addresses;
mod bridge;
mod clients;
mod contest;
mod drop;
mod forward;
mod mac_table;
mod rate;
mod relay;
mod salts;

pub use addresses::AddressRules;
pub use bridge::{Bridge, BridgePort, FrameTarget, MAX_MACS_OF_DEVICE, PeerTraffic};
pub use clients::{
    ClientId, ClientLimits, ClientTable, MAX_PER_REGISTER, RegisterRefusal, Registration,
    SILENT_AFTER, TunnelClient, Volume,
};
pub use drop::DatagramDrop;
pub use forward::{GatewayRoute, GatewayRoutes, NextHop, TunnelRouting};
pub use relay::{RelayRefusal, RelayServer, RelayTargets};
pub use rtun_proto::{
    datagram_cipher::{CipherMethod, DatagramCipher},
    ethernet::MacAddress,
    frame_content::FrameContent,
    udp_tunnel::{Passphrase, PassphraseError},
};

pub use mac_table::{MAX_MACS, MAX_MACS_PER_PEER, MAX_PEERS, MacTable};
pub use salts::SaltWindow;
