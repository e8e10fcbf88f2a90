//! Records, and how plugins are given them: GOST's words.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{Addressed, Answering};

/// What is written about one connection: the address of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    client: IpAddr,
    metadata: Arc<str>,
}

/// Writes records somewhere.
pub trait Recorder: Addressed {
    /// Writes one; an error: it is not written, or that is not known.
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()>;
}

impl Record {
    /// Of a connection from `client`; a plugin is given `metadata`, which is JSON.
    pub fn new(client: IpAddr, metadata: Arc<str>) -> Self {
        Self { client: client.to_canonical(), metadata }
    }

    /// As GOST writes it.
    pub(crate) fn text(&self) -> String {
        self.client.to_string()
    }

    pub(crate) fn metadata(&self) -> &str {
        &self.metadata
    }
}

/// What an HTTP plugin is sent; JSON has no bytes, so they are in base64.
#[derive(Serialize)]
pub(crate) struct RecordBody {
    data: String,
    metadata: String,
}

pub(crate) fn body(record: &Record) -> RecordBody {
    RecordBody {
        data: STANDARD.encode(record.text()),
        metadata: STANDARD.encode(record.metadata()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_sent_what_gost_sends() {
        let record = Record::new("::ffff:127.0.0.1".parse().unwrap(), "null".into());
        let body = serde_json::to_string(&body(&record)).unwrap();
        assert_eq!(body, r#"{"data":"MTI3LjAuMC4x","metadata":"bnVsbA=="}"#);
    }
}
