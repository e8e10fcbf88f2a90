//! A URL of the configuration, and the client that asks there.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url, redirect::Policy};

use crate::{
    cause::innermost_cause,
    source_error::SourceSetupError,
    zone::{self, take_zone},
};

/// Asks one URL. No redirect is followed, no proxy used, nothing decompressed.
pub(crate) struct UrlClient {
    client: Client,
    url: Url,
    /// The interface of the address, if it names one.
    zone: Option<String>,
}

impl UrlClient {
    /// Prepares the client of `url`, which messages call `label`; `timeout` is for one request, and up to `kept` connections
    /// wait for the next one. Nothing is connected yet.
    pub(crate) fn new(
        url: &str,
        label: &str,
        timeout: Duration,
        kept: usize,
    ) -> Result<Self, SourceSetupError> {
        let bad_url = || SourceSetupError::Url(label.to_owned());
        let (url, zone) = take_zone(url);
        let url = Url::parse(&url).map_err(|_| bad_url())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad_url());
        }
        let mut client = Client::builder();
        if let Some(zone) = &zone {
            client = client.interface(zone);
        }
        let client = client
            .redirect(Policy::none())
            .no_proxy()
            .timeout(timeout)
            .pool_max_idle_per_host(kept)
            .build()
            .map_err(|error| SourceSetupError::System(innermost_cause(&error)))?;
        Ok(Self { client, url, zone })
    }

    pub(crate) fn get(&self) -> RequestBuilder {
        self.client.get(self.url.clone())
    }

    pub(crate) fn post(&self) -> RequestBuilder {
        self.client.post(self.url.clone())
    }

    /// Why a request failed, without the URL.
    pub(crate) fn cause(&self, error: reqwest::Error) -> String {
        zone::explain(innermost_cause(&error.without_url()), self.zone.as_deref())
    }
}
