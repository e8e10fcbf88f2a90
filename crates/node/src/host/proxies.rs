//! The proxies of a chain: each connection goes through one proxy of every hop.

use rtun_settings::{ProxyHop, ProxyKind, ProxyNode};
use rtun_transport::proxy;

use super::{
    attempt::{Attempt, DialError, Opened, SetupError},
    choice::Choice,
    dial_tls::DialerTls,
    wire::Wire,
};

/// The hops before a hub, the nearest first; none if hubs are reached directly.
pub(super) struct Proxies {
    hops: Vec<ProxyHopDialer>,
}

struct ProxyHopDialer {
    nodes: Vec<ProxyDialer>,
    choice: Choice,
}

struct ProxyDialer {
    config: ProxyNode,
    tls: Option<DialerTls>,
}

impl Proxies {
    /// `host` is the name of the host, for the choice by hash.
    pub(super) fn new(hops: &[ProxyHop], host: &str) -> Result<Self, SetupError> {
        let hops = hops.iter().map(|hop| ProxyHopDialer::new(hop, host));
        Ok(Self { hops: hops.collect::<Result<_, _>>()? })
    }

    /// Whether there are any.
    pub(super) fn are_there(&self) -> bool {
        !self.hops.is_empty()
    }

    /// Opens a stream to `target` (`host:port`), which the last proxy connects to; none if there are no proxies.
    pub(super) async fn reach(
        &self,
        target: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Opened>, DialError> {
        let chosen: Vec<(&ProxyHopDialer, usize)> =
            self.hops.iter().map(|hop| (hop, hop.choice.choose())).collect();
        let mut opened = None;
        for (place, &(hop, node)) in chosen.iter().enumerate() {
            let next = chosen.get(place + 1).map(|&(hop, node)| &*hop.nodes[node].config.addr);
            match hop.nodes[node].pass(opened, next.unwrap_or(target), attempt).await {
                Ok(through) => {
                    hop.choice.succeeded(node);
                    opened = Some(through);
                }
                Err(error) => {
                    hop.choice.failed(node);
                    return Err(error);
                }
            }
        }
        Ok(opened)
    }
}

impl ProxyHopDialer {
    fn new(config: &ProxyHop, host: &str) -> Result<Self, SetupError> {
        let preferences = config.nodes.iter().map(|node| &node.preference);
        Ok(Self {
            nodes: config.nodes.iter().map(ProxyDialer::new).collect::<Result<_, _>>()?,
            choice: Choice::new(config.selector, preferences, host),
        })
    }
}

impl ProxyDialer {
    fn new(config: &ProxyNode) -> Result<Self, SetupError> {
        let failed = |source| SetupError::Tls { addr: config.addr.clone(), source };
        Ok(Self { tls: DialerTls::of(&config.stack).map_err(failed)?, config: config.clone() })
    }

    /// Asks this proxy to connect to `target`. The proxy is at the other end of `opened`; none: it is connected to first.
    async fn pass(
        &self,
        opened: Option<Opened>,
        target: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Opened, DialError> {
        let Self { config, tls } = self;
        let Opened { mut stream, wire } = match opened {
            Some(opened) => opened,
            None => {
                let ProxyNode { addr, sockets, segment_max, proxy_protocol, .. } = config;
                let tcp = attempt.connect(addr, sockets, *segment_max, *proxy_protocol).await?;
                let wire = Some(Wire::of(&tcp));
                Opened { stream: tcp, wire }
            }
        };
        if let Some(tls) = tls {
            stream = attempt.stage("TLS", &config.addr, tls.connect(stream, &config.addr)).await?;
        }
        let auth = config.auth.as_ref();
        let stage = match config.protocol {
            ProxyKind::Http => "CONNECT",
            ProxyKind::Socks5 => "SOCKS 5",
        };
        let asking = async {
            let answer = match config.protocol {
                ProxyKind::Http => {
                    proxy::http_connect(&*stream, target, auth, &config.headers).await
                }
                ProxyKind::Socks5 => proxy::socks5(&*stream, target, auth).await,
            };
            answer.map_err(|error| DialError::Proxy(config.addr.clone(), error))
        };
        attempt.stage_within(stage, &config.addr, config.connect_timeout, asking).await?;
        Ok(Opened { stream, wire })
    }
}
