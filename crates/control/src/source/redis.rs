//! A key of a redis server as a source.

use std::{sync::Arc, time::Duration};

use rtun_settings::{RedisKind, RedisSettings};
use tokio::time::timeout;

use super::{LoadFuture, Loaded, MAX_TEXT, Source, SourceError, SourceSetupError, text};
use crate::redis::{RedisConnector, Strings};

/// From connecting to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);

/// A key of a redis server: a connection is made for each reading.
///
/// Members of a set and fields of a hash come in the order of their bytes, so that the same content is the same text.
/// A key that is not there is an empty text.
pub struct RedisSource {
    server: RedisConnector,
    key: String,
    kind: RedisKind,
    label: Arc<str>,
    max_bytes: usize,
}

impl RedisSource {
    /// Prepares the connection; nothing is connected yet.
    pub fn new(redis: &RedisSettings) -> Result<Self, SourceSetupError> {
        let server = RedisConnector::new(&redis.server)?;
        let label = server.label(&redis.key).into();
        let (key, kind) = (redis.key.clone(), redis.kind);
        Ok(Self { server, key, kind, label, max_bytes: MAX_TEXT })
    }

    /// Reads at most this many bytes; a key with more is a failure.
    pub fn at_most(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    async fn read(&self) -> Result<Loaded, SourceError> {
        let Self { key, kind, max_bytes, .. } = self;
        let mut client = self.server.open().await?;
        client.allow(*max_bytes);
        let bytes = match kind {
            RedisKind::Hash => hash(&client.strings(&["HGETALL", key]).await?)?,
            RedisKind::Set => set(&client.strings(&["SMEMBERS", key]).await?),
            RedisKind::List => list(&client.strings(&["LRANGE", key, "0", "-1"]).await?),
            RedisKind::String => client.string(&["GET", key]).await?,
        };
        text(bytes, *max_bytes)
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

fn hash(strings: &Strings) -> Result<Vec<u8>, SourceError> {
    if strings.len() % 2 == 1 {
        return Err(SourceError::Nonsense("a field has no value"));
    }
    let mut fields: Vec<usize> = (0..strings.len()).step_by(2).collect();
    fields.sort_unstable_by_key(|field| strings.get(*field));
    let lines = fields.iter().map(|&field| [strings.get(field), b" ", strings.get(field + 1)]);
    Ok(text_of(lines))
}

fn set(strings: &Strings) -> Vec<u8> {
    let mut members: Vec<usize> = (0..strings.len()).collect();
    members.sort_unstable_by_key(|member| strings.get(*member));
    text_of(members.iter().map(|&member| [strings.get(member)]))
}

fn list(strings: &Strings) -> Vec<u8> {
    text_of((0..strings.len()).map(|element| [strings.get(element)]))
}

fn text_of<'a, const N: usize>(lines: impl Iterator<Item = [&'a [u8]; N]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        line.into_iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.push(b'\n');
    }
    bytes
}
