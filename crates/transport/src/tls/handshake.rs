//! A handshake by rustls over any stream, up to the first record that is not its own.

use std::sync::Arc;

use rustls::{
    CommonState, Error, ExtractedSecrets, ProtocolVersion,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::CertificateDer,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};

use rtun_tls::{
    Acceptor, CertificateInfo, Connector, Kernel, TlsError, TlsVersion, dns_names,
    record::{HEADER_LEN, RECORD_MAX},
};

use super::stream::TlsStream;
use crate::Stream;

/// The most bytes of one flight that are kept: rustls takes messages of up to 64 KiB, in records that may be small.
const INCOMING_MAX: usize = 256 * 1024;
/// Bytes read at once.
const READ_LEN: usize = 4 * 1024;
/// Bytes of other protocols that an error shows.
const SHOWN_MAX: usize = 16;
/// Records that may be sent in reply to an error.
const ALERTS_MAX: usize = 8;

/// An encrypted connection to a server.
#[derive(Debug)]
pub struct Connected {
    /// What the two sides say to each other.
    pub stream: Arc<dyn Stream>,
    /// The application protocol agreed upon.
    pub alpn: Option<String>,
    /// What the server has shown.
    pub certificate: Option<CertificateInfo>,
}

/// A client that may come in.
#[derive(Debug)]
pub struct Accepted {
    /// What the two sides say to each other.
    pub stream: Arc<dyn Stream>,
    /// The name the client asked for.
    pub server_name: Option<String>,
    /// The DNS names in the client's certificate, if it had to show one.
    pub client_names: Option<Vec<String>>,
    /// The application protocol agreed upon.
    pub alpn: Option<String>,
}

/// Performs the client's handshake on `below`, with the server at `host`. Takes as long as the server does: the caller sets
/// the limit.
///
/// # Errors
///
/// Any of [`Fault::Peer`](rtun_tls::Fault::Peer) and [`Fault::Network`](rtun_tls::Fault::Network), and a `host` that is
/// no name.
pub async fn connect(
    connector: &Connector,
    below: Arc<dyn Stream>,
    host: &str,
) -> Result<Connected, TlsError> {
    let (connection, diagnostics) = connector.connection(host)?;
    let finished = perform(connection, below, connector.records_per_key())
        .await
        .map_err(|error| diagnostics.refusal().unwrap_or(error))?;
    Ok(Connected {
        stream: finished.stream,
        alpn: finished.alpn,
        certificate: finished.certificates.first().and_then(CertificateInfo::of),
    })
}

/// Performs the server's handshake on `below`. Takes as long as the client does: the caller sets the limit.
///
/// # Errors
///
/// Any of [`Fault::Peer`](rtun_tls::Fault::Peer) and [`Fault::Network`](rtun_tls::Fault::Network).
pub async fn accept(acceptor: &Acceptor, below: Arc<dyn Stream>) -> Result<Accepted, TlsError> {
    let (connection, diagnostics) = acceptor.connection()?;
    let finished = perform(connection, below, acceptor.records_per_key())
        .await
        .map_err(|error| diagnostics.refusal().unwrap_or(error))?;
    Ok(Accepted {
        stream: finished.stream,
        server_name: diagnostics.server_name(),
        client_names: finished.certificates.first().map(dns_names),
        alpn: finished.alpn,
    })
}

/// A handshake that has succeeded.
struct Finished {
    stream: Arc<dyn Stream>,
    alpn: Option<String>,
    certificates: Vec<CertificateDer<'static>>,
}

/// One side of a handshake.
trait HandshakeSide {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn state(&self) -> &CommonState;
    fn finish(self) -> Result<(ExtractedSecrets, Kernel), Error>;
}

impl HandshakeSide for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, Kernel), Error> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Kernel::Client(kernel)))
    }
}

impl HandshakeSide for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, Kernel), Error> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Kernel::Server(kernel)))
    }
}

/// What has come in. rustls sees one record more only when it asks, so that none after the handshake is lost in it.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    shown: usize,
    is_tls: bool,
}

impl Incoming {
    /// Shows one more record if it is whole.
    fn show_next(&mut self) -> bool {
        let hidden = &self.bytes[self.shown..];
        let Some(&[_, _, _, high, low]) = hidden.first_chunk() else { return false };
        let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
        // One that is too long is refused by its beginning.
        let len = len.min(RECORD_MAX);
        let whole = hidden.len() >= len;
        if whole {
            self.shown += len;
        }
        whole
    }

    async fn read(&mut self, below: &dyn Stream) -> Result<(), TlsError> {
        let before = self.bytes.len();
        if before >= INCOMING_MAX {
            return Err(TlsError::Misbehaved(Error::General("a flight is too long".into())));
        }
        self.bytes.resize(before + READ_LEN, 0);
        let read = below.read(&mut self.bytes[before..]).await.map_err(TlsError::Io)?;
        self.bytes.truncate(before + read);
        if read == 0 {
            return Err(TlsError::Ended);
        }
        if !self.is_tls {
            self.is_tls = self.check_is_tls()?;
        }
        Ok(())
    }

    /// Whether the first record is a handshake's or an alert of any version (RFC 8446 section 5.1), as far as it is there.
    fn check_is_tls(&self) -> Result<bool, TlsError> {
        match *self.bytes {
            [21 | 22] => Ok(false),
            [21 | 22, 3, ..] => Ok(true),
            ref other => Err(TlsError::NotTls(other[..other.len().min(SHOWN_MAX)].to_vec())),
        }
    }
}

/// What to do once rustls has been heard.
enum Next {
    Go,
    Send,
    Receive,
    Finish,
    Fail(Error),
}

/// Performs the handshake and hands on its keys.
async fn perform<S: HandshakeSide>(
    mut side: S,
    below: Arc<dyn Stream>,
    records_per_key: u64,
) -> Result<Finished, TlsError> {
    let mut incoming = Incoming::default();
    let mut outgoing = Vec::new();
    loop {
        let UnbufferedStatus { discard, state, .. } =
            side.process(&mut incoming.bytes[..incoming.shown]);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                match encode(&mut outgoing, |into| data.encode(into)) {
                    Ok(()) => Next::Go,
                    Err(error) => Next::Fail(error),
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Next::Send
            }
            Ok(ConnectionState::BlockedHandshake) => Next::Receive,
            Ok(ConnectionState::WriteTraffic(_)) => Next::Finish,
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                return Err(TlsError::Ended);
            }
            Ok(_) => Next::Fail(Error::General("data inside a handshake".into())),
            Err(error) => Next::Fail(error),
        };
        incoming.bytes.drain(..discard);
        incoming.shown -= discard;
        match next {
            Next::Go => {}
            Next::Send => {
                below.write_all(&outgoing).await.map_err(TlsError::Io)?;
                outgoing.clear();
            }
            Next::Receive => {
                while !incoming.show_next() {
                    incoming.read(&*below).await?;
                }
            }
            Next::Finish => break,
            Next::Fail(error) => {
                tell(side, &mut incoming.bytes[..incoming.shown], &*below);
                return Err(TlsError::from_handshake(error));
            }
        }
    }
    if incoming.shown > 0 {
        let error = Error::General("a message goes on after the handshake".into());
        return Err(TlsError::Misbehaved(error));
    }
    let common = side.state();
    let version = match common.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    let alpn = common.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let certificates = common.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned());
    let certificates = certificates.collect();
    let (secrets, kernel) = side.finish().map_err(TlsError::Settings)?;
    let stream = TlsStream::new(below, version, &secrets, kernel, incoming.bytes, records_per_key)
        .ok_or_else(|| TlsError::Settings(Error::General("unknown cipher".into())))?;
    Ok(Finished { stream: Arc::new(stream), alpn, certificates })
}

/// Appends what `encode` writes, giving it the room it needs.
fn encode(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let before = outgoing.len();
    loop {
        match encode(&mut outgoing[before..]) {
            Ok(written) => {
                outgoing.truncate(before + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => {
                outgoing.resize(before + needed.required_size, 0);
            }
            Err(EncodeError::AlreadyEncoded) => return Err(Error::EncryptError),
        }
    }
}

/// Sends the alert that rustls has made of an error, as far as it goes at once: nobody waits for one that has failed.
fn tell<S: HandshakeSide>(mut side: S, incoming: &mut [u8], below: &dyn Stream) {
    let mut outgoing = Vec::new();
    for _ in 0..ALERTS_MAX {
        match side.process(incoming).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                if encode(&mut outgoing, |into| data.encode(into)).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    let _ = below.try_write(&outgoing);
}
