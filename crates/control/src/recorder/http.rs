//! Records as bodies of requests to a URL.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rtun_settings::RecordUrl;

use crate::{
    plugin::{
        Addressed, Answering, PluginError, PluginSetupError,
        recording::{Record, Recorder},
    },
    url_client::UrlClient,
};

/// A URL, to which each record is posted.
pub(super) struct UrlRecorder {
    client: UrlClient,
    headers: HeaderMap,
    label: String,
}

impl UrlRecorder {
    pub(super) fn new(target: &RecordUrl) -> Result<Self, PluginSetupError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for header in &target.headers {
            let bad_header = || PluginSetupError::Header(header.name.clone());
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad_header())?;
            let value = HeaderValue::from_str(header.value.expose());
            let mut value = value.map_err(|_| bad_header())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let label = target.label();
        let client = UrlClient::new(&target.url, &label, target.timeout, 1)?;
        Ok(Self { client, headers, label })
    }

    async fn post(&self, body: String) -> Result<(), PluginError> {
        let request = self.client.post().headers(self.headers.clone()).body(body);
        let response = request.send().await.map_err(|error| match error.is_timeout() {
            true => PluginError::Timeout,
            false => PluginError::Unreachable(self.client.cause(error)),
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(PluginError::Status(status.as_u16())),
        }
    }
}

impl Addressed for UrlRecorder {
    fn address(&self) -> &str {
        &self.label
    }
}

impl Recorder for UrlRecorder {
    fn record<'a>(&'a self, record: &'a Record) -> Answering<'a, ()> {
        Box::pin(self.post(record.text()))
    }
}
