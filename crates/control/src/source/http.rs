//! A URL as a source.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, LAST_MODIFIED,
    },
};

use super::{LoadFuture, Loaded, MAX_TEXT, Source, SourceError, SourceSetupError, text};
use crate::url_client::UrlClient;

/// A URL, read with GET. No redirect is followed, no proxy used, nothing decompressed.
pub struct HttpSource {
    client: UrlClient,
    label: Arc<str>,
    timeout: Duration,
    max_bytes: usize,
    /// The validators of the last text (RFC 9110 section 13.1).
    validators: Mutex<Validators>,
}

/// Validators of an answer, each under the name of the request header that uses it.
type Validators = Vec<(HeaderName, HeaderValue)>;

impl HttpSource {
    /// Prepares the client; nothing is connected yet.
    pub fn new(source: &rtun_settings::HttpSourceSettings) -> Result<Self, SourceSetupError> {
        let label = source.label();
        // The server may just close a connection that is kept since the last reading.
        let client = UrlClient::new(&source.url, &label, source.timeout, 0)?;
        Ok(Self {
            client,
            label: label.into(),
            timeout: source.timeout,
            max_bytes: MAX_TEXT,
            validators: Mutex::default(),
        })
    }

    /// Reads at most this many bytes; an answer with more is a failure.
    pub fn at_most(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    fn request(&self) -> RequestBuilder {
        let request = self.client.get().header(ACCEPT_ENCODING, "identity");
        self.known().iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    async fn read(&self) -> Result<Loaded, SourceError> {
        let request = self.request();
        let conditional = !self.known().is_empty();
        let mut response = request.send().await.map_err(|error| self.failure(error))?;
        if response.status() == StatusCode::NOT_MODIFIED && conditional {
            return Ok(Loaded::Unchanged);
        }
        if response.status() != StatusCode::OK {
            return Err(SourceError::Status(response.status().as_u16()));
        }
        let encoding = response.headers().get(CONTENT_ENCODING);
        if let Some(other) =
            encoding.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(SourceError::Encoding(format!("{other:?}")));
        }
        let max_bytes = self.max_bytes;
        if response.content_length().is_some_and(|len| len > max_bytes as u64) {
            return Err(SourceError::TooLarge(max_bytes));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + chunk.len() > max_bytes {
                return Err(SourceError::TooLarge(max_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        let text = text(body, max_bytes)?;
        *self.known() = validators(&response);
        Ok(text)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Validators> {
        self.validators.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, error: reqwest::Error) -> SourceError {
        if error.is_timeout() {
            return SourceError::Timeout(self.timeout);
        }
        SourceError::Unreachable(self.client.cause(error))
    }
}

impl Source for HttpSource {
    fn load(&self) -> LoadFuture<'_> {
        Box::pin(self.read())
    }

    fn label(&self) -> Arc<str> {
        Arc::clone(&self.label)
    }
}

/// The headers that show whether a later answer is the same.
fn validators(response: &Response) -> Validators {
    let pairs = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    pairs
        .into_iter()
        .filter_map(|(of, with)| response.headers().get(of).map(|value| (with, value.clone())))
        .collect()
}
