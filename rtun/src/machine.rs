//! What is to be said of a configuration on this machine: its files' modes, its limits, the user rtun runs as.

mod certificates;
mod hooks;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use rtun_config::{
    Environment,
    cli::Args,
    findings::{Code, Finding, Location, Profile, Severity},
    source,
};
use rtun_core::{redact, udp_tunnel::Passphrase};
use rtun_node::{descriptors, has_multipath};
use rtun_settings::{
    CertificateFiles, Config, DialTls, HttpHeader, HubNode, ListenerSettings, Login, LookedUpName,
    Named, NetworkNamespace, Provider, ProxyHop, Quotas, RecordTarget, ServerTls, Service,
    ServiceKind, SourceSettings, TransportStack, User, Verification,
};

use self::certificates::files_of;
pub(crate) use self::{certificates::certificates, hooks::commands_of_hooks};

/// Descriptors that a hub needs besides one for each host: 10 % of them all, and no fewer than [`SPARE_MIN`].
const SPARE: u64 = 10;

/// For event loops, listeners, sources, the log, and connections that are not admitted yet.
const SPARE_MIN: u64 = 32;

/// Room for fewer hosts than this is worth a word even where nobody has asked for more.
const FEW_HOSTS: usize = 1000;

/// C08: files that others may write or, where they hold secrets, read.
pub(crate) fn files(
    args: &Args,
    environment: &Environment,
    config: &Config,
    node_files: &[PathBuf],
    profile: Profile,
) -> Vec<Finding> {
    let secret = has_secrets(config);
    let own = configuration_files(args, environment).into_iter().map(|path| (path, secret));
    let sources = config.services.iter().flat_map(|service| service.kind.sources());
    let sources = sources.filter_map(path_of).map(|path| (path, false));
    // Users' passwords are secrets, whatever else is.
    let users = config.services.iter().flat_map(|service| service.kind.authers());
    let users = users.chain(config.operators()).flat_map(Named::sources);
    let users: BTreeSet<PathBuf> = users.filter_map(path_of).collect();
    let sources = sources.filter(|(path, _)| !users.contains(path)).collect::<Vec<_>>();
    let sources = users.into_iter().map(|path| (path, true)).chain(sources);
    let names = config.services.iter().flat_map(|service| service.kind.lookups());
    let names = names.flat_map(LookedUpName::sources).filter_map(path_of);
    let names = names.map(|path| (path, false));
    let mut findings = Vec::new();
    let logins = logins(config).filter_map(|login| Some((login.file.clone()?, true)));
    let programs = hooks::programs(config).map(|path| (path, false));
    let nodes = node_files.iter().map(|path| (path.clone(), secret));
    let named = logins.chain(programs).chain(nodes);
    for (path, secret) in own.chain(sources).chain(names).chain(tls_files(config)).chain(named) {
        let finding = file(&path, secret, profile);
        findings.extend(finding.filter(|finding| !findings.contains(finding)));
    }
    findings.extend(hooks::missing(config));
    findings
}

/// C24 and C25, for a process that is about to run; what the limits do not carry is lowered.
pub(crate) fn process(config: &mut Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let descriptors = descriptors::limit();
    let room = descriptors.saturating_sub((descriptors / SPARE).max(SPARE_MIN)).max(1);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut only_hubs = true;
    for service in &mut config.services {
        let ServiceKind::Hub(hub) = &mut service.kind else {
            only_hubs = false;
            continue;
        };
        let quotas = &mut hub.rules.quotas;
        if quotas.hosts > room {
            // Nobody has asked for what is so by default.
            if quotas.hosts != Quotas::default().hosts || room < FEW_HOSTS {
                let message = format!(
                    "the limit of open files, {descriptors}, has room for {room} hosts, not for {}; more are refused",
                    quotas.hosts
                );
                findings.push(finding(
                    Code::C24,
                    Severity::Warning,
                    None,
                    message,
                    "raise the limit of open files, or lower maxHosts",
                ));
            }
            quotas.hosts = room;
        }
    }
    if only_hubs && Uid::effective().is_root() {
        let message = "a hub needs no right of root's".to_owned();
        let help = "run it as a user of its own; for ports below 1024 give it CAP_NET_BIND_SERVICE";
        findings.push(finding(Code::C25, Severity::Warning, None, message, help));
    }
    findings.extend(without_multipath(config));
    findings
}

fn configuration_files(args: &Args, environment: &Environment) -> Vec<PathBuf> {
    let named = args.sources.iter().filter_map(|source| match source {
        source::ConfigSource::File(path) => Some(path.clone()),
        _ => None,
    });
    let named: Vec<_> = named.collect();
    if !args.sources.is_empty() || !args.services.is_empty() {
        return named;
    }
    let defaults = source::default_files(environment.home.as_deref().map(Path::new));
    defaults.into_iter().find(|path| path.exists()).into_iter().collect()
}

/// What there is to say of one file, if it is there.
fn file(path: &Path, secret: bool, profile: Profile) -> Option<Finding> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let severity = Code::C08.severity(profile);
    let (severity, message, mode) = match metadata.mode() {
        mode if mode & 0o002 != 0 => {
            (Severity::Error, "every user of this machine can change this file", "o-w")
        }
        mode if mode & 0o020 != 0 => (severity, "its whole group can change this file", "g-w"),
        mode if mode & 0o004 != 0 && secret => {
            (severity, "every user of this machine can read the secrets in this file", "o-r")
        }
        _ => return None,
    };
    let help = format!("chmod {mode} {}", path.display());
    Some(finding(Code::C08, severity, Some(path), message.to_owned(), &help))
}

fn finding(
    code: Code,
    severity: Severity,
    file: Option<&Path>,
    message: String,
    help: &str,
) -> Finding {
    let location = file.map(|file| Location::of_line(file, 1));
    let (path, help) = (String::new(), Some(help.to_owned()));
    Finding { code: Some(code), severity, location, path, message, help }
}

fn path_of(source: &SourceSettings) -> Option<PathBuf> {
    match source {
        SourceSettings::File(path) => Some(path.clone()),
        SourceSettings::Redis(_) | SourceSettings::Http(_) => None,
    }
}

/// Keys, which are secrets, and what is trusted: certificates and authorities.
fn tls_files(config: &Config) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    for tls in server_tls(config) {
        if let Some(CertificateFiles { certificate, key }) = files_of(tls) {
            files.extend([(key, true), (certificate, false)]);
        }
        files.extend(tls.client_ca.iter().map(|path| (path.clone(), false)));
    }
    for tls in dialers(config) {
        if let Some(own) = &tls.certificate {
            files.extend([(own.key.clone(), true), (own.certificate.clone(), false)]);
        }
        files.extend(authorities_of(tls).map(|path| (path.clone(), false)));
    }
    files
}

/// Every listener of a hub or relay.
fn listeners(config: &Config) -> impl Iterator<Item = &ListenerSettings> {
    config.services.iter().flat_map(|service| match &service.kind {
        ServiceKind::Hub(hub) => hub.listeners().collect(),
        ServiceKind::Relay(relay) => relay.listeners().collect(),
        ServiceKind::Host(_)
        | ServiceKind::UdpServer(_)
        | ServiceKind::UdpClient(_)
        | ServiceKind::TapServer(_)
        | ServiceKind::TapClient(_) => Vec::new(),
    })
}

/// TLS of every listener.
fn server_tls(config: &Config) -> impl Iterator<Item = &ServerTls> {
    let api = config.api.iter().filter_map(|api| api.tls.as_ref());
    listeners(config).filter_map(|listener| listener.stack.tls()).chain(api)
}

/// TLS of every endpoint of a hub and of every proxy.
fn dialers(config: &Config) -> impl Iterator<Item = &DialTls> {
    chains(config).flat_map(|(hubs, proxies)| stacks(hubs, proxies)).filter_map(TransportStack::tls)
}

/// The hubs or relays of every chain that a service uses, and the proxies before them.
fn chains(config: &Config) -> impl Iterator<Item = (&[HubNode], &[ProxyHop])> {
    let of_hosts = config.services.iter().filter_map(|service| match &service.kind {
        ServiceKind::Host(host) => Some(host.chains()),
        _ => None,
    });
    let of_clients = config.services.iter().filter_map(|service| {
        let relay = match &service.kind {
            ServiceKind::UdpClient(client) => client.relay.as_ref(),
            ServiceKind::TapClient(client) => client.relay.as_ref(),
            _ => None,
        };
        relay.map(|relay| (&relay.relays[..], &relay.proxies[..]))
    });
    of_hosts.flatten().chain(of_clients)
}

/// What a chain opens, to hubs or relays and to proxies.
fn stacks<'a>(
    hubs: &'a [HubNode],
    proxies: &'a [ProxyHop],
) -> impl Iterator<Item = &'a TransportStack<DialTls>> {
    let hubs = hubs.iter().flat_map(|hub| &hub.endpoints).map(|endpoint| &endpoint.stack);
    let proxies = proxies.iter().flat_map(|hop| &hop.nodes).map(|node| &node.stack);
    hubs.chain(proxies)
}

/// Whether a chain itself has a password, or a header that is one.
fn chain_has_secrets(hubs: &[HubNode], proxies: &[ProxyHop]) -> bool {
    let mut nodes = proxies.iter().flat_map(|hop| &hop.nodes);
    logins_of(hubs, proxies).any(|login| login.file.is_none())
        || nodes.any(|node| node.headers.iter().any(is_secret))
        || stacks(hubs, proxies).flat_map(headers).any(is_secret)
}

/// The file of those whom a dialer trusts, if it is not the system's.
fn authorities_of(tls: &DialTls) -> Option<&PathBuf> {
    match &tls.verification {
        Verification::Full { ca } => ca.as_ref(),
        Verification::Chain { ca } => Some(ca),
        Verification::Off => None,
    }
}

/// What hosts and clients prove themselves with.
fn logins(config: &Config) -> impl Iterator<Item = &Login> {
    chains(config).flat_map(|(hubs, proxies)| logins_of(hubs, proxies))
}

fn logins_of<'a>(hubs: &'a [HubNode], proxies: &'a [ProxyHop]) -> impl Iterator<Item = &'a Login> {
    let proxies = proxies.iter().flat_map(|hop| &hop.nodes);
    let hubs = hubs.iter().filter_map(|hub| hub.auth.as_ref());
    hubs.chain(proxies.filter_map(|node| node.auth.as_ref()))
}

/// Multipath TCP that is asked for where the kernel has none.
fn without_multipath(config: &Config) -> Option<Finding> {
    let listeners =
        listeners(config).map(|listener| (listener.sockets.mptcp, &listener.sockets.netns));
    let dialled = chains(config).flat_map(|(hubs, proxies)| {
        let proxies = proxies.iter().flat_map(|hop| &hop.nodes).map(|node| &node.sockets);
        hubs.iter().map(|hub| &hub.sockets).chain(proxies)
    });
    let dialled = dialled.map(|sockets| (sockets.mptcp, &sockets.netns));
    let mut all = listeners.chain(dialled);
    let wanted = all.find_map(|(mptcp, netns)| mptcp.then_some(netns.as_ref()))?;
    if has_multipath(wanted.map(NetworkNamespace::path).as_deref()) {
        return None;
    }
    Some(Finding {
        code: None,
        severity: Severity::Warning,
        location: None,
        path: String::new(),
        message:
            "the kernel has no Multipath TCP: `mptcp` has no effect, connections are plain TCP"
                .to_owned(),
        help: Some(
            "use Linux 5.6 or later with net.mptcp.enabled = 1, or remove the key".to_owned(),
        ),
    })
}

/// Whether the configuration itself holds a password or token.
fn has_secrets(config: &Config) -> bool {
    let of_services = config.services.iter().any(|Service { kind, .. }| {
        kind.authers().iter().any(has_users) || kind.sources().any(has_secret)
    });
    let of_kinds = config.services.iter().any(|service| match &service.kind {
        ServiceKind::Host(host) => {
            let mut limiters = host.limits.traffic.iter().map(|limiter| &limiter.limits);
            limiters.any(|limiter| limiter.plugin().is_some_and(|plugin| plugin.token.is_some()))
                || host.hop_plugins().any(|hop| hop.plugin.token.is_some())
                || host.chains().any(|(hubs, proxies)| chain_has_secrets(hubs, proxies))
        }
        ServiceKind::UdpClient(client) => {
            let relay = client.relay.as_ref();
            client.passphrase != Passphrase::NONE
                || relay.is_some_and(|relay| chain_has_secrets(&relay.relays, &relay.proxies))
        }
        ServiceKind::UdpServer(_) | ServiceKind::Relay(_) => false,
        ServiceKind::TapServer(server) => server.tap.cipher.is_some(),
        ServiceKind::TapClient(client) => {
            let relay = client.relay.as_ref();
            client.tap.cipher.is_some()
                || relay.is_some_and(|relay| chain_has_secrets(&relay.relays, &relay.proxies))
        }
        ServiceKind::Hub(hub) => hub.rules.plugins().any(|plugin| plugin.token.is_some()),
    });
    let mut operators = config.operators();
    let of_operators =
        operators.any(|users| has_users(users) || users.sources().iter().any(has_secret));
    let mut names = config.services.iter().flat_map(|service| service.kind.lookups());
    let of_names = names.any(|name| name.sources().any(has_secret));
    let mut recordings = config.services.iter().flat_map(|service| &service.recordings);
    let of_recorders = recordings.any(|it| target_has_secret(&it.recorder.target));
    of_services || of_kinds || of_names || of_recorders || of_operators
}

/// What is sent along with the request of a stack that has one.
fn headers<T>(stack: &TransportStack<T>) -> &[HttpHeader] {
    match stack {
        TransportStack::Tcp { ws: Some(ws), .. } => &ws.headers,
        TransportStack::Http2 { http, .. } => &http.headers,
        TransportStack::Tcp { ws: None, .. }
        | TransportStack::Quic { .. }
        | TransportStack::Grpc { .. } => &[],
    }
}

fn is_secret(header: &HttpHeader) -> bool {
    !redact::is_plain_header(&header.name)
}

fn has_users(auther: &Named<User>) -> bool {
    matches!(&auther.provider, Provider::Rows(rows) if !rows.inline.is_empty())
}

fn has_secret(source: &SourceSettings) -> bool {
    match source {
        SourceSettings::Redis(redis) => redis.server.password.is_some(),
        SourceSettings::Http(http) => http.url.contains('@'),
        SourceSettings::File(_) => false,
    }
}

fn target_has_secret(target: &RecordTarget) -> bool {
    match target {
        RecordTarget::File(_) | RecordTarget::Tcp(_) => false,
        RecordTarget::Redis(key) => key.server.password.is_some(),
        RecordTarget::Http(url) => url.url.contains('@') || url.headers.iter().any(is_secret),
        RecordTarget::Plugin(plugin) => plugin.token.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use rtun_config::load_text;

    use super::*;

    fn host(proxy: &str, hub: &str) -> String {
        format!(
            "
services:
- name: service-0
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: 10.0.0.1/24}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:
- name: chain
  hops:
  - name: proxy
    nodes:
    - name: proxy
      addr: proxy.example:3128
      connector: {{type: http, {proxy}}}
  - name: hub
    nodes:
    - name: hub
      addr: hub.example:8443
      connector: {{type: router}}
      dialer: {{{hub}}}
"
        )
    }

    fn metrics(scrapers: &str) -> String {
        format!(
            "
services:
- name: service-0
  addr: 127.0.0.1:8443
  handler: {{type: router, metadata: {{router: r}}}}
  listener: {{type: tcp}}
routers: [{{name: r, routes: [{{dst: 10.0.0.1, gateway: host-1}}]}}]
metrics: {{addr: '127.0.0.1:9000'{scrapers}}}
authers:
- name: scrapers
  auths: [{{username: prometheus, password: p}}]
"
        )
    }

    #[test]
    fn a_file_holds_secrets_where_there_is_a_password_token_or_header() {
        for (config, expected) in [
            (host("", "type: tcp"), false),
            (host("auth: {username: u, password: p}", "type: tcp"), true),
            (host("metadata: {header: {Proxy-Authorization: Basic eDp5}}", "type: tcp"), true),
            (host("metadata: {header: {user-agent: curl/8}}", "type: tcp"), false),
            (host("", "type: ws, metadata: {header: {X-Api-Key: k}}"), true),
            (host("", "type: ws, metadata: {header: {Origin: 'https://hub.example'}}"), false),
            (host("", "type: h2, tls: {secure: true}, metadata: {header: {Cookie: k}}"), true),
            (metrics(""), false),
            (metrics(", auther: scrapers"), true),
        ] {
            let outcome = load_text("test", &config, false, Profile::Compat);
            let model = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.findings));
            assert_eq!(has_secrets(&model), expected, "{config}");
        }
    }
}
