//! The proxies of a chain: each connection goes through one proxy of every hop.

use std::sync::Arc;

use rtun_proto::proxy::Target;
use rtun_settings::{ProxyHop, ProxyKind, ProxyNode};
use rtun_transport::{Stream, proxy, relay_hop};
use tokio::time::Instant;

use super::{
    attempt::{Attempt, DialError, Opened, SetupError},
    choice::Choice,
    layers::Layers,
    wire::Wire,
};

/// The hops before a hub, the nearest first; none if hubs are reached directly.
pub(crate) struct Proxies {
    hops: Vec<ProxyHopDialer>,
}

struct ProxyHopDialer {
    nodes: Vec<ProxyDialer>,
    choice: Arc<Choice>,
}

struct ProxyDialer {
    config: ProxyNode,
    layers: Layers,
}

impl Proxies {
    /// `host` is the name of the host, for the choice by hash.
    pub(crate) fn new(hops: &[ProxyHop], host: &str) -> Result<Self, SetupError> {
        let hops = hops.iter().map(|hop| ProxyHopDialer::new(hop, host));
        Ok(Self { hops: hops.collect::<Result<_, _>>()? })
    }

    /// Whether there are any.
    pub(crate) fn are_there(&self) -> bool {
        !self.hops.is_empty()
    }

    /// Opens a stream to `target` (`host:port`), which the last proxy connects to; none if there are no proxies.
    pub(crate) async fn reach(
        &self,
        target: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Opened>, DialError> {
        let chosen: Vec<(&ProxyHopDialer, usize)> =
            self.hops.iter().map(|hop| (hop, hop.choice.choose())).collect();
        let mut opened = None;
        for (place, &(hop, node)) in chosen.iter().enumerate() {
            let next = chosen.get(place + 1).map(|&(hop, node)| &*hop.nodes[node].config.addr);
            let next = attempt.named_or_found(next.unwrap_or(target)).await?;
            match hop.pass(node, opened, &next, attempt).await {
                Ok(through) => opened = Some(through),
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
            choice: Arc::new(Choice::new(config.selector, preferences, host)),
        })
    }

    /// Asks the proxy `node` to connect to `target`. The proxy is at the other end of `opened`; none: it is connected to first.
    async fn pass(
        &self,
        node: usize,
        opened: Option<Opened>,
        target: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Opened, DialError> {
        let proxy = &self.nodes[node];
        let begin = Instant::now();
        let Opened { stream, wire } = proxy.open(opened, attempt).await?;
        self.choice.measured(node, begin.elapsed());
        let choice = Arc::clone(&self.choice);
        // A relay's answer may come after the connection counts as opened.
        let on_answer = Box::new(move |leads_on: bool| match leads_on {
            true => choice.succeeded(node),
            false => choice.failed(node),
        });
        let stream = proxy.ask(stream, target, attempt, on_answer).await?;
        if !matches!(proxy.config.protocol, ProxyKind::Relay { answers_at_once: false }) {
            self.choice.succeeded(node);
        }
        Ok(Opened { stream, wire })
    }
}

impl ProxyDialer {
    fn new(config: &ProxyNode) -> Result<Self, SetupError> {
        Ok(Self { layers: Layers::new(&config.addr, &config.stack)?, config: config.clone() })
    }

    /// Opens a stream to this proxy, on the connection `opened` or on one of its own.
    async fn open(
        &self,
        opened: Option<Opened>,
        attempt: &Attempt<'_>,
    ) -> Result<Opened, DialError> {
        let ProxyNode { addr, sockets, segment_max, proxy_protocol, .. } = &self.config;
        let Opened { stream, wire } = match opened {
            Some(opened) => opened,
            None => {
                if let Some(stream) = self.layers.connect_quic(attempt, sockets).await? {
                    return Ok(Opened { stream, wire: None });
                }
                let tcp = attempt.connect(addr, sockets, *segment_max, *proxy_protocol).await?;
                let wire = Some(Wire::of(&tcp));
                Opened { stream: tcp, wire }
            }
        };
        Ok(Opened { stream: self.layers.open(attempt, stream).await?, wire })
    }

    /// Asks this proxy, at the other end of `stream`, to connect to `target`.
    async fn ask(
        &self,
        stream: Arc<dyn Stream>,
        target: &str,
        attempt: &Attempt<'_>,
        on_answer: relay_hop::OnAnswer,
    ) -> Result<Arc<dyn Stream>, DialError> {
        let ProxyNode { addr, protocol, auth, headers, connect_timeout, .. } = &self.config;
        let auth = auth.as_ref();
        let stage = match protocol {
            ProxyKind::Http => "CONNECT",
            ProxyKind::Socks4 { .. } => "SOCKS 4",
            ProxyKind::Socks5 => "SOCKS 5",
            ProxyKind::Relay { .. } => "the relay protocol",
        };
        let failed = |error| DialError::Proxy(addr.clone(), error);
        let asking = async {
            match protocol {
                ProxyKind::Http => {
                    proxy::http_connect(&*stream, target, auth, headers).await.map_err(failed)?;
                }
                ProxyKind::Socks4 { names: true } => {
                    proxy::socks4(&*stream, target, auth).await.map_err(failed)?;
                }
                ProxyKind::Socks4 { names: false } => {
                    let target = self.ipv4_of(target, attempt).await?;
                    proxy::socks4(&*stream, &target, auth).await.map_err(failed)?;
                }
                ProxyKind::Socks5 => {
                    proxy::socks5(&*stream, target, auth).await.map_err(failed)?;
                }
                ProxyKind::Relay { answers_at_once: true } => {
                    let opened = relay_hop::open_answered(&*stream, target, auth).await;
                    opened.map_err(|error| failed(error.into()))?;
                }
                ProxyKind::Relay { answers_at_once: false } => {
                    let stream = Arc::clone(&stream);
                    let opened = relay_hop::open(stream, addr, target, auth, on_answer).await;
                    let opened = opened.map_err(|error| failed(error.into()))?;
                    return Ok(Arc::new(opened) as Arc<dyn Stream>);
                }
            }
            Ok(Arc::clone(&stream))
        };
        attempt.stage_within(stage, addr, *connect_timeout, asking).await
    }

    /// `target` with an IPv4 address, which is looked up here if it is a name.
    async fn ipv4_of(&self, target: &str, attempt: &Attempt<'_>) -> Result<String, DialError> {
        if target.parse::<Target>().is_ok_and(|target| target.is_ipv4()) {
            return Ok(target.to_owned());
        }
        let found = attempt.find(target, &self.config.sockets).await?;
        let address = found.addresses.iter().find(|address| address.is_ipv4());
        match address {
            Some(address) => Ok(address.to_string()),
            None => Err(DialError::NoIpv4(self.config.addr.clone(), target.to_owned())),
        }
    }
}
