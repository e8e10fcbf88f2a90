//! A key of a redis server as a source.

use std::{sync::Arc, time::Duration};

use rtun_settings::{self, ClientTls, RedisKind};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    LoadFuture, Loaded, Source, SourceError, SourceSetupError,
    resp::{RespClient, Strings},
    text,
};
use crate::zone::{self, without_zone};

/// From connecting to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);

/// A key of a redis server: a connection is made for each reading.
///
/// Members of a set and fields of a hash come in the order of their bytes, so that the same content is the same text.
/// A key that is not there is an empty text.
pub struct RedisSource {
    redis: rtun_settings::RedisSettings,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    label: Arc<str>,
}

impl RedisSource {
    /// Prepares the connection; nothing is connected yet.
    pub fn new(redis: &rtun_settings::RedisSettings) -> Result<Self, SourceSetupError> {
        let tls = match &redis.tls {
            Some(tls) => Some((connector(tls)?, server_name(tls, &redis.addr)?)),
            None => None,
        };
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        let label = format!("{scheme}://{}/{}/{}", redis.addr, redis.db, redis.key).into();
        Ok(Self { redis: redis.clone(), tls, label })
    }

    async fn read(&self) -> Result<Loaded, SourceError> {
        let failed = |error: std::io::Error| SourceError::Unreachable(error.to_string());
        let stream = connect(&self.redis.addr).await.map_err(failed)?;
        // The commands are small and each waits for the reply to the one before.
        stream.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(failed)?;
                self.read_from(stream).await
            }
            None => self.read_from(stream).await,
        }
    }

    async fn read_from(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<Loaded, SourceError> {
        let rtun_settings::RedisSettings { db, username, password, key, kind, .. } = &self.redis;
        let mut client = RespClient::new(stream);
        let password = password.as_ref().map(rtun_settings::Secret::expose);
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
        match kind {
            RedisKind::Hash => hash(&client.strings(&["HGETALL", key]).await?),
            RedisKind::Set => set(&client.strings(&["SMEMBERS", key]).await?),
            RedisKind::List => list(&client.strings(&["LRANGE", key, "0", "-1"]).await?),
        }
    }
}

impl Source for RedisSource {
    fn load(&self) -> LoadFuture<'_> {
        Box::pin(async {
            timeout(DEADLINE, self.read()).await.unwrap_or(Err(SourceError::Timeout(DEADLINE)))
        })
    }

    fn label(&self) -> Arc<str> {
        Arc::clone(&self.label)
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

fn hash(strings: &Strings) -> Result<Loaded, SourceError> {
    if strings.len() % 2 == 1 {
        return Err(SourceError::Nonsense("a field has no value"));
    }
    let mut fields: Vec<usize> = (0..strings.len()).step_by(2).collect();
    fields.sort_unstable_by_key(|field| strings.get(*field));
    text_of(fields.iter().map(|&field| [strings.get(field), b" ", strings.get(field + 1)]))
}

fn set(strings: &Strings) -> Result<Loaded, SourceError> {
    let mut members: Vec<usize> = (0..strings.len()).collect();
    members.sort_unstable_by_key(|member| strings.get(*member));
    text_of(members.iter().map(|&member| [strings.get(member)]))
}

fn list(strings: &Strings) -> Result<Loaded, SourceError> {
    text_of((0..strings.len()).map(|element| [strings.get(element)]))
}

fn text_of<'a, const N: usize>(
    lines: impl Iterator<Item = [&'a [u8]; N]>,
) -> Result<Loaded, SourceError> {
    let mut bytes = Vec::new();
    for line in lines {
        line.into_iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.push(b'\n');
    }
    text(bytes)
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
