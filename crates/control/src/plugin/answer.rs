//! What a plugin's answers mean, and which of them are believed; the same for every protocol.

use std::net::IpAddr;

use ipnet::IpNet;
use rtun_core::{HostName, NamespaceId};
use serde_json::{Map, Value};

use crate::PluginError;

/// The longest id of a client, in bytes.
const MAX_ID: usize = 255;

/// The gateway for `destination`. The prefix that the answer names must contain the destination: an answer to another
/// question is no answer. However wide it is, it is believed of this destination only.
pub(crate) fn route(
    prefix: &str,
    gateway: &str,
    destination: IpAddr,
) -> Result<Option<HostName>, PluginError> {
    if prefix.is_empty() || gateway.is_empty() {
        return Ok(None);
    }
    let covers = prefix
        .parse::<IpNet>()
        .or_else(|_| prefix.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            PluginError::nonsense(format_args!("{prefix:?} is neither an address nor a prefix"))
        })?
        .contains(&destination);
    if !covers {
        return Err(PluginError::nonsense(format_args!(
            "{prefix} does not contain {destination}, which was asked for"
        )));
    }
    HostName::new(gateway).map(Some).map_err(PluginError::nonsense)
}

/// The namespace of a host.
pub(crate) fn ingress(endpoint: &str) -> Result<Option<NamespaceId>, PluginError> {
    if endpoint.is_empty() {
        return Ok(None);
    }
    match endpoint.parse::<NamespaceId>() {
        Ok(namespace) if namespace.is_default() => {
            Err(PluginError::nonsense("the endpoint is the zero UUID, which nobody is bound to"))
        }
        Ok(namespace) => Ok(Some(namespace)),
        Err(_) => Err(PluginError::nonsense(format_args!("the endpoint {endpoint:?} is no UUID"))),
    }
}

/// The id of a client that was accepted.
pub(crate) fn auth(ok: bool, id: String) -> Result<Option<String>, PluginError> {
    if !ok {
        return Ok(None);
    }
    if id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(PluginError::nonsense(format_args!(
            "the id {id:?} is longer than {MAX_ID} bytes or has control characters"
        )));
    }
    Ok(Some(id))
}

/// A JSON object, read as Go reads one into a structure: what is missing or null is empty, what is not asked for is
/// skipped, and the case of keys does not matter where none is spelt exactly so.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PluginError> {
        serde_json::from_slice(body).map(Self).map_err(PluginError::nonsense)
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, PluginError> {
        match self.value(key) {
            Value::String(text) => Ok(text),
            Value::Null => Ok(""),
            _ => Err(PluginError::nonsense(format_args!("{key:?} is no text"))),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, PluginError> {
        match self.value(key) {
            Value::Bool(flag) => Ok(*flag),
            Value::Null => Ok(false),
            _ => Err(PluginError::nonsense(format_args!("{key:?} is neither true nor false"))),
        }
    }

    fn value(&self, key: &str) -> &Value {
        let similar = || self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        self.0.get(key).or_else(|| similar().map(|(_, value)| value)).unwrap_or(&Value::Null)
    }
}

/// `{"dst", "gateway"}`; `net` is the older name of `dst`.
pub(crate) fn route_json(
    body: &[u8],
    destination: IpAddr,
) -> Result<Option<HostName>, PluginError> {
    let fields = Fields::parse(body)?;
    let (dst, net) = (fields.text("dst")?, fields.text("net")?);
    route(if dst.is_empty() { net } else { dst }, fields.text("gateway")?, destination)
}

/// `{"endpoint"}`.
pub(crate) fn ingress_json(body: &[u8]) -> Result<Option<NamespaceId>, PluginError> {
    ingress(Fields::parse(body)?.text("endpoint")?)
}

/// `{"ok", "id"}`.
pub(crate) fn auth_json(body: &[u8]) -> Result<Option<String>, PluginError> {
    let fields = Fields::parse(body)?;
    auth(fields.flag("ok")?, fields.text("id")?.to_owned())
}

/// `{"ok"}`.
pub(crate) fn admission_json(body: &[u8]) -> Result<bool, PluginError> {
    Fields::parse(body)?.flag("ok")
}
