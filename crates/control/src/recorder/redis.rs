//! Records as members of a redis key.

use rtun_settings::{RecordKey, RecordKeyKind};
use tokio::sync::Mutex;

use crate::{
    plugin::{
        Addressed, Answering, PluginError, PluginSetupError,
        recording::{Record, Recorder},
    },
    redis::{RedisClient, RedisConnector},
    source_error::SourceError,
};

/// A key of a redis server. The connection is kept until it fails.
pub(super) struct RedisRecorder {
    server: RedisConnector,
    key: String,
    kind: RecordKeyKind,
    kept: Mutex<Option<RedisClient>>,
    label: String,
}

impl RedisRecorder {
    pub(super) fn new(target: &RecordKey) -> Result<Self, PluginSetupError> {
        let RecordKey { server, key, kind } = target;
        let server = RedisConnector::new(server)?;
        let label = server.label(key);
        Ok(Self { server, key: key.clone(), kind: *kind, kept: Mutex::default(), label })
    }

    async fn write(&self, text: &str) -> Result<(), SourceError> {
        let mut kept = self.kept.lock().await;
        // A call that is given up closes its connection, since its answer may still come.
        if let Some(mut client) = kept.take() {
            match self.add(&mut client, text).await {
                // The server has closed it meanwhile.
                Err(SourceError::Unreachable(_)) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    *kept = Some(client);
                    return Ok(());
                }
            }
        }
        let mut client = self.server.open().await?;
        self.add(&mut client, text).await?;
        *kept = Some(client);
        Ok(())
    }

    async fn add(&self, client: &mut RedisClient, text: &str) -> Result<(), SourceError> {
        let key = &self.key;
        match self.kind {
            RecordKeyKind::Set => client.count(&["SADD", key, text]).await,
            RecordKeyKind::List => client.count(&["LPUSH", key, text]).await,
            RecordKeyKind::SortedSet => client.count(&["ZINCRBY", key, "1", text]).await,
        }
    }
}

impl Addressed for RedisRecorder {
    fn address(&self) -> &str {
        &self.label
    }
}

impl Recorder for RedisRecorder {
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()> {
        Box::pin(async {
            let written = self.write(&record.text()).await;
            written.map_err(|error| match error {
                SourceError::Unreachable(cause) => PluginError::Unreachable(cause),
                SourceError::Refused(text) => PluginError::Refused(text),
                other => PluginError::Nonsense(other.to_string()),
            })
        })
    }
}
