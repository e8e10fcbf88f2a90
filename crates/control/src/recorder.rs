//! Recorders: what is written somewhere about each connection, one record at a time.

mod file;
mod http;
mod redis;
mod tcp;

use std::time::Duration;

use rtun_settings::{PluginProtocol, RecordTarget, RecorderSettings};
use serde::{Deserialize, Serialize};

use self::{file::FileRecorder, http::UrlRecorder, redis::RedisRecorder, tcp::TcpRecorder};
use crate::{
    grpc::GrpcPlugin,
    http::HttpPlugin,
    plugin::{
        PluginSetupError,
        caller::{CallLimits, PluginCaller},
        recording::{Record, Recorder},
        status::{PluginKind, PluginStatus},
    },
};

/// From connecting to a redis server to its answer.
const REDIS_DEADLINE: Duration = Duration::from_secs(5);

/// For writing to a file: a local disk needs milliseconds, a network file system that is gone never answers.
const FILE_DEADLINE: Duration = Duration::from_secs(10);

/// Writes records to one target; services that name the recorder share this.
pub struct RecorderCalls {
    caller: PluginCaller,
    recorder: Box<dyn Recorder>,
}

/// The state of a recorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecorderStatus {
    /// Its target; what was sent to it more than once counts each time.
    #[serde(flatten)]
    pub target: PluginStatus,
    /// Records that there were.
    pub records: u64,
    /// Those of them that were lost: too many waited, or the target was away at the end.
    pub dropped: u64,
}

impl RecorderCalls {
    /// Nothing is opened or connected yet. Call this on the runtime that serves the connections.
    ///
    /// # Errors
    ///
    /// The target cannot be used as it is configured.
    pub fn new(settings: &RecorderSettings) -> Result<Self, PluginSetupError> {
        let (recorder, deadline): (Box<dyn Recorder>, _) = match &settings.target {
            RecordTarget::File(file) => (Box::new(FileRecorder::new(file)), FILE_DEADLINE),
            RecordTarget::Redis(key) => (Box::new(RedisRecorder::new(key)?), REDIS_DEADLINE),
            RecordTarget::Http(url) => (Box::new(UrlRecorder::new(url)?), url.timeout),
            RecordTarget::Tcp(server) => (Box::new(TcpRecorder::new(server)), server.timeout),
            RecordTarget::Plugin(plugin) => {
                let recorder: Box<dyn Recorder> = match plugin.protocol {
                    PluginProtocol::Http => Box::new(HttpPlugin::new(plugin)?),
                    PluginProtocol::Grpc => Box::new(GrpcPlugin::new(plugin)?),
                };
                (recorder, plugin.timeout)
            }
        };
        // The writing task waits between failures anyway.
        let limits =
            CallLimits { deadline, failures: 5, pause: Duration::ZERO, refusals_count: true };
        let address = recorder.address().to_owned();
        let name = settings.name.clone();
        let caller = PluginCaller::new(PluginKind::Recorder, name, address, limits);
        Ok(Self { caller, recorder })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.caller.name()
    }

    /// Writes `record`; whether the target has taken it. A failure is logged and counted.
    pub async fn record(&self, record: &Record) -> bool {
        self.caller.call(None, self.recorder.record(record)).await.is_ok()
    }

    /// The state of the target, while `waiting` records are not written yet.
    pub fn status(&self, waiting: usize) -> PluginStatus {
        self.caller.status(waiting, 0)
    }
}
