//! Reads configuration sources: files, the standard input, and http(s) URLs.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use rtun_config::source::{
    ConfigSource, Content, MAX_BYTES, NodeSource, NodeTexts, ReadError, Reader, nodes_of_file,
};

use crate::{hop_feeds::HopFeeds, state::ProcessState};

/// For a URL, from connecting to the last byte.
const URL_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads each source anew whenever asked, except the standard input, which can be read only once.
#[derive(Default)]
pub(crate) struct SystemReader {
    stdin_read: bool,
    /// In a process that runs what it reads.
    pub(crate) hops: Option<HopFeeds>,
}

impl SystemReader {
    /// One that follows sources of nodes, whose texts are kept in `state`; it is to be used inside a runtime.
    pub(crate) fn following(state: ProcessState) -> Self {
        Self { hops: Some(HopFeeds::new(state)), ..Self::default() }
    }
}

impl Reader for SystemReader {
    fn read(&mut self, source: &ConfigSource) -> Result<Content, ReadError> {
        match source {
            ConfigSource::File(path) => {
                let file = File::open(path).map_err(failure)?;
                Ok(Content { bytes: bounded(file)?, content_type: None })
            }
            ConfigSource::Stdin if self.stdin_read => {
                Err(ReadError::Other("the standard input has been read already".into()))
            }
            ConfigSource::Stdin => {
                self.stdin_read = true;
                Ok(Content { bytes: bounded(io::stdin().lock())?, content_type: None })
            }
            ConfigSource::Url(url) => fetch(url),
            ConfigSource::Inline(text) => {
                Ok(Content { bytes: text.clone().into_bytes(), content_type: None })
            }
        }
    }

    fn nodes(&mut self, source: &NodeSource) -> NodeTexts {
        match &mut self.hops {
            Some(hops) => hops.nodes(source),
            None => {
                let now = nodes_of_file(&source.settings, |it| self.read(it));
                NodeTexts { now, before: None }
            }
        }
    }

    fn nodes_used(&mut self, source: &NodeSource, text: &Arc<str>) {
        if let Some(hops) = &mut self.hops {
            hops.used(source, text);
        }
    }

    fn nodes_left_out(&mut self, source: &NodeSource, why: &ReadError) {
        if let Some(hops) = &mut self.hops {
            hops.left_out(source, why);
        }
    }
}

/// Reads one byte more than is allowed, so that too much is seen as such.
fn bounded(reader: impl Read) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failure)?;
    Ok(bytes)
}

fn failure(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::NotFound => ReadError::NotFound,
        _ => ReadError::Other(error.to_string()),
    }
}

/// Fetches on a thread and runtime of its own: the caller may be inside another runtime.
fn fetch(url: &str) -> Result<Content, ReadError> {
    let other = |error: &dyn std::fmt::Display| ReadError::Other(error.to_string());
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| other(&error))?
                .block_on(fetch_with_limit(url))
        });
        fetching.join().unwrap_or_else(|_| Err(ReadError::Other("reading it failed".into())))
    })
}

async fn fetch_with_limit(url: &str) -> Result<Content, ReadError> {
    let other = |error: reqwest::Error| ReadError::Other(error.without_url().to_string());
    let (url, zone) = rtun_node::take_zone(url);
    let mut client = reqwest::Client::builder();
    if let Some(interface) = &zone {
        client = client.interface(interface);
    }
    // What stands in the URL goes to its host and to nobody else.
    let client = client
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(URL_TIMEOUT)
        .build()
        .map_err(other)?;
    let mut response = client.get(url).send().await.map_err(other)?;
    if response.status() != reqwest::StatusCode::OK {
        let status = response.status();
        let follows = if status.is_redirection() { "; redirects are not followed" } else { "" };
        return Err(ReadError::Other(format!(
            "status {} instead of 200{follows}",
            status.as_u16()
        )));
    }
    let content_type = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(other)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            break;
        }
    }
    Ok(Content { bytes, content_type })
}
