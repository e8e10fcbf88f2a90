//! Carrying out what the Web API asks of its process: changes of the configuration, saving it, reading it again.

use std::{sync::Arc, time::Duration};

use rtun_api::{ApiError, ApiServer, Desk, OrderAction, OrderError, OrderQueue, Ordered};
use rtun_config::{ChangeAction, ConfigParts, Document, ObjectChange};
use rtun_node::Board;
use rtun_settings::Config;
use tracing::{info, warn};

use crate::save::save;

/// Answers under way have so long to end when the API goes elsewhere.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The Web API of a process.
pub(crate) struct Api {
    desk: Desk,
    queue: OrderQueue,
    server: Option<Arc<ApiServer>>,
    /// What changes begin with; kept only while there may be some.
    parts: Option<ConfigParts>,
}

impl Api {
    pub(crate) fn new() -> Self {
        let (desk, queue) = Desk::new();
        Self { desk, queue, server: None, parts: None }
    }

    /// Waits for the next order.
    pub(crate) async fn next(&mut self) -> Ordered {
        self.queue.next().await
    }

    /// The server that `config` wants; it listens, and answers by what was before.
    pub(crate) fn prepare(
        &self,
        config: &Config,
        board: &Arc<Board>,
    ) -> Result<Option<Arc<ApiServer>>, ApiError> {
        ApiServer::next(self.server.as_ref(), config.api.as_ref(), board, &self.desk)
    }

    /// Puts a prepared server in force, with the configuration that runs now; `parts` are those of one that may be changed.
    pub(crate) fn commit(
        &mut self,
        server: Option<Arc<ApiServer>>,
        document: Option<Document>,
        parts: Option<ConfigParts>,
    ) {
        if let Some(server) = &server {
            server.commit();
        }
        self.parts = parts;
        if let Some(document) = document {
            self.desk.show(document);
        }
        if let Some(before) = std::mem::replace(&mut self.server, server) {
            // The order to change it has come over it, and is answered there.
            tokio::spawn(async move {
                tokio::time::sleep(LAST_ANSWERS).await;
                drop(before);
            });
        }
    }

    /// What runs, part by part, while it may be changed.
    pub(crate) fn parts(&self) -> Option<&ConfigParts> {
        self.parts.as_ref()
    }

    /// The parts after a change.
    pub(crate) fn edited(
        &self,
        group: &str,
        action: &OrderAction,
        title: &str,
    ) -> Result<ConfigParts, OrderError> {
        let parts = self.parts.as_ref().ok_or(OrderError::Ending)?;
        let action = match action {
            OrderAction::Create(body) => ChangeAction::Create(body),
            OrderAction::Replace(name, body) => ChangeAction::Replace(name, body),
            OrderAction::Delete(name) => ChangeAction::Delete(name),
        };
        Ok(parts.edit(&ObjectChange { group, action, title })?)
    }

    /// Writes what was changed into its files.
    pub(crate) fn save(&mut self, force: bool) -> Result<(), OrderError> {
        let parts = self.parts.as_mut().ok_or(OrderError::Ending)?;
        let rewrites = parts.rewrites()?;
        tokio::task::block_in_place(|| save(&rewrites, force))?;
        for rewrite in &rewrites {
            let path = rewrite.path.display();
            match rewrite.loses_comments {
                true => {
                    warn!(%path, "the configuration is saved, without its comments: its form could not be kept")
                }
                false => info!(%path, "the configuration is saved"),
            }
        }
        parts.saved(&rewrites);
        Ok(())
    }

    /// Whether the running configuration has a quota of this name.
    pub(crate) fn has_quota(&self, name: &str) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.has("quotas", name))
    }
}
