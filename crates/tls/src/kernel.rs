//! What is left of a handshake: new keys.

use rustls::{
    ConnectionTrafficSecrets, Error, client::ClientConnectionData, kernel::KernelConnection,
    server::ServerConnectionData,
};

/// rustls's part in a connection that runs, at either side.
pub enum Kernel {
    /// Of the client.
    Client(KernelConnection<ClientConnectionData>),
    /// Of the server.
    Server(KernelConnection<ServerConnectionData>),
}

impl Kernel {
    /// The next keys for what this side sends.
    pub fn next_sending(&mut self) -> Result<ConnectionTrafficSecrets, Error> {
        let (_, secrets) = match self {
            Self::Client(kernel) => kernel.update_tx_secret(),
            Self::Server(kernel) => kernel.update_tx_secret(),
        }?;
        Ok(secrets)
    }

    /// The next keys for what the other side sends.
    pub fn next_receiving(&mut self) -> Result<ConnectionTrafficSecrets, Error> {
        let (_, secrets) = match self {
            Self::Client(kernel) => kernel.update_rx_secret(),
            Self::Server(kernel) => kernel.update_rx_secret(),
        }?;
        Ok(secrets)
    }

    /// Whether this side is the client.
    pub fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }
}
