//! A transport that contenders are compared over: GOST's name for it, and what the hosts add to it.

use std::str::FromStr;

/// What stands in the place of TCP between hosts and hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BenchTransport {
    /// As in `listener: {type: NAME}` and `router+NAME://`.
    name: String,
    /// The query of the hosts' `-F`, such as `datagrams=false`; may be empty.
    query: String,
}

impl BenchTransport {
    /// The listener's type in the hub's file.
    pub(super) fn listener(&self) -> &str {
        &self.name
    }

    /// The hosts' `-F`.
    pub(super) fn node(&self, hub: &str) -> String {
        let Self { name, query } = self;
        let separator = if query.is_empty() { "" } else { "?" };
        format!("router+{name}://{hub}{separator}{query}")
    }

    /// What is added to a contender's name.
    pub(super) fn label(&self) -> String {
        match self.query.is_empty() {
            true => self.name.clone(),
            false => format!("{}?{}", self.name, self.query),
        }
    }
}

impl FromStr for BenchTransport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{text:?} is not like tls or quic?datagrams=false"));
        }
        Ok(Self { name: name.to_owned(), query: query.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_into_listeners_and_urls_and_queries_into_urls() {
        let tls: BenchTransport = "tls".parse().unwrap();
        assert_eq!((tls.listener(), &*tls.label()), ("tls", "tls"));
        assert_eq!(tls.node("10.0.1.1:8443"), "router+tls://10.0.1.1:8443");
        let quic: BenchTransport = "quic?datagrams=false".parse().unwrap();
        assert_eq!((quic.listener(), &*quic.label()), ("quic", "quic?datagrams=false"));
        assert_eq!(quic.node("hub:1"), "router+quic://hub:1?datagrams=false");
        for wrong in ["", "?a=b", "t ls", "tls://", "tcp\n"] {
            assert!(
                wrong.parse::<BenchTransport>().unwrap_err().contains("is not like"),
                "{wrong:?}"
            );
        }
    }
}
