//! What is asked, by whom and with which outcome, in the log.

use rtun_node::http::HttpPeer;
use tracing::{info, warn};

use crate::answer::ApiAnswer;

/// Who asks, and what.
pub(crate) struct AuditEntry<'a> {
    pub(crate) peer: &'a HttpPeer,
    /// `None`: nobody has to say who they are, or they have not proven it.
    pub(crate) user: Option<&'a str>,
    pub(crate) method: &'a str,
    /// Without the query, which may hold anything.
    pub(crate) path: &'a str,
    /// Whether it changes something.
    pub(crate) changes: bool,
}

impl AuditEntry<'_> {
    /// Logs changes and refusals, and what only reads if `all` is set.
    pub(crate) fn log(&self, answer: &ApiAnswer, all: bool) {
        let client = self.peer.address.map_or_else(|| "unix".to_owned(), |it| it.to_string());
        let user = self.user.unwrap_or("-");
        let method = self.method;
        let path: String = self.path.chars().take(200).flat_map(char::escape_debug).collect();
        let status = answer.status.as_u16();
        match &answer.error {
            Some(error) if self.changes || status == 401 || status == 403 => {
                warn!(client, user, method, path, status, error, "Web API: not done");
            }
            None if self.changes => info!(client, user, method, path, status, "Web API: done"),
            error if all => info!(client, user, method, path, status, error, "Web API: asked"),
            _ => {}
        }
    }
}
