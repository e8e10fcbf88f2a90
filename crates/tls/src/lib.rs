//! TLS without sockets: certificates and their files, who is trusted, what a handshake is made with, and records.
//!
//! rustls performs the handshakes. The records after them are sealed and opened here, in [`record`] and [`cipher`], because its
//! interface copies each byte twice more. `rtun-transport` drives both over a stream. Nothing is ever resumed and no early data
//! is sent or taken: each connection proves anew who is at its ends.

mod authority;
mod certificate;
pub mod cipher;
mod client;
mod date;
mod error;
mod generate;
mod inspect;
mod kernel;
mod origin;
mod pem;
mod protocol;
pub mod record;
mod server;
mod service;
mod verify;

pub use self::{
    authority::{Authority, Issued},
    certificate::{CertificateInfo, dns_names, fingerprint},
    client::Connector,
    error::{CertificateProblem, Fault, NotKept, TlsError, hint},
    generate::MadeCertificate,
    inspect::Inspected,
    kernel::Kernel,
    origin::CertificateOrigin,
    protocol::{RECORDS_PER_KEY, TlsVersion},
    server::Acceptor,
    service::service_client,
    verify::HandshakeDiagnostics,
};
