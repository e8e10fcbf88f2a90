//! QUIC: what every transport's stream does, and what it does besides.

#![allow(clippy::unwrap_used)]

#[path = "../battery/mod.rs"]
mod battery;
mod certificates;
mod congestion;
mod connecting;
mod datagrams;
mod ends;
mod flood;
mod goodput;
mod gost;
mod moving;
#[path = "../battery/owned.rs"]
mod owned;
mod pair;
mod relay;

use std::sync::Arc;

use self::{
    battery::{Abilities, battery},
    owned::Owned,
    pair::{pair, server},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_passes() {
    let server = server();
    battery(Abilities { half_close: true }, async || {
        let (a, b, connection) = pair(&server).await;
        (a as _, Arc::new(Owned(b as _, connection)) as _)
    })
    .await;
}

/// All the library's tasks on one thread, as the data path runs them.
#[tokio::test]
async fn quic_passes_on_one_thread() {
    let server = server();
    battery(Abilities { half_close: true }, async || {
        let (a, b, connection) = pair(&server).await;
        (a as _, Arc::new(Owned(b as _, connection)) as _)
    })
    .await;
}
