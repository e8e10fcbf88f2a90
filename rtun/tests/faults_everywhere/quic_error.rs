//! A QUIC client that ends its connection with a transport error (RFC 9000 section 10.2) once the handshake is done: it
//! finds what the hub sends then to be no QUIC.

use std::{any::Any, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use quinn::{
    ConnectionError, TransportErrorCode,
    crypto::{
        ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey,
        Session, rustls::QuicClientConfig,
    },
};
use quinn_proto::{
    ConnectError, ConnectionId, Side, TransportError, transport_parameters::TransportParameters,
};
use rtun_settings::{DialTls, Verification};
use rtun_tls::Connector;

/// Connects to the hub and ends the connection so. Has to be called within a tokio runtime.
pub async fn connect_and_fail(hub: SocketAddr) {
    let settings = DialTls { verification: Verification::Off, ..Default::default() };
    let (tls, _) = Connector::new(&settings, &["h3"]).unwrap().quic_config().unwrap();
    let crypto = Sick(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint = quinn::Endpoint::client(([0, 0, 0, 0], 0).into()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let connection = endpoint.connect(hub, "hub").unwrap().await;
    // Whether what the hub sends first arrives with the end of the handshake or after it is chance.
    let end = match connection {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    let ConnectionError::TransportError(TransportError { code, .. }) = end else {
        panic!("it ends otherwise: {end}");
    };
    assert_eq!(code, TransportErrorCode::FRAME_ENCODING_ERROR);
    endpoint.wait_idle().await;
}

struct Sick(Arc<QuicClientConfig>);

impl ClientConfig for Sick {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = Arc::clone(&self.0).start_session(version, server_name, params)?;
        Ok(Box::new(SickSession { inner, keys: 0 }))
    }
}

struct SickSession {
    inner: Box<dyn Session>,
    /// Handed out so far.
    keys: usize,
}

impl Session for SickSession {
    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(bytes)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, into: &mut Vec<u8>) -> Option<Keys> {
        let mut keys = self.inner.write_handshake(into)?;
        self.keys += 1;
        // The first are for the handshake, the second for what comes after it.
        if self.keys == 2 {
            keys.packet.remote = Box::new(SickKey(keys.packet.remote));
        }
        Some(keys)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(id, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

/// Opens packets, and takes another thing out of them than what is in there.
struct SickKey(Box<dyn PacketKey>);

impl PacketKey for SickKey {
    fn encrypt(&self, packet: u64, bytes: &mut [u8], header_len: usize) {
        self.0.encrypt(packet, bytes, header_len);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.0.decrypt(packet, header, payload)?;
        // No frame begins like this (RFC 9000 section 19).
        payload.fill(0x3f);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}
