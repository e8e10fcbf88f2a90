//! What rtun's HTTP servers have in common: listeners, the bound of connections, and users.

mod listener;
mod served;
mod users;

pub use self::{
    listener::{HttpAddress, HttpListenError, HttpListening, HttpStream},
    served::{HttpPeer, HttpProven},
    users::HttpUsers,
};
