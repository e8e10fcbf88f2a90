//! The meaning of an associate request.

use std::fmt;

use super::{
    ASSOCIATE, Addr, AddrFeature, Feature, Network, Request, TunnelId, feature::EscapedText,
};

/// What a host asks for when it joins. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Association {
    /// User and password; none if the host sent neither.
    pub user: Option<(Vec<u8>, Vec<u8>)>,
    /// What the association carries, as the host says.
    pub network: Network,
    /// The host's own address, as it says. Nothing depends on it.
    pub source: Option<AddrFeature>,
    /// The name that the host reports; any text, may be empty.
    pub host: String,
    /// The namespace asked for; all zero is the default one.
    pub router_id: [u8; 16],
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, network, source, host, router_id } = self;
        f.debug_struct("Association")
            .field("user", &user.as_ref().map(|(user, _)| EscapedText(user)))
            .field("network", network)
            .field("source", source)
            .field("host", host)
            .field("router_id", router_id)
            .finish()
    }
}

impl Request {
    /// The request that asks for `association`, with the features in the order of GOST's connector:
    /// user, network, source, name, namespace.
    ///
    /// As in GOST's, the network is sent only if it is `Udp` or `Ip`, and the namespace only if it is not all zero. The name
    /// follows [`AddrFeature::from_text`]. A missing source is sent as an empty name, because a single address would be the
    /// source.
    pub fn associate(association: &Association) -> Self {
        let Association { user, network, source, host, router_id } = association;
        let mut features = Vec::new();
        if let Some((user, password)) = user {
            let (user, password) = (user.clone(), password.clone());
            features.push(Feature::UserAuth { user, password });
        }
        if matches!(network, Network::Udp | Network::Ip) {
            features.push(Feature::Network(*network));
        }
        let no_address = || AddrFeature { addr: Addr::Name(String::new()), port: 0 };
        features.push(Feature::Addr(source.clone().unwrap_or_else(no_address)));
        features.push(Feature::Addr(AddrFeature::from_text(host)));
        if *router_id != [0; 16] {
            features.push(Feature::Tunnel(TunnelId::new(*router_id)));
        }
        Self { command: ASSOCIATE, flags: 0, features }
    }

    /// What the request asks for, by GOST's rules (docs/wire.md section 4).
    ///
    /// The last user, network and namespace count; no network means `Ip`. The first address is the source and the
    /// last of several the name, in the form of [`AddrFeature::host_text`]; with a single address the name is empty. The
    /// command is not checked.
    pub fn association(&self) -> Association {
        let mut association = Association {
            user: None,
            network: Network::Ip,
            source: None,
            host: String::new(),
            router_id: [0; 16],
        };
        for feature in &self.features {
            match feature {
                Feature::UserAuth { user, password } => {
                    association.user = Some((user.clone(), password.clone()));
                }
                Feature::Network(network) => association.network = *network,
                Feature::Tunnel(tunnel) => association.router_id = tunnel.id,
                Feature::Addr(addr) if association.source.is_none() => {
                    association.source = Some(addr.clone());
                }
                Feature::Addr(addr) => association.host = addr.host_text(),
            }
        }
        association
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(features: Vec<Feature>) -> Request {
        Request { command: ASSOCIATE, flags: 0, features }
    }

    fn addr(text: &str) -> Feature {
        Feature::Addr(AddrFeature::from_text(text))
    }

    fn user(user: &str, password: &str) -> Feature {
        Feature::UserAuth { user: user.into(), password: password.into() }
    }

    #[test]
    fn an_empty_request_is_a_host_without_a_name_in_the_default_namespace() {
        assert_eq!(
            request(vec![]).association(),
            Association {
                user: None,
                network: Network::Ip,
                source: None,
                host: String::new(),
                router_id: [0; 16],
            }
        );
    }

    #[test]
    fn the_last_of_a_repeated_feature_counts() {
        let association = request(vec![
            user("a", "1"),
            Feature::Tunnel(TunnelId::new([1; 16])),
            Feature::Network(Network::Ip),
            user("b", "2"),
            Feature::Network(Network::Udp),
            Feature::Tunnel(TunnelId { flag: 0x80, weight: 9, ..TunnelId::new([2; 16]) }),
        ])
        .association();
        assert_eq!(association.user, Some((b"b".to_vec(), b"2".to_vec())));
        assert_eq!(association.network, Network::Udp);
        assert_eq!(association.router_id, [2; 16]);
    }

    #[test]
    fn one_address_is_the_source_and_the_last_of_several_the_name() {
        let source = Some(AddrFeature::from_text("192.168.123.1"));
        for (texts, host) in [
            (&["192.168.123.1"][..], ""),
            (&["192.168.123.1", "host-1"], "host-1"),
            (&["192.168.123.1", "host-1", "host-2"], "host-2"),
            (&["192.168.123.1", "host-1", ""], ""),
        ] {
            let association = request(texts.iter().map(|text| addr(text)).collect()).association();
            assert_eq!((association.source, association.host.as_str()), (source.clone(), host));
        }
    }

    #[test]
    fn a_host_without_a_source_keeps_its_name() {
        let wanted = Association { host: "host-1".to_owned(), ..request(vec![]).association() };
        assert_eq!(Request::associate(&wanted).association().host, "host-1");
    }

    #[test]
    fn a_password_is_never_shown() {
        let shown = format!("{:?}", request(vec![user("alice", "s3cret")]).association());
        assert!(shown.contains("alice") && !shown.contains("s3cret"), "{shown}");
    }
}
