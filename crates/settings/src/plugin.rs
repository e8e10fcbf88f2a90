//! Services that are asked in the place of rows, and how clients of such services prove who they are.

use std::{fmt, path::PathBuf, time::Duration};

use rtun_core::{Secret, redact};

/// How the other end of a TLS connection is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Whether its certificate is verified (`secure`).
    pub verify: bool,
    /// The name expected in the certificate, if not the address's.
    pub server_name: Option<String>,
}

/// A plugin, which is asked instead of rows; printed without the user info of its URL.
#[derive(Clone, PartialEq)]
pub struct PluginSettings {
    /// What it speaks.
    pub protocol: PluginProtocol,
    /// HTTP: an `http://` or `https://` URL. gRPC: `host:port`.
    pub addr: String,
    /// HTTP: sent as `Authorization: Bearer`. gRPC: sent as metadata `token`.
    pub token: Option<Secret>,
    /// For one question; 2 s unless configured.
    pub timeout: Duration,
    /// HTTP: how an https server is checked, `None` for an http:// URL. gRPC: whether the connection is encrypted at all, and
    /// how the server is checked.
    pub tls: Option<ClientTls>,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, addr, token, timeout, tls } = self;
        f.debug_struct("Plugin")
            .field("protocol", protocol)
            .field("addr", &redact::line(addr))
            .field("token", token)
            .field("timeout", timeout)
            .field("tls", tls)
            .finish()
    }
}

/// What a plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginProtocol {
    /// GOST's HTTP and JSON.
    Http,
    /// GOST's gRPC.
    Grpc,
}

/// A user name and its password.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// At most 255 bytes.
    pub user: String,
    /// At most 255 bytes.
    pub password: Secret,
    /// The file that both were read from (`auth.file`), if they do not stand in the configuration itself.
    pub file: Option<PathBuf>,
}
