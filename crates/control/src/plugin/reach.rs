//! How plugins are reached: which addresses are tried, and how their certificates are checked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rtun_settings::ClientTls;
use rustls::ClientConfig;

use super::{PluginSetupError, excerpt};
use crate::{cause::innermost_cause, zone};

/// The addresses of a host, without those that are refused for plugins.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = zone::resolve(host, port).await?;
    let allowed = |addr: IpAddr| {
        check_host(host).and_then(|known| match known {
            true => Ok(()),
            false => check(addr),
        })
    };
    let addrs: Vec<_> = found.into_iter().filter(|addr| allowed(addr.ip()).is_ok()).collect();
    if addrs.is_empty() {
        let text = format!("{host} has no address that a plugin may have");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(addrs)
}

/// Checks a host that is an address, and answers whether it is one. A link-local address must have
/// its zone: only the author of the configuration can have chosen that.
pub(crate) fn check_host(host: &str) -> Result<bool, PluginSetupError> {
    match zone::literal(host) {
        None => Ok(false),
        Some((addr, true)) if !METADATA.contains(&addr) => Ok(true),
        Some((addr, _)) => check(addr).map(|()| true),
    }
}

/// Where clouds serve credentials to machines.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

/// Refuses addresses at which clouds serve credentials to machines: a name under the control of another
/// party must not make a hub ask there.
pub(crate) fn check(addr: IpAddr) -> Result<(), PluginSetupError> {
    let addr = addr.to_canonical();
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local || METADATA.contains(&addr) {
        return Err(PluginSetupError::LinkLocal(addr));
    }
    Ok(())
}

/// The innermost cause of an error, cut short: a plugin may have written it.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    excerpt(&innermost_cause(error))
}

/// A TLS client that verifies as `tls` says: with the system's roots, or not at all.
pub(crate) fn tls_config(
    tls: Option<&ClientTls>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, PluginSetupError> {
    let config = rtun_tls::service_client(tls.is_some_and(|tls| tls.verify));
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
        assert!(check_host("fe80::1").is_err());
        assert!(check_host("fe80::a9fe:a9fe%eth0").is_err());
        assert!(check_host("fe80::1%eth0").unwrap() && check_host("::1").unwrap());
        assert!(!check_host("plugin.example").unwrap());
    }
}
