//! Nodes that the plugins of hops name: each is read as the only node of its hop.

use rtun_settings::{HubNode, ProxyNode, ServiceKind};

use crate::{
    findings::{Finding, Profile, Severity},
    hop_sources::check_origin,
    json,
    location::Position,
    normalise,
    report::Report,
    schema::{self, node},
    value::{Cursor, Value},
};

/// What nodes are called in messages.
const TEXT: &str = "the answer";

/// A node that a plugin has named, and warnings about it; or what is wrong with it.
pub type AnsweredNode<T> = Result<(T, Vec<String>), String>;

/// The hub in `text`, GOST's JSON of a node.
pub fn answered_hub(text: &str) -> AnsweredNode<HubNode> {
    read(text, |node| vec![node], |host| host.hubs.pop())
}

/// The proxy in `text`, GOST's JSON of a node; `is_first`: it is connected to directly.
pub fn answered_proxy(text: &str, is_first: bool) -> AnsweredNode<ProxyNode> {
    let around = |node| match is_first {
        true => vec![node, stub("router")],
        false => vec![stub("http"), node, stub("router")],
    };
    read(text, around, |host| host.proxies.pop()?.nodes.pop())
}

/// `hops` makes a chain of the node, one node for each hop; `take` takes it from the host with that chain.
fn read<T>(
    text: &str,
    hops: impl FnOnce(Value) -> Vec<Value>,
    take: impl FnOnce(&mut rtun_settings::HostSettings) -> Option<T>,
) -> AnsweredNode<T> {
    let report = Report::new(Profile::Compat);
    let number = report.add_text(TEXT, text);
    let document = json::read(text, number, &report).map(|node| {
        let at = Cursor::root(&node, &report);
        check_origin(&at);
        if let Some(probe) = at.filled(&node::PROBE) {
            probe.key().warning("`probe` has no effect: the plugin is asked for each connection");
        }
        document(hops(node))
    });
    let config = document.as_ref().map(|document| {
        let root = Cursor::root(document, &report);
        schema::check(&root);
        normalise::normalise(&root).0
    });
    let node = config.and_then(|mut config| match &mut config.services.first_mut()?.kind {
        ServiceKind::Host(host) => take(host),
        _ => None,
    });
    drop(document);
    let findings = report.finish();
    let of = |severity: Severity| {
        let it = findings.iter().filter(move |it| it.severity == severity && is_about(it));
        it.map(shown).collect::<Vec<_>>()
    };
    match (of(Severity::Error), node) {
        (errors, Some(node)) if errors.is_empty() => Ok((node, of(Severity::Warning))),
        (errors, _) if errors.is_empty() => Err("it is no node".to_owned()),
        (errors, _) => Err(errors.join("; ")),
    }
}

/// A host with a chain of these nodes.
fn document(nodes: Vec<Value>) -> Value {
    let hops = nodes.into_iter().map(|node| map([("nodes", list([node]))]));
    let chain = map([("name", word("chain")), ("hops", list(hops))]);
    let handler = map([("type", word("tun")), ("chain", word("chain"))]);
    let net = map([("net", word("192.0.2.1/32"))]);
    let listener = map([("type", word("tun")), ("metadata", net)]);
    let forwarder = map([("nodes", list([map([("name", word("host")), ("addr", word("host"))])]))]);
    let service = map([
        ("name", word("host")),
        ("handler", handler),
        ("listener", listener),
        ("forwarder", forwarder),
    ]);
    map([("services", list([service])), ("chains", list([chain]))])
}

/// Stands in the place of another hop's node.
fn stub(connector: &str) -> Value {
    map([
        ("name", word("other")),
        ("addr", word("192.0.2.1:1")),
        ("connector", map([("type", word(connector))])),
    ])
}

fn word(text: &str) -> Value {
    Value::text(text, Position::NOWHERE)
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::list(items.into_iter().collect(), Position::NOWHERE)
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut map = Value::map([], Position::NOWHERE);
    for (key, value) in fields {
        map.set(key, value);
    }
    map
}

/// Whether it is about the text, not about what stands around it.
fn is_about(finding: &Finding) -> bool {
    finding.location.as_ref().is_some_and(|place| &*place.file == TEXT)
}

/// The key inside the node, and what is said of it.
fn shown(finding: &Finding) -> String {
    let message = &finding.message;
    match finding.path.split_once("nodes[0].") {
        Some((_, key)) => format!("{key}: {message}"),
        None => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_the_configuration_reads_its_own() {
        let text = r#"{"name":"hub","addr":"hub.example:8443","connector":{"type":"router","auth":{"username":"u","password":"p"}},"dialer":{"type":"tls","tls":{"secure":true}}}"#;
        let (node, warnings) = answered_hub(text).unwrap();
        assert_eq!((&*node.name, &*node.addr), ("hub", "hub.example:8443"));
        assert_eq!(node.endpoints[0].stack.name(), "tls");
        assert!(node.auth.is_some() && warnings.is_empty(), "{warnings:?}");
        let proxy = r#"{"name":"p","addr":"192.0.2.7:1080","connector":{"type":"socks5"}}"#;
        for is_first in [true, false] {
            let (node, warnings) = answered_proxy(proxy, is_first).unwrap();
            assert_eq!((&*node.addr, warnings), ("192.0.2.7:1080", Vec::<String>::new()));
        }
    }

    #[test]
    fn what_is_wrong_with_a_node_is_said_by_its_key() {
        let wrong = |text: &str| answered_hub(text).unwrap_err();
        for (text, expected) in [
            ("[]", "expected a node"),
            ("{\"addr\":", "not JSON"),
            (r#"{"addr":"hub.example","connector":{"type":"router"}}"#, "addr: "),
            (r#"{"addr":"192.0.2.7:1080","connector":{"type":"socks5"}}"#, "connector.type: "),
            (
                r#"{"addr":"192.0.2.7:1","connector":{"type":"router","auth":{"file":"/etc/shadow"}}}"#,
                "may not name a file",
            ),
            (
                r#"{"addr":"192.0.2.7:1","connector":{"type":"router"},"metadata":{},"probe":{"type":"cmd","cmd":"id"}}"#,
                "may not run a command",
            ),
            (
                r#"{"addr":"192.0.2.7:1","connector":{"type":"router"},"dialer":{"type":"kcp"}}"#,
                "dialer.type: ",
            ),
        ] {
            let said = wrong(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    #[test]
    fn a_node_whose_certificate_is_not_verified_is_warned_of() {
        let text =
            r#"{"addr":"192.0.2.7:1","connector":{"type":"router"},"dialer":{"type":"tls"}}"#;
        let warnings = answered_hub(text).unwrap().1;
        assert!(warnings.concat().contains("not verified"), "{warnings:?}");
    }
}
