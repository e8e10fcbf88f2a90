//! Selects the hub and the namespace that a question is about.

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

/// The question does not name the hub or namespace that it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "unclear", rename_all = "snake_case")]
pub enum Unclear {
    /// There is no hub.
    #[error("there is no hub: no service with handler `router`")]
    NoHub,
    /// There is no hub with that name.
    #[error("there is no hub {name:?}; hubs: {}", hubs.join(", "))]
    NoSuchHub {
        /// The name asked for.
        name: String,
        /// The existing hubs.
        hubs: Vec<String>,
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

/// The hub called `wanted`, or all hubs if there is no name.
pub fn choose_hubs<'h, H>(
    hubs: &'h [H],
    name_of: impl Fn(&H) -> &str,
    wanted: Option<&str>,
) -> Result<Vec<&'h H>, Unclear> {
    if hubs.is_empty() {
        return Err(Unclear::NoHub);
    }
    let Some(wanted) = wanted else { return Ok(hubs.iter().collect()) };
    let chosen: Vec<&H> = hubs.iter().filter(|hub| name_of(hub) == wanted).collect();
    if chosen.is_empty() {
        let hubs = hubs.iter().map(|hub| name_of(hub).to_owned()).collect();
        return Err(Unclear::NoSuchHub { name: wanted.to_owned(), hubs });
    }
    Ok(chosen)
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

        let hubs = ["a", "b"];
        assert_eq!(choose_hubs(&hubs, |hub| hub, None), Ok(vec![&"a", &"b"]));
        assert_eq!(choose_hubs(&hubs, |hub| hub, Some("b")), Ok(vec![&"b"]));
        let unclear = choose_hubs(&hubs, |hub| hub, Some("c")).unwrap_err().to_string();
        assert!(unclear.contains("a, b"), "{unclear}");
        assert_eq!(choose_hubs::<&str>(&[], |hub| hub, None), Err(Unclear::NoHub));
    }
}
