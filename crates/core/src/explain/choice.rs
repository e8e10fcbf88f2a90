//! Selects the hub or server, and the namespace, that a question is about.

use serde::{Deserialize, Serialize};

use super::Explanation;
use crate::NamespaceId;

/// What happens to a packet at one hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubExplanation {
    /// The hub's service name.
    pub service: String,
    /// What happens to the packet, and why.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// What was not asked and could change the result, as text.
    pub not_asked: Vec<String>,
    /// The limits that it has to keep to.
    #[serde(default)]
    pub limits: Vec<AppliedLimit>,
}

/// A limit of the traffic of the sending or the receiving host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedLimit {
    /// Whose traffic it is.
    pub host: String,
    /// Which direction.
    pub direction: LimitedDirection,
    /// The key that it is from: `limiter` of the service, or `handler.limiter`.
    pub limiter: String,
    /// Who shares it: `service`, `address`, `connection`, `namespace` or `host`.
    pub scope: String,
    /// How much may pass.
    pub bytes_per_second: u64,
}

/// A direction, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedDirection {
    /// What the hub receives from it.
    From,
    /// What the hub sends to it.
    To,
}

/// What a hub or server goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// IP addresses of packets.
    Ip,
    /// Hardware addresses of Ethernet frames.
    Hardware,
}

/// The question does not name the hub, server or namespace that it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "unclear", rename_all = "snake_case")]
pub enum Unclear {
    /// There is no hub.
    #[error("there is no hub and no server of a UDP or Ethernet tunnel")]
    NoHub,
    /// There is no hub with that name.
    #[error("there is no hub or server {name:?}; there is: {}", hubs.join(", "))]
    NoSuchHub {
        /// The name asked for.
        name: String,
        /// The existing hubs and servers.
        hubs: Vec<String>,
    },
    /// Only a server of an Ethernet tunnel is meant, and the question has IP addresses.
    #[error(
        "{service:?} is the server of an Ethernet tunnel, which goes by hardware addresses: ask with two of them, as 02:00:5e:10:00:01"
    )]
    GoesByHardware {
        /// The server's service name.
        service: String,
    },
    /// No server of an Ethernet tunnel is meant, and the question has hardware addresses.
    #[error("{service:?} goes by IP addresses: ask with two of them")]
    GoesByIp {
        /// Its service name.
        service: String,
    },
    /// The hub has several namespaces.
    #[error("hub {service:?} has {} namespaces: choose one with --namespace{}", namespaces.len(), lines(namespaces))]
    WhichNamespace {
        /// The hub's service name.
        service: String,
        /// All namespaces of the hub.
        namespaces: Vec<String>,
    },
}

/// How many namespaces are listed to choose from.
const MAX_LISTED: usize = 32;

fn lines(namespaces: &[String]) -> String {
    let shown = namespaces.iter().take(MAX_LISTED).map(|id| format!("\n  {id}"));
    let more = if namespaces.len() > MAX_LISTED { "\n  ..." } else { "" };
    shown.chain([more.to_owned()]).collect()
}

/// The hub or server called `wanted`, or all if there is no name, of those that go by addresses of the kind `asked`.
pub fn choose_services<'s, S>(
    services: &'s [S],
    name_of: impl Fn(&S) -> &str,
    kind_of: impl Fn(&S) -> AddressKind,
    asked: AddressKind,
    wanted: Option<&str>,
) -> Result<Vec<&'s S>, Unclear> {
    if services.is_empty() {
        return Err(Unclear::NoHub);
    }
    let is_named = |service: &&S| wanted.is_none_or(|wanted| name_of(service) == wanted);
    let named: Vec<&S> = services.iter().filter(is_named).collect();
    let Some(first) = named.first().map(|first| name_of(first).to_owned()) else {
        let hubs = services.iter().map(|service| name_of(service).to_owned()).collect();
        return Err(Unclear::NoSuchHub { name: wanted.unwrap_or_default().to_owned(), hubs });
    };
    let chosen: Vec<&S> = named.into_iter().filter(|service| kind_of(service) == asked).collect();
    match asked {
        _ if !chosen.is_empty() => Ok(chosen),
        AddressKind::Ip => Err(Unclear::GoesByHardware { service: first }),
        AddressKind::Hardware => Err(Unclear::GoesByIp { service: first }),
    }
}

/// The namespace `wanted`. Without it, the only one of `named`; if `named` is empty, the default namespace.
pub fn choose_namespace(
    service: &str,
    wanted: Option<NamespaceId>,
    named: impl IntoIterator<Item = NamespaceId>,
) -> Result<NamespaceId, Unclear> {
    if let Some(wanted) = wanted {
        return Ok(wanted);
    }
    let named: Vec<NamespaceId> = named.into_iter().collect();
    match *named {
        [] => Ok(NamespaceId::DEFAULT),
        [only] => Ok(only),
        _ => Err(Unclear::WhichNamespace {
            service: service.to_owned(),
            namespaces: named.iter().map(ToString::to_string).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_name_means_the_only_one() {
        let (one, two) = (NamespaceId::from_bytes([1; 16]), NamespaceId::from_bytes([2; 16]));
        assert_eq!(choose_namespace("hub", None, []), Ok(NamespaceId::DEFAULT));
        assert_eq!(choose_namespace("hub", None, [one]), Ok(one));
        assert_eq!(choose_namespace("hub", Some(two), [one]), Ok(two));
        let unclear = choose_namespace("hub", None, [one, two]).unwrap_err().to_string();
        assert!(unclear.contains(&one.to_string()) && unclear.contains(&two.to_string()));

        let services =
            [("a", AddressKind::Ip), ("b", AddressKind::Ip), ("tap", AddressKind::Hardware)];
        let choose = |asked, wanted| {
            let chosen = choose_services(&services, |it| it.0, |it| it.1, asked, wanted);
            chosen.map(|chosen| chosen.iter().map(|it| it.0).collect::<Vec<_>>())
        };
        assert_eq!(choose(AddressKind::Ip, None), Ok(vec!["a", "b"]));
        assert_eq!(choose(AddressKind::Ip, Some("b")), Ok(vec!["b"]));
        assert_eq!(choose(AddressKind::Hardware, None), Ok(vec!["tap"]));
        let unclear = choose(AddressKind::Ip, Some("c")).unwrap_err().to_string();
        assert!(unclear.contains("a, b, tap"), "{unclear}");
        let service = "tap".to_owned();
        assert_eq!(choose(AddressKind::Ip, Some("tap")), Err(Unclear::GoesByHardware { service }));
        let service = "a".to_owned();
        assert_eq!(choose(AddressKind::Hardware, Some("a")), Err(Unclear::GoesByIp { service }));
        let nothing: [(&str, AddressKind); 0] = [];
        let chosen = choose_services(&nothing, |it| it.0, |it| it.1, AddressKind::Ip, None)
            .map(|it| it.len());
        assert_eq!(chosen, Err(Unclear::NoHub));
    }
}
