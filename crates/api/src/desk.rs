//! What the API and its process hand each other: the configuration that runs, and orders to change it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rtun_config::{Document, EditError, RewriteError, findings::Finding};
use tokio::sync::{mpsc, oneshot};

/// Orders that wait; for one more, the sender waits.
const WAITING: usize = 16;

/// An order to the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Change one object of the configuration.
    Change {
        /// Its list.
        group: String,
        /// What becomes of it.
        action: OrderAction,
        /// How findings call the body.
        title: String,
    },
    /// Write what was changed into the files that it comes from.
    Save {
        /// Also where a file is not any more what was read.
        force: bool,
    },
    /// Read the sources again.
    Reload,
    /// Set what a quota has counted.
    ResetQuota {
        /// Of the quota.
        name: String,
        /// In bytes.
        used: u64,
    },
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderAction {
    /// One more, of this JSON.
    Create(String),
    /// The one of this name becomes this JSON.
    Replace(String, String),
    /// The one of this name goes.
    Delete(String),
}

/// What has been done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// What there is to say of the configuration since.
    pub findings: Vec<Finding>,
}

/// Why an order was not carried out. Then nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The change makes no sense in this configuration.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// With the change the configuration would be wrong.
    #[error("the configuration would be wrong")]
    Wrong(Vec<Finding>),
    /// It is right and cannot be put in force, as with an address that is in use.
    #[error("{0}")]
    Failed(String),
    /// It cannot be written.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The system does not let it be written.
    #[error("{0}")]
    Save(String),
    /// A file has been changed since it was read.
    #[error("{0}")]
    Outdated(String),
    /// There is no such quota.
    #[error("quota {0} not found")]
    NoQuota(String),
    /// The process ends.
    #[error("the process ends")]
    Ending,
}

/// An order, and where its outcome is awaited.
#[derive(Debug)]
pub struct Ordered {
    /// What is to be done.
    pub order: Order,
    outcome: oneshot::Sender<Result<Done, OrderError>>,
}

impl Ordered {
    /// Tells the outcome to those who asked, if they are still there.
    pub fn answer(self, outcome: Result<Done, OrderError>) {
        let _ = self.outcome.send(outcome);
    }
}

/// What the API shows and asks of its process.
#[derive(Debug, Clone)]
pub struct Desk {
    document: Arc<ArcSwapOption<Document>>,
    orders: mpsc::Sender<Ordered>,
}

/// The orders, for the process.
#[derive(Debug)]
pub struct OrderQueue(mpsc::Receiver<Ordered>);

impl Desk {
    /// A desk without a configuration, and its orders.
    pub fn new() -> (Self, OrderQueue) {
        let (orders, queue) = mpsc::channel(WAITING);
        (Self { document: Arc::default(), orders }, OrderQueue(queue))
    }

    /// Shows this configuration, which runs from now on.
    pub fn show(&self, document: Document) {
        self.document.store(Some(Arc::new(document)));
    }

    /// The configuration that runs.
    pub(crate) fn document(&self) -> Option<Arc<Document>> {
        self.document.load_full()
    }

    /// Has `order` carried out. Giving up the wait does not take it back.
    pub(crate) async fn order(&self, order: Order) -> Result<Done, OrderError> {
        let (outcome, answer) = oneshot::channel();
        let ordered = Ordered { order, outcome };
        self.orders.send(ordered).await.map_err(|_| OrderError::Ending)?;
        answer.await.unwrap_or(Err(OrderError::Ending))
    }
}

impl OrderQueue {
    /// The next order; waits without end where nobody can give one any more.
    pub async fn next(&mut self) -> Ordered {
        match self.0.recv().await {
            Some(ordered) => ordered,
            None => std::future::pending().await,
        }
    }
}
