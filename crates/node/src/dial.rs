//! Opens connections: through the proxies of a chain to a hub or a relay, over any transport.

pub(crate) mod address_book;
mod attempt;
mod choice;
mod dial_tls;
mod dialer;
mod endpoints;
mod hubs;
mod layers;
mod lookups;
mod probe;
mod proxies;
mod wire;

pub use self::attempt::SetupError;
pub(crate) use self::{
    endpoints::{HubConnection, NoEndpoint},
    hubs::{HubTarget, Hubs},
    lookups::NameTables,
    wire::Wire,
};
