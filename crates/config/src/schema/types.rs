//! The types of handlers, listeners, connectors and dialers.

/// The types a handler, listener, connector or dialer may have.
#[derive(Debug)]
pub struct Types {
    /// `handler`, `listener`, `connector` or `dialer`.
    pub what: &'static str,
    /// What one without `type` is.
    pub unset: &'static str,
    /// What rtun does.
    pub supported: &'static [&'static str],
    /// What could carry or make a tunnel in GOST, and rtun does not do.
    pub refused: &'static [Refused],
    /// What belongs to other uses of GOST, with blanks between the words.
    elsewhere: &'static str,
}

/// A type that rtun refuses for a reason of its own.
#[derive(Debug)]
pub struct Refused {
    /// GOST's word.
    pub name: &'static str,
    /// One sentence, after a colon.
    pub reason: &'static str,
    /// What to use.
    pub instead: &'static str,
}

impl Types {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let refused = self.refused.iter().map(|refused| refused.name);
        self.supported.iter().copied().chain(self.elsewhere.split(' ')).chain(refused)
    }

    pub(crate) fn is_elsewhere(&self, name: &str) -> bool {
        self.elsewhere.split(' ').any(|other| other == name)
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    pub(crate) fn refused(&self, name: &str) -> Option<&'static Refused> {
        self.refused.iter().find(|refused| refused.name == name)
    }
}

/// The types of handlers.
pub static HANDLERS: Types = Types {
    what: "handler",
    unset: "auto",
    supported: &["router", "tun", "tap", "relay", "metrics", "api"],
    refused: &[],
    elsewhere: "auto dns file forward http http2 http3 masque red redir redirect redu \
                rtcp rudp serial sni socks socks4 socks4a socks5 ss sshd ssu tcp tungo \
                tunnel udp unix",
};

/// The types of listeners.
pub static LISTENERS: Types = Types {
    what: "listener",
    unset: "tcp",
    supported: &[
        "tcp", "tls", "ws", "wss", "quic", "grpc", "h2", "h2c", "mtcp", "mtls", "mws", "mwss",
        "tun", "tap",
    ],
    refused: REFUSED,
    elsewhere: "dns red redir redirect redu rudp tungo",
};

/// The types of connectors.
pub static CONNECTORS: Types = Types {
    what: "connector",
    unset: "http",
    supported: &["router", "http", "socks5", "socks", "socks4", "socks4a", "relay"],
    refused: REFUSED_PROXIES,
    elsewhere: "direct virtual",
};

/// The types of dialers.
pub static DIALERS: Types = Types {
    what: "dialer",
    unset: "tcp",
    supported: &[
        "tcp", "tls", "ws", "wss", "quic", "grpc", "h2", "h2c", "mtcp", "mtls", "mws", "mwss",
    ],
    refused: REFUSED,
    elsewhere: "direct virtual",
};

/// Transports that rtun does not speak, and those that are of no use to a routing tunnel.
static REFUSED: &[Refused] = &[
    Refused {
        name: "kcp",
        reason: "both ends need the same of a dozen settings, and GOST forgets those of its `kcp.config`, \
                 the key included",
        instead: "on links that lose packets use `quic`",
    },
    Refused {
        name: "dtls",
        reason: "one lost record shifts the boundaries of all packets after it",
        instead: "on links that lose packets use `quic`",
    },
    Refused {
        name: "http2",
        reason: "it carries no stream, in GOST neither: each read and write fails",
        instead: "use `h2`",
    },
    Refused {
        name: "udp",
        reason: "each read drops the rest of a datagram, in GOST too, so that no host is ever admitted",
        instead: "on links that lose packets use `quic`",
    },
    Refused {
        name: "h3",
        reason: "it is `pht` over HTTP/3, GOST's own way to poll, which rtun does not speak",
        instead: "use `quic`",
    },
    Refused {
        name: "pht",
        reason: "rtun does not speak this way of GOST's to poll by HTTP requests",
        instead: "use `ws` or `h2c`, with TLS `wss` or `h2`",
    },
    Refused {
        name: "phts",
        reason: "rtun does not speak this way of GOST's to poll by HTTPS requests",
        instead: "use `wss`, `h2` or `grpc`",
    },
    Refused {
        name: "ohttp",
        reason: "it only looks like HTTP and encrypts nothing, and rtun does not speak it",
        instead: "use `ws`, with TLS `wss`",
    },
    Refused {
        name: "otls",
        reason: "it only looks like TLS and encrypts nothing, and rtun does not speak it",
        instead: "use `tls`",
    },
    Refused {
        name: "ssh",
        reason: "rtun does not speak SSH",
        instead: "use `tls`; or `tcp` to a port that an SSH client forwards, as `ssh -L 8443:localhost:8443` does",
    },
    Refused {
        name: "utls",
        reason: "it imitates the handshakes of browsers, which rtun does not",
        instead: "use `tls`",
    },
    Refused { name: "wt", reason: "rtun does not speak WebTransport", instead: "use `quic`" },
    Refused {
        name: "http3",
        reason: "it carries no stream, in GOST neither",
        instead: "use `quic`",
    },
    Refused { name: "icmp", reason: "rtun does not carry packets in pings", instead: "use `quic`" },
    Refused {
        name: "icmp6",
        reason: "rtun does not carry packets in pings",
        instead: "use `quic`",
    },
    Refused {
        name: "ohttps",
        reason: "it looks like HTTP inside of TLS, and rtun does not speak it",
        instead: "use `wss`",
    },
    Refused {
        name: "h3-masque",
        reason: "rtun does not speak with proxies over HTTP/3",
        instead: "use `quic`",
    },
    Refused {
        name: "sshd",
        reason: "rtun does not speak SSH",
        instead: "use `tls`; or `tcp` to a port that an SSH client forwards, as `ssh -L 8443:localhost:8443` does",
    },
    Refused {
        name: "unix",
        reason: "hub and host speak over networks, not over a Unix socket",
        instead: "use `tcp` on 127.0.0.1",
    },
    Refused {
        name: "runix",
        reason: "rtun listens on its own machine, and on no Unix socket of a proxy",
        instead: "listen with `tls` where hosts can connect to",
    },
    Refused {
        name: "rtcp",
        reason: "rtun listens on its own machine, and on no port of a proxy",
        instead: "listen with `tls` where hosts can connect to; a port that `ssh -R` forwards leads to it, too",
    },
    Refused {
        name: "serial",
        reason: "rtun does not speak over serial lines",
        instead: "give the line an address (PPP), and use `tcp`",
    },
    Refused {
        name: "stdio",
        reason: "a hub takes connections of many hosts, and the standard input is one",
        instead: "use `tcp` on 127.0.0.1",
    },
    Refused {
        name: "wg",
        reason: "rtun runs no WireGuard of its own",
        instead: "use `tcp` through the system's WireGuard device",
    },
    Refused {
        name: "ftcp",
        reason: "rtun does not send TCP segments past the system's TCP",
        instead: "use `tcp`",
    },
];

/// Proxies that rtun does not speak with.
static REFUSED_PROXIES: &[Refused] = &[
    Refused {
        name: "ss",
        reason: "rtun does not speak Shadowsocks",
        instead: "use `socks5` to a Shadowsocks client on this machine",
    },
    Refused {
        name: "ssu",
        reason: "rtun does not speak Shadowsocks",
        instead: "use `socks5` to a Shadowsocks client on this machine",
    },
    Refused {
        name: "sshd",
        reason: "rtun does not speak SSH",
        instead: "write the address of a port that an SSH client forwards, as `ssh -L 8443:hub:8443` does, as the hub's",
    },
    Refused {
        name: "forward",
        reason: "it asks for nothing: what is there leads to one place",
        instead: "leave the hop out, and write its address as the hub's",
    },
    Refused {
        name: "tcp",
        reason: "it asks for nothing: what is there leads to one place",
        instead: "leave the hop out, and write its address as the hub's",
    },
    Refused {
        name: "unix",
        reason: "it asks for nothing: what is behind the Unix socket leads to one place",
        instead: "have that listen on 127.0.0.1, and write this as the hub's address",
    },
    Refused {
        name: "serial",
        reason: "rtun does not speak over serial lines",
        instead: "give the line an address (PPP), and use `tcp`",
    },
    Refused {
        name: "sni",
        reason: "such a proxy goes by the names in TLS and HTTP that pass through it, and rtun writes no other name there",
        instead: "use `http`",
    },
    Refused {
        name: "tunnel",
        reason: "rtun does not speak the protocol of GOST's reverse proxies",
        instead: "use `relay`",
    },
    Refused {
        name: "masque",
        reason: "rtun does not speak with proxies over HTTP/3",
        instead: "use `http` with the dialer `tls`",
    },
    Refused {
        name: "http2",
        reason: "rtun asks proxies in HTTP/1.1",
        instead: "use `http` with the dialer `tls`, which most such proxies speak too",
    },
];
