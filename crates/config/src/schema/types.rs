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
    supported: &["router", "tun", "tap"],
    refused: &[],
    elsewhere: "api auto dns file forward http http2 http3 masque metrics red redir redirect redu \
                relay rtcp rudp serial sni socks socks4 socks4a socks5 ss sshd ssu tcp tungo \
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
    elsewhere: "dns ftcp h3 http3 icmp icmp6 ohttp otls pht phts red redir redirect redu rtcp rudp \
                runix serial ssh sshd stdio tungo unix wt",
};

/// The types of connectors.
pub static CONNECTORS: Types = Types {
    what: "connector",
    unset: "http",
    supported: &["router", "http", "socks5", "socks"],
    refused: &[],
    elsewhere: "direct forward http2 masque relay serial sni socks4 socks4a ss sshd ssu tcp tunnel \
                unix virtual",
};

/// The types of dialers.
pub static DIALERS: Types = Types {
    what: "dialer",
    unset: "tcp",
    supported: &[
        "tcp", "tls", "ws", "wss", "quic", "grpc", "h2", "h2c", "mtcp", "mtls", "mws", "mwss",
    ],
    refused: REFUSED,
    elsewhere: "direct ftcp h3 h3-masque http3 icmp icmp6 ohttp ohttps otls pht phts serial ssh sshd \
                unix utls virtual wg wt",
};

/// Transports that are of no use to a routing tunnel.
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
];
