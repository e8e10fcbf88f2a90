//! The connections of a server: a bounded number, of which those that have proven nothing go first.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::JoinHandle;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct HttpPeer {
    /// Its address; `None`: a Unix socket of this machine.
    pub address: Option<SocketAddr>,
    /// What it has proven so far.
    pub proven: HttpProven,
}

/// Whether somebody on a connection has asked what they may ask. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HttpProven(Arc<AtomicBool>);

impl HttpProven {
    /// From here on the connection is not closed to make room for another.
    pub fn prove(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_proven(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections that are served, the oldest first; dropping this ends them.
#[derive(Default)]
pub(super) struct Served(VecDeque<(HttpProven, JoinHandle<()>)>);

impl Served {
    /// Makes room for one more among `at_once`: for it, the oldest is closed that has proven nothing. Whether there is room.
    pub(super) fn make_room(&mut self, at_once: usize) -> bool {
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() < at_once {
            return true;
        }
        let Some(unproven) = self.0.iter().position(|(proven, _)| !proven.is_proven()) else {
            return false;
        };
        if let Some((_, task)) = self.0.remove(unproven) {
            task.abort();
        }
        true
    }

    pub(super) fn add(&mut self, proven: HttpProven, task: JoinHandle<()>) {
        self.0.push_back((proven, task));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, task)| task.abort());
    }
}
