//! Which host may join which namespace.

use std::collections::HashMap;

use crate::{HostName, HostNameError, NamespaceId};

/// One rule of an ingress: hosts that match may join the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRule {
    /// A host name, or `*.example.org` / `.example.org` for the name and everything below it.
    pub pattern: String,
    /// The namespace it may join.
    pub namespace: NamespaceId,
}

impl IngressRule {
    /// The pattern of `hostname`, without a leading `*`.
    pub fn pattern(hostname: &str) -> Result<&str, PatternError> {
        let pattern = hostname.strip_prefix('*').unwrap_or(hostname);
        if pattern.is_empty() || pattern == "." || pattern.starts_with('*') {
            return Err(PatternError::Nothing);
        }
        HostName::check(pattern)?;
        Ok(pattern)
    }
}

/// Why a text cannot be an ingress rule's host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing but a wildcard, or two of them.
    #[error("matches no host; write a name, or *.domain for the domain and every name below it")]
    Nothing,
    /// The part after the wildcard is no name.
    #[error("is no host name: {0}")]
    HostName(#[from] HostNameError),
}

/// Rules from host names to the one namespace each may join.
///
/// A pattern is a host name, or `*.example.org` / `.example.org` for that name and everything below it. The most specific
/// rule decides: the name itself, then shorter and shorter suffixes.
/// A host without a rule may join nothing.
#[derive(Debug, Default, Clone)]
pub struct Ingress {
    /// Keyed by the pattern without a leading `*`.
    rules: HashMap<Box<str>, NamespaceId>,
}

impl Ingress {
    /// Compiles the rules. Of two with the same pattern the later one counts.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a str, NamespaceId)>) -> Self {
        let mut ingress = Self::default();
        rules.into_iter().for_each(|(pattern, namespace)| ingress.add(pattern, namespace));
        ingress
    }

    /// Adds a rule, in place of one with the same pattern.
    pub fn insert(&mut self, rule: &IngressRule) {
        self.add(&rule.pattern, rule.namespace);
    }

    fn add(&mut self, pattern: &str, namespace: NamespaceId) {
        self.rules.insert(pattern.strip_prefix('*').unwrap_or(pattern).into(), namespace);
    }

    /// The namespace `host` may join.
    pub fn namespace_of(&self, host: &HostName) -> Option<NamespaceId> {
        let name = host.as_str();
        if let Some(namespace) = self.rules.get(name) {
            return Some(*namespace);
        }
        let whole = format!(".{name}");
        let suffixes = whole.match_indices('.').map(|(dot, _)| &whole[dot..]);
        suffixes.filter_map(|suffix| self.rules.get(suffix)).next().copied()
    }

    /// Number of distinct patterns.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule. Then no host may join.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> NamespaceId {
        NamespaceId::from_bytes([n; 16])
    }

    fn of(ingress: &Ingress, host: &str) -> Option<NamespaceId> {
        ingress.namespace_of(&HostName::new(host).unwrap())
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let ingress = Ingress::new([
            ("host-1", id(1)),
            ("*.example.org", id(2)),
            (".lab.example.org", id(3)),
            ("www.example.org", id(4)),
        ]);
        assert_eq!(of(&ingress, "host-1"), Some(id(1)));
        assert_eq!(of(&ingress, "example.org"), Some(id(2)));
        assert_eq!(of(&ingress, "a.example.org"), Some(id(2)));
        assert_eq!(of(&ingress, "a.b.example.org"), Some(id(2)));
        assert_eq!(of(&ingress, "x.lab.example.org"), Some(id(3)));
        assert_eq!(of(&ingress, "lab.example.org"), Some(id(3)));
        assert_eq!(of(&ingress, "www.example.org"), Some(id(4)));
    }

    #[test]
    fn without_a_rule_nothing_is_allowed() {
        let ingress = Ingress::new([("host-1", id(1)), ("*.example.org", id(2))]);
        for host in ["host-2", "HOST-1", "host-1.", "badexample.org", "org", "fd00::1"] {
            assert_eq!(of(&ingress, host), None, "{host}");
        }
        assert_eq!(of(&Ingress::default(), "host-1"), None);
    }

    /// Tries every pattern and keeps the longest one that matches.
    fn model(rules: &[(String, NamespaceId)], host: &str) -> Option<NamespaceId> {
        let mut best: Option<(usize, NamespaceId)> = None;
        for (pattern, namespace) in rules {
            let pattern = pattern.trim_start_matches('*');
            let exact = pattern == host;
            let below = pattern.starts_with('.') && format!(".{host}").ends_with(pattern);
            let rank = if exact { usize::MAX } else { pattern.len() };
            if (exact || below) && best.is_none_or(|(r, _)| rank >= r) {
                best = Some((rank, *namespace));
            }
        }
        best.map(|(_, namespace)| namespace)
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_pattern(
            rules in prop::collection::vec(("(\\*\\.|\\.|)(a|b|c)(\\.(a|b|c)){0,3}", any::<u8>()), 0..12),
            host in "(a|b|c)(\\.(a|b|c)){0,4}",
        ) {
            let rules: Vec<_> = rules.into_iter().map(|(p, n)| (p, id(n))).collect();
            let ingress = Ingress::new(rules.iter().map(|(p, n)| (p.as_str(), *n)));
            prop_assert_eq!(of(&ingress, &host), model(&rules, &host));
        }
    }
}
