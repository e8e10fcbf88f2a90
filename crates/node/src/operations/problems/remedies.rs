//! What to do about refused and ended connections, by their words.

/// What to do where connections are refused with this word.
pub(super) fn of_refusal(word: &str) -> &'static str {
    match word {
        "limit_connections" => {
            "If these hosts should connect, raise the limit in the service's `climiter`."
        }
        "limit_rate" => {
            "If these hosts should connect, raise the limit in the service's `rlimiter`."
        }
        "address_refused" => {
            "If hosts connect from there, let their addresses in with the service's `admission`; the log has the address."
        }
        "address_unavailable" => "Start the admission's plugin, or correct its address.",
        "bad_version" | "bad_feature" | "bad_command" | "request_too_big" => {
            "Nothing, if it is a scanner. Else correct what connects there: this port speaks the routing tunnel; the log has the address."
        }
        "closed_early" | "timeout_request" | "timeout_transport" => {
            "Nothing, if it is a scanner or a monitor. Else look at the network on the way; the log has the address."
        }
        "tls_error" => {
            "Compare the TLS of host and hub: versions, certificates, and whether both use it; the log has the cause."
        }
        "upgrade_error" => {
            "Compare the transport, the path and the proxy in front of the hub with what the host uses; the log has the cause."
        }
        "untrusted_forwarder" => "If that is your proxy, add its address to `trustedProxies`.",
        "limit_source" => {
            "Wait, if many hosts come back at once. Else block the source of the flood; the log has the address."
        }
        "auth_missing" => {
            "Give the host a user and a password (`auth` of its connector), one of the hub's `auther`."
        }
        "auth_failed" => {
            "Compare user and password of the host (`auth` of its connector) with the hub's `auther`."
        }
        "auth_unavailable" => "Start the auther's plugin, or correct its address.",
        "name_invalid" => "Give the host a name of printable characters without blanks.",
        "name_not_permitted" => {
            "Give the host a name that its user (`hosts`) and its certificate allow, or allow this one."
        }
        "name_in_use" => {
            "Give the host another name, or stop the host of another user that has this one."
        }
        "namespace_unknown" => {
            "Give that namespace a router, or name a default `router` in the service; or correct the host's `router.id`."
        }
        "ingress_no_rule" => {
            "Add a rule for this host to the service's `ingress`; the log has its name."
        }
        "ingress_other_namespace" => {
            "Correct the host's `router.id`, or its rule in the service's `ingress`."
        }
        "ingress_unavailable" => "Start the ingress's plugin, or correct its address.",
        "quota_exceeded" => USED_UP,
        "limit_total" => "Disconnect hosts, or raise the limit (`maxHosts`).",
        "limit_credential" => "Give hosts users of their own, or raise `maxHostsPerUser`.",
        "limit_namespaces" => "Use fewer namespaces, or raise `maxNamespaces`.",
        "not_served" => "Have the relay serve this target, or correct the client's configuration.",
        "target_refused" | "target_unreachable" => {
            "Start the server that the relay leads to, or correct its address."
        }
        _ => "Look at the log, which has the address and the cause.",
    }
}

/// What to do where connections of hosts end with this word.
pub(super) fn of_end(word: &str) -> &'static str {
    match word {
        "peer_reset" => {
            "Look at the host's log, and at firewalls and proxies on the way that cut connections."
        }
        "user_timeout" | "ping_timeout" => {
            "Look at the host's machine and its network: it fell silent."
        }
        "write_stalled" => "Look at the host's machine and its link: it took nothing for 10 s.",
        "large_lost" => {
            "Let ICMP pass on the network between, or set `mss` in the dialer's metadata."
        }
        "revoked" => {
            "Nothing, if you took the permission away. Else put the host's user, rule or route back."
        }
        "internal" => A_BUG,
        _ => "Look at the log, which has the host and the cause.",
    }
}

/// What to do about a quota that is used up.
pub(super) const USED_UP: &str =
    "Wait for its next period, raise its limit, or reset it: POST /config/quotas/NAME/reset.";

/// What to do about a certificate that ends.
pub(super) const RENEW: &str = "Put a new certificate in the place of its files, as `rtun gen cert` makes it: it is read without a restart.";

/// What to do about what should never happen.
pub(super) const A_BUG: &str = "Report it, with the log: it is a bug in rtun.";

/// What to do about a plugin that does not answer.
pub(super) const PLUGIN: &str =
    "Start the plugin, or correct its address; what is known stays in force.";

/// What to do where something else changes a device.
pub(super) const DEVICE: &str = "Look for what else changes the device (NetworkManager, systemd-networkd, scripts), and have it leave it alone.";

/// What to do about a source of rows that fails.
pub(super) const SOURCE: &str = "Start what it is read from, or correct its address or file; the last good rows stay in force meanwhile.";

/// What to do where a host is not connected, and nothing has failed so far.
pub(super) const CONNECTING: &str = "Wait for a moment: it is being tried.";

/// What to do where the server of a UDP or Ethernet tunnel does not answer.
pub(super) const SERVER: &str = "Look whether the server runs, and whether address, passphrase and cipher are the same at both ends.";

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the first column of the table under this heading of docs/troubleshooting.md.
    fn words(heading: &str) -> Vec<String> {
        let page = include_str!("../../../../../docs/troubleshooting.md");
        let section = page.split("\n## ").find(|section| section.starts_with(heading));
        let rows = section.unwrap().lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
    }

    #[test]
    fn every_word_has_a_remedy_of_its_own() {
        let refusals = words("Why a connection was refused");
        assert!(refusals.len() > 20, "{refusals:?}");
        for word in refusals {
            assert_ne!(of_refusal(&word), of_refusal("?"), "{word}");
        }
        let ends = words("Why a connection ended");
        let normal = super::super::NORMAL_ENDS;
        for word in ends.iter().filter(|word| !normal.contains(&word.as_str())) {
            assert_ne!(of_end(word), of_end("?"), "{word}");
        }
    }
}
