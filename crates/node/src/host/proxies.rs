//! The proxies of a chain: each connection goes through one of every hop.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rtun_config::model::{ProxyHop, ProxyKind, ProxyNode};
use rtun_core::{Selector, Strategy};
use rtun_net::transport::{Stream, proxy, socket::SocketOptions};
use tokio::time::timeout;

use super::{
    dial::{DialError, Encryption, SetupError, connect_tcp, headers},
    hubs::{hash, standing},
};
use crate::sockets::socket_options;

/// The hops before a hub, the nearest first; none where it is reached directly.
pub(super) struct Proxies {
    hops: Vec<Hop>,
    hash: u32,
    begin: Instant,
}

struct Hop {
    nodes: Vec<Proxy>,
    selector: Mutex<Selector>,
    is_hashed: bool,
}

struct Proxy {
    config: ProxyNode,
    tls: Option<Encryption>,
    sockets: SocketOptions,
}

impl Proxies {
    /// `host` is who goes through them, for the choice by hash.
    pub(super) fn new(hops: &[ProxyHop], host: &str) -> Result<Self, SetupError> {
        let hops = hops.iter().map(Hop::new).collect::<Result<_, _>>()?;
        Ok(Self { hops, hash: hash(host), begin: Instant::now() })
    }

    /// Whether there is any.
    pub(super) fn are_there(&self) -> bool {
        !self.hops.is_empty()
    }

    /// A stream to `target` (`host:port`), which the last proxy connects to; none where there is no proxy.
    pub(super) async fn reach(&self, target: &str) -> Result<Option<Arc<dyn Stream>>, DialError> {
        let now = self.begin.elapsed();
        let chosen = self.hops.iter().map(|hop| {
            let random = if hop.is_hashed { self.hash } else { fastrand::u32(..) };
            let node = hop.selector().choose(now, random);
            (hop, node)
        });
        let chosen: Vec<(&Hop, usize)> = chosen.collect();
        let mut stream = None;
        for (place, &(hop, node)) in chosen.iter().enumerate() {
            let next = chosen.get(place + 1).map(|&(hop, node)| &*hop.nodes[node].config.addr);
            match hop.nodes[node].pass(stream, next.unwrap_or(target)).await {
                Ok(through) => {
                    hop.selector().succeeded(node);
                    stream = Some(through);
                }
                Err(error) => {
                    hop.selector().failed(node, self.begin.elapsed());
                    return Err(error);
                }
            }
        }
        Ok(stream)
    }
}

impl Hop {
    fn new(config: &ProxyHop) -> Result<Self, SetupError> {
        let selection = config.selector;
        let standings = config.nodes.iter().map(|node| standing(&node.standing));
        Ok(Self {
            nodes: config.nodes.iter().map(Proxy::new).collect::<Result<_, _>>()?,
            selector: Mutex::new(Selector::new(selection, standings)),
            is_hashed: selection.strategy == Strategy::Hash,
        })
    }

    /// A poisoned lock still guards a whole selector: nothing in it panics half way through a change.
    fn selector(&self) -> MutexGuard<'_, Selector> {
        self.selector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    fn new(config: &ProxyNode) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: config.addr.clone(), source };
        Ok(Self {
            tls: Encryption::of(&config.carriage).map_err(failed)?,
            sockets: socket_options(&config.sockets),
            config: config.clone(),
        })
    }

    /// Goes on to `target` through this proxy, which is at the other end of `stream`, or still to be connected to.
    async fn pass(
        &self,
        stream: Option<Arc<dyn Stream>>,
        target: &str,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let Self { config, tls, sockets } = self;
        let mut stream = match stream {
            Some(stream) => stream,
            None => connect_tcp(&config.addr, sockets, config.proxy_protocol).await?,
        };
        if let Some(tls) = tls {
            stream = tls.connect(stream, &config.addr).await?;
        }
        let auth = config.auth.as_ref().map(|auth| (&*auth.user, auth.password.expose()));
        let asked = async {
            match config.protocol {
                ProxyKind::Http => {
                    proxy::http_connect(&*stream, target, auth, &headers(&config.headers)).await
                }
                ProxyKind::Socks5 => proxy::socks5(&*stream, target, auth).await,
            }
        };
        let passed = match config.connect_timeout {
            None => asked.await,
            Some(limit) => timeout(limit, asked).await.map_err(|_| DialError::Timeout(limit))?,
        };
        passed.map_err(|error| DialError::Proxy(config.addr.clone(), error))?;
        Ok(stream)
    }
}
