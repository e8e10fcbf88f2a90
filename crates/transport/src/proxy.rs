//! Through a proxy: asking one to connect to the target, and the PROXY header that says whom a connection is for.
//!
//! All of it takes not one byte more off a stream than belongs to it, so that the stream itself goes on afterwards. None
//! has a deadline of its own.

use std::{io, net::SocketAddr};

use rtun_proto::{
    proxy::{
        Target, TargetError,
        header::{self, Addresses},
        http_connect::{self, Reply},
        socks4, socks5,
    },
    relay::Decoded,
};
use rtun_settings::{HttpHeader, Login, ProxyProtocol};

use super::{Stream, relay_hop::RelayHopError};

pub use rtun_proto::proxy::header::HeaderError;

/// Why a proxy does not connect to the target.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// What is to be reached cannot be asked for.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The user or the password cannot be sent to an HTTP proxy.
    #[error(transparent)]
    HttpCredentials(#[from] http_connect::CredentialsError),
    /// The user or the password cannot be sent to a SOCKS proxy.
    #[error(transparent)]
    Socks5Credentials(#[from] socks5::CredentialsError),
    /// The connection to the proxy failed; [`io::ErrorKind::UnexpectedEof`] when the proxy ended it.
    #[error("the connection to the proxy failed: {0}")]
    Io(#[from] io::Error),
    /// The proxy's answer is none of HTTP.
    #[error("{0}; is the proxy an HTTP proxy?")]
    Http(http_connect::ReplyError),
    /// The HTTP proxy wants a user and a password, and none are configured (407; tinyproxy also says 401).
    #[error("the proxy wants a user and a password: {0:?}")]
    PasswordWanted(String),
    /// The HTTP proxy does not know this user with this password (407 or 401).
    #[error("the proxy refused the user and password: {0:?}")]
    PasswordRefused(String),
    /// The HTTP proxy wants to know who this is by a scheme that is not spoken here (407 or 401).
    #[error(
        "the proxy wants to know who this is by {}; rtun speaks Basic only, with `auth` of the proxy's node: {line:?}",
        .schemes.join(" or ")
    )]
    NoScheme {
        /// What it offers.
        schemes: Vec<String>,
        /// Its status line.
        line: String,
    },
    /// The HTTP proxy may not go there (403).
    #[error("the proxy forbids this target: {0:?}")]
    Forbidden(String),
    /// The HTTP proxy does not go there; its status line in print.
    #[error("the proxy answered {0:?}")]
    Refused(String),
    /// The user cannot be sent to a SOCKS 4 proxy.
    #[error(transparent)]
    Socks4User(#[from] socks4::UserError),
    /// The SOCKS proxy said no, or does not speak SOCKS 4.
    #[error(transparent)]
    Socks4(socks4::ReplyError),
    /// The relay cannot be asked, said no, or does not speak the relay protocol.
    #[error(transparent)]
    Relay(#[from] RelayHopError),
    /// The SOCKS proxy said no, or does not speak SOCKS 5.
    #[error(transparent)]
    Socks5(socks5::ReplyError),
}

/// Why there is no PROXY header.
#[derive(Debug, thiserror::Error)]
pub enum ReadHeaderError {
    /// The connection ended or failed before the header was there.
    #[error("no PROXY header: {0}")]
    Io(#[from] io::Error),
    /// What is there is none.
    #[error(transparent)]
    Header(HeaderError),
}

/// Asks an HTTP proxy at the other end of `stream` to connect to `target`, `host:port`, as `login`. Afterwards `stream` leads to the target. The proxy looks names up.
pub async fn http_connect(
    stream: &dyn Stream,
    target: &str,
    login: Option<&Login>,
    headers: &[HttpHeader],
) -> Result<(), ProxyError> {
    let login = login.map(|login| (&*login.user, login.password.expose()));
    let headers: Vec<_> =
        headers.iter().map(|it| (it.name.clone(), it.value.expose().to_owned())).collect();
    let request = http_connect::request(&target.parse()?, login, &headers)?;
    stream.write_all(&request).await?;
    let Reply { status, line, schemes } =
        take(stream, http_connect::decode_reply).await?.map_err(ProxyError::Http)?;
    Err(match status {
        200..300 => return Ok(()),
        401 | 407
            if !schemes.is_empty()
                && !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) =>
        {
            ProxyError::NoScheme { schemes, line }
        }
        401 | 407 if login.is_none() => ProxyError::PasswordWanted(line),
        401 | 407 => ProxyError::PasswordRefused(line),
        403 => ProxyError::Forbidden(line),
        _ => ProxyError::Refused(line),
    })
}

/// Asks a SOCKS 5 proxy at the other end of `stream` to connect to `target`, `host:port`, as `login` if it wants one. Afterwards `stream` leads to the target. The proxy looks names up.
pub async fn socks5(
    stream: &dyn Stream,
    target: &str,
    login: Option<&Login>,
) -> Result<(), ProxyError> {
    let target: Target = target.parse()?;
    ask_socks5(stream, &socks5::request(&target), login).await
}

/// Asks a SOCKS 5 proxy at the other end of `stream` for a socket, as GOST's do, as `login` if it wants one. Afterwards datagrams with
/// addresses pass on `stream` ([`crate::addressed`]).
pub async fn socks5_datagrams(
    stream: &dyn Stream,
    login: Option<&Login>,
) -> Result<(), ProxyError> {
    ask_socks5(stream, &socks5::DATAGRAMS_REQUEST, login).await
}

async fn ask_socks5(
    stream: &dyn Stream,
    asked: &[u8],
    login: Option<&Login>,
) -> Result<(), ProxyError> {
    let request = |login: &Login| socks5::password_request(&login.user, login.password.expose());
    let password = login.map(request);
    let password = password.transpose()?;
    stream.write_all(socks5::greeting(password.is_some())).await?;
    let method = take(stream, |bytes| socks5::decode_method(bytes, password.is_some())).await?;
    if method.map_err(ProxyError::Socks5)? == socks5::Method::Password
        && let Some(password) = password
    {
        stream.write_all(&password).await?;
        take(stream, socks5::decode_password_reply).await?.map_err(ProxyError::Socks5)?;
    }
    stream.write_all(asked).await?;
    take(stream, socks5::decode_reply).await?.map_err(ProxyError::Socks5)
}

/// Asks a SOCKS 4 proxy at the other end of `stream` to connect to `target`, `host:port`, as the user of `login`; there are no
/// passwords. Afterwards `stream` leads to the target. The proxy looks names up, if it speaks SOCKS 4A.
pub async fn socks4(
    stream: &dyn Stream,
    target: &str,
    login: Option<&Login>,
) -> Result<(), ProxyError> {
    let user = login.map_or("", |login| &*login.user);
    stream.write_all(&socks4::request(&target.parse()?, user)?).await?;
    take(stream, socks4::decode_reply).await?.map_err(ProxyError::Socks4)
}

/// Takes the PROXY header off the beginning of a stream that a proxy has opened: who connected to the proxy, or nobody
/// when the proxy speaks for itself or does not say.
pub async fn read_proxy_header(stream: &dyn Stream) -> Result<Option<SocketAddr>, ReadHeaderError> {
    let addresses = take(stream, header::decode).await?.map_err(ReadHeaderError::Header)?;
    Ok(addresses.map(|addresses| addresses.source))
}

/// Writes the PROXY header of a connection from `source` to `destination`, before all else.
pub async fn write_proxy_header(
    stream: &dyn Stream,
    form: ProxyProtocol,
    source: SocketAddr,
    destination: SocketAddr,
) -> io::Result<()> {
    let version = match form {
        ProxyProtocol::V1 => header::Version::One,
        ProxyProtocol::V2 => header::Version::Two,
    };
    stream.write_all(&header::encode(version, Some(Addresses { source, destination }))).await
}

/// Takes one message off a stream, and nothing of what follows it.
async fn take<T, E>(
    stream: &dyn Stream,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) -> io::Result<Result<T, E>> {
    let mut bytes = Vec::new();
    loop {
        match decode(&bytes) {
            Ok(Decoded::Complete { value, .. }) => return Ok(Ok(value)),
            Ok(Decoded::Incomplete { needed }) => {
                let filled = bytes.len();
                bytes.resize(needed, 0);
                stream.read_exact(&mut bytes[filled..]).await?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}
