//! Records as connections of their own to a server.

use std::io;

use rtun_settings::RecordServer;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::plugin::{
    Addressed, Answering, PluginError,
    recording::{Record, Recorder},
};

/// A server, to which each record is a connection that ends after it.
pub(super) struct TcpRecorder(String);

impl TcpRecorder {
    pub(super) fn new(server: &RecordServer) -> Self {
        Self(server.addr.clone())
    }

    async fn send(&self, text: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(&self.0).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    }
}

impl Addressed for TcpRecorder {
    fn address(&self) -> &str {
        &self.0
    }
}

impl Recorder for TcpRecorder {
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()> {
        Box::pin(async {
            let sent = self.send(&record.text()).await;
            sent.map_err(|error| PluginError::Unreachable(error.to_string()))
        })
    }
}
