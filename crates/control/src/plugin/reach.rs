//! How plugins are reached: which addresses are tried, and how their certificates are checked.

use std::{io, net::IpAddr, net::SocketAddr};

use rtun_config::model::ClientTls;
use rustls::ClientConfig;

use crate::{PluginSetupError, cause::innermost_cause, plugin::excerpt, tls};

/// The addresses of a host, without those that no plugin is asked at.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let addrs: Vec<_> = found.filter(|addr| check(addr.ip()).is_ok()).collect();
    if addrs.is_empty() {
        let text = format!("{host} has no address that a plugin may have");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(addrs)
}

/// Refuses addresses at which clouds serve credentials to machines: a name that somebody else controls must not make a
/// hub ask there.
pub(crate) fn check(addr: IpAddr) -> Result<(), PluginSetupError> {
    let metadata =
        [IpAddr::from([100, 100, 100, 200]), IpAddr::from([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])];
    let addr = addr.to_canonical();
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local || metadata.contains(&addr) {
        return Err(PluginSetupError::LinkLocal(addr));
    }
    Ok(())
}

/// What an error comes from in the end, cut short: a plugin may have written it.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    excerpt(&innermost_cause(error))
}

/// A TLS client that verifies as `tls` says: with the system's roots, or not at all.
pub(crate) fn tls_config(
    tls: Option<&ClientTls>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, PluginSetupError> {
    let config = tls::client_config(tls.is_some_and(|tls| tls.verify));
    let mut config = config.map_err(|error| PluginSetupError::Client(error.to_string()))?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_not_asked_where_machines_get_credentials() {
        for refused in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(check(refused.parse().unwrap()).is_err(), "{refused}");
        }
        for usual in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "192.0.2.1"] {
            assert!(check(usual.parse().unwrap()).is_ok(), "{usual}");
        }
    }
}
