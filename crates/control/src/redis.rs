//! Connections to redis servers.

mod resp;

use std::sync::Arc;

use rtun_settings::{ClientTls, RedisServer, Secret};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

pub(crate) use self::resp::{RespClient, Strings};
use crate::{
    source_error::{SourceError, SourceSetupError},
    zone::{self, without_zone},
};

/// What a redis server is spoken to over.
pub(crate) trait RedisStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> RedisStream for S {}

/// A connection on which the login is done and the database chosen.
pub(crate) type RedisClient = RespClient<Box<dyn RedisStream>>;

/// Connects to one redis server.
pub(crate) struct RedisConnector {
    server: RedisServer,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl RedisConnector {
    /// Prepares the connection; nothing is connected yet.
    pub(crate) fn new(server: &RedisServer) -> Result<Self, SourceSetupError> {
        let tls = match &server.tls {
            Some(tls) => Some((connector(tls)?, server_name(tls, &server.addr)?)),
            None => None,
        };
        Ok(Self { server: server.clone(), tls })
    }

    /// For people, with the key that is used there.
    pub(crate) fn label(&self, key: &str) -> String {
        self.server.label(key)
    }

    /// Connects, logs in and chooses the database. The caller sets the time limit.
    pub(crate) async fn open(&self) -> Result<RedisClient, SourceError> {
        let failed = |error: std::io::Error| SourceError::Unreachable(error.to_string());
        let stream = connect(&self.server.addr).await.map_err(failed)?;
        // The commands are small and each waits for the reply to the one before.
        stream.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn RedisStream> = match &self.tls {
            Some((connector, name)) => {
                Box::new(connector.connect(name.clone(), stream).await.map_err(failed)?)
            }
            None => Box::new(stream),
        };
        let RedisServer { db, username, password, .. } = &self.server;
        let mut client = RespClient::new(stream);
        let password = password.as_ref().map(Secret::expose);
        match (username.as_deref(), password) {
            (Some(user), password) => {
                client.run(&["AUTH", user, password.unwrap_or_default()]).await?;
            }
            (None, Some(password)) => client.run(&["AUTH", password]).await?,
            (None, None) => {}
        }
        if *db != 0 {
            client.run(&["SELECT", &db.to_string()]).await?;
        }
        Ok(client)
    }
}

/// To `host:port`, whose host may have a zone.
async fn connect(addr: &str) -> std::io::Result<TcpStream> {
    let zoned = addr.rsplit_once(':').filter(|(host, _)| host.contains('%'));
    let Some((host, port)) = zoned else { return TcpStream::connect(addr).await };
    let port = port.parse().map_err(std::io::Error::other)?;
    let found = zone::resolve(host.trim_matches(['[', ']']), port).await?;
    TcpStream::connect(found.as_slice()).await
}

fn server_name(tls: &ClientTls, addr: &str) -> Result<ServerName<'static>, SourceSetupError> {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let name = tls.server_name.as_deref().unwrap_or(without_zone(host.trim_matches(['[', ']'])));
    ServerName::try_from(name.to_owned()).map_err(|_| SourceSetupError::ServerName(name.to_owned()))
}

fn connector(tls: &ClientTls) -> Result<TlsConnector, SourceSetupError> {
    let config = rtun_tls::service_client(tls.verify);
    let config = config.map_err(|error| SourceSetupError::System(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}
