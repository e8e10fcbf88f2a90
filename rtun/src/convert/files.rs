//! The files of a hub and its hosts.

use std::path::{Path, PathBuf};

use rtun_config::{cli::OutputFormat, findings::Profile, load_text};
use rtun_settings::{DeviceSettings, NetworkNamespace};
use serde_json::{Map, Value, json};

use super::{
    ConvertFailure, ConvertTransport, errors,
    members::{ConvertedHost, HostOrigin},
    network::ConvertedNetwork,
};

/// The MTU that needs no mention.
const USUAL_MTU: u16 = 1420;

/// A configuration that is ready to be read.
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// Where it belongs and how it is started.
    pub(super) purpose: String,
    /// YAML.
    pub(super) text: String,
}

/// One file for the hub, and one for each host; certificates are named as standing in `folder`.
pub(super) fn of(
    network: &ConvertedNetwork,
    folder: &Path,
    transport: ConvertTransport,
    port: u16,
) -> Result<Vec<ConfigFile>, ConvertFailure> {
    let mut files = vec![file(
        folder.join("hub.yaml"),
        "the hub, on the machine of the server",
        &hub(network, folder, transport, port),
    )?];
    for host in &network.hosts {
        let addresses: Vec<_> =
            host.device.addresses.iter().map(|net| net.addr().to_string()).collect();
        let place = if host.origin == HostOrigin::Server { ", on the same machine" } else { "" };
        let purpose = format!("the host {}{place}", addresses.join(", "));
        let path = folder.join(format!("{}.yaml", host.name));
        files.push(file(path, &purpose, &self::host(network, host, folder, transport, port))?);
    }
    Ok(files)
}

/// The document as YAML, if it can be used.
fn file(path: PathBuf, purpose: &str, document: &Value) -> Result<ConfigFile, ConvertFailure> {
    let name = path.display().to_string();
    let outcome = load_text(&name, &document.to_string(), true, Profile::Compat);
    match (outcome.config, outcome.document) {
        (Some(_), Some(document)) => {
            let purpose = format!("{purpose}; rtun -C {name}");
            Ok(ConfigFile { path, purpose, text: document.emit(OutputFormat::Yaml) })
        }
        _ => Err(ConvertFailure::Result { file: path, findings: errors(outcome.findings) }),
    }
}

fn hub(network: &ConvertedNetwork, folder: &Path, transport: ConvertTransport, port: u16) -> Value {
    let auths = network.hosts.iter().map(|host| {
        let ConvertedHost { name, password, .. } = host;
        json!({ "username": name, "password": password, "hosts": [name] })
    });
    let routes = network.rows.iter().map(|(prefix, host)| {
        let is_address = prefix.prefix_len() == prefix.max_prefix_len();
        let dst = if is_address { prefix.addr().to_string() } else { prefix.to_string() };
        json!({ "dst": dst, "gateway": host })
    });
    let (auths, routes): (Vec<_>, Vec<_>) = (auths.collect(), routes.collect());
    json!({
        "services": [{
            "name": "hub",
            "addr": address(&network.listen, port),
            "handler": { "type": "router", "auther": "hosts" },
            "listener": {
                "type": transport.name(),
                "tls": { "certFile": folder.join("hub.pem"), "keyFile": folder.join("hub-key.pem") },
            },
        }],
        "authers": [{ "name": "hosts", "auths": auths }],
        "routers": [{ "name": network.namespace.to_string(), "routes": routes }],
    })
}

fn host(
    network: &ConvertedNetwork,
    host: &ConvertedHost,
    folder: &Path,
    transport: ConvertTransport,
    port: u16,
) -> Value {
    let ConvertedHost { name, device, password, hub, origin } = host;
    let hub = hub.as_ref().unwrap_or(&network.hub_names[0]);
    let is_local = *origin == HostOrigin::Server;
    // The hub's machine need not reach itself by the name that others have for it.
    let at = match (is_local, &*network.listen) {
        (true, "" | "0.0.0.0" | "::") => "127.0.0.1",
        (true, listen) => listen,
        (false, _) => hub,
    };
    let mut service = json!({
        "name": name,
        "addr": ":0",
        "handler": { "type": "tun", "chain": "hub" },
        "listener": { "type": "tun", "metadata": metadata(device) },
        "forwarder": { "nodes": [{ "name": "host", "addr": name }] },
    });
    if let Some(netns) = &device.netns {
        let netns = match netns {
            NetworkNamespace::Named(name) => name.clone(),
            NetworkNamespace::Path(path) => path.display().to_string(),
        };
        service["metadata"] = json!({ "netns": netns });
    }
    json!({
        "services": [service],
        "chains": [{
            "name": "hub",
            "hops": [{
                "name": "hub",
                "nodes": [{
                    "name": "hub",
                    "addr": address(at, port),
                    "connector": {
                        "type": "router",
                        "auth": { "username": name, "password": password },
                        "metadata": { "router.id": network.namespace.to_string() },
                    },
                    "dialer": {
                        "type": transport.name(),
                        "tls": { "secure": true, "caFile": folder.join("ca.pem"), "serverName": hub },
                    },
                }],
            }],
        }],
    })
}

/// The listener's, of what differs from the usual.
fn metadata(device: &DeviceSettings) -> Map<String, Value> {
    let joined = |items: Vec<String>| json!(items.join(","));
    let mut metadata = Map::new();
    let addresses = device.addresses.iter().map(ToString::to_string).collect();
    metadata.insert("net".to_owned(), joined(addresses));
    if let Some(name) = &device.name {
        metadata.insert("name".to_owned(), json!(name));
    }
    if device.mtu != USUAL_MTU {
        metadata.insert("mtu".to_owned(), json!(device.mtu));
    }
    if !device.routes.is_empty() {
        let routes: Vec<_> = device.routes.iter().map(|route| route.prefix.to_string()).collect();
        metadata.insert("routes".to_owned(), json!(routes));
    }
    if !device.dns.is_empty() {
        metadata
            .insert("dns".to_owned(), joined(device.dns.iter().map(ToString::to_string).collect()));
    }
    if !device.offload {
        metadata.insert("offload".to_owned(), json!(false));
    }
    metadata
}

/// With brackets where an address needs them.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
