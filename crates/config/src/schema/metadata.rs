//! Keys of `metadata` by what they belong to; those of transports have a file of their own.

use super::field::{KeySpec, KeyStatus, Line, Shape, objects};

const NO_OBSERVER: &str =
    "a relay's clients have no names; name the observer in the service to have it informed";
const CACHE: &str = "answers are cached by rtun's own rules, off the packet path";
const SWITCH: &str = "an Ethernet tunnel has no register, and its keepalive needs no setting";
const WHOLE_PACKETS: &str = "packets of up to 65535 bytes are taken whole";
const NO_DATAGRAMS: &str = "no datagrams go through a proxy";
const NO_CLEANUP: &str = "limits that nobody needs are removed by rtun's own rules";

objects! {
    /// What a command line leaves in every metadata map though it counts elsewhere.
    left_over, "parameters of other objects", only shared {
        silent("retries", "admission", "bypass", "resolver", "prefer", "hosts", "limiter.in", "limiter.out", "limiter.conn.in",
            "limiter.conn.out", "climiter", "rlimiter");
    }

    /// What GOST leaves in a hop's metadata of the parameters that become the dialer's `tls`.
    tls_left_over, "parameters of a dialer's tls", only shared {
        silent("tls.certFile", "certFile", "cert", "tls.keyFile", "keyFile", "key", "tls.caFile", "caFile", "ca", "tls.secure",
            "secure", "tls.serverName", "serverName");
    }

    service_metadata in metadata, "a service's metadata" {
        take(DIAL_TIMEOUT: Timespan, "dialTimeout", "3s, with proxies or layers on TCP 6s", "limit for connecting to one hub, proxies and handshakes included; it counts once the first name is found, for which there is at most as long again, and at most 3s. A lookup that takes longer [goes on](troubleshooting.md#why-a-host-is-not-connected)");
        take(IGNORE_CHAIN: Flag, "ignoreChain", "false", "an error on a host, which would have no hub");
        take(PROXY_PROTOCOL: Int, "proxyProtocol", "0", "hub: above 0 each connection on TCP begins with a PROXY preamble; needs `trustedProxies` in the listener's metadata");
        take(INTERFACE: CommaTexts, "interface", "none", "host: what connections are bound to, list or comma text: devices or addresses, tried one after the other; with `!` after one the next are not tried. No effect on a hub");
        take(SO_MARK: Int, "so_mark", "none, on a host 29300", "mark of the host's connections, or of the hub's listening socket. By it a host's own packets are [kept out of its tunnel](configuration.md#routes-of-the-system)");
        take(NETNS: OneText, "netns", "none", "network namespace in which the hub listens, or the host's device is; a name of `ip netns`, or a path");
        take(NETNS_OUT: OneText, "netns.out", "none", "network namespace in which a host's connections are opened");
        take(ENABLE_STATS: Flag, "enableStats", "false", "whether the service's observer is informed of its counts too, and the Web API shows them");
        take(OBSERVER_PERIOD: Timespan, "observer.period" | "observePeriod", "5s", "time between two reports of counts to the service's observer, at least `1s`");
        take(RESET_TRAFFIC: Flag, "observer.resetTraffic", "false", "whether bytes are reported as differences to what the observer has taken last");
        harmless("log lines have no labels; they name the service", "labels");
        take(PRE_UP: Texts, "preUp", "none", "[commands](hooks.md), one text for each: when the listeners or the device are there; one that fails keeps the service from starting. No shell takes part");
        take(POST_UP: Texts, "postUp", "none", "after that, before the first connection");
        take(PRE_DOWN: Texts, "preDown", "none", "before the service stops");
        take(POST_DOWN: Texts, "postDown", "none", "after the listeners are closed or the device is removed");
        take(HOOK_TIMEOUT: Timespan, "hookTimeout", "10s", "rtun's own: limit for each of these commands; then it is killed with all that it has started");
        take(REFRESH: Timespan, "limiter.refreshInterval", "30s", "time after which a limiter's plugin is asked again, at least `1s`");
        take(SCOPE: OneText, "limiter.scope", "both", "which rows of the limiter count: `service`: `$` only; `conn`: all others");
        no_effect(NO_CLEANUP, Timespan: "limiter.cleanupInterval");
        shared(left_over);
    }

    router_handler in metadata, "the metadata of a `router` handler" {
        take(ROUTER: OneText, "router", "none", "the default router: asked where a namespace has no router of its own, or that one has no route");
        take(INGRESS: OneText, "ingress", "none", "the ingress; without it any host may join any known namespace");
        take(READ_TIMEOUT: Timespan, "readTimeout", "10s", "limit from accepting a connection to admitting the host");
        take(SOURCE_CHECK: OneText, "sourceCheck", "strict", "`strict`: a packet's source must be routed back to the sending host, by one of the rows where a prefix has several; `loose`: to some host; `off`. However strict, a source that no table knows may send [ICMP errors](configuration.md#icmp-errors) about packets that went to its host");
        take(SHARING: OneText, "router.sharing" | "sharing", "newest", "several connections of one name: `newest`: the newest carries all, `flow`: flows are spread over them. Several hosts [with one prefix](configuration.md#one-prefix-behind-several-hosts): `newest`: the first that is connected carries all, `flow`: flows are spread over those connected");
        take(TTL: Flag, "ttl", "false", "whether the hub decrements TTL and hop limit; `traceroute` shows the hub then");
        take(ICMP: Flag, "icmp", "true", "rtun's own: whether hosts get [ICMP errors](configuration.md#icmp-errors) about packets of theirs that go nowhere");
        take(ADDRESS: CommaTexts, "address", "none", "rtun's own: one IPv4 address, one IPv6 address or both, where these errors come from; list or comma text. Without it they come from the destination of the packet");
        take(GSO_FRAMES: Flag, "gsoFrames" | "superFrames", "true", "rtun's own: whether rtun hosts may send packets of up to 64 KiB whole, and get them; only speed depends on it");
        take(QUEUE_BUDGET: Int, "queueBudget", "256 MiB", "rtun's own: memory that the queues for all hosts may hold together, at least 16; the fuller, the less each may hold");
        take(MAX_ROUTES_PER_ROUTER: Int, "maxRoutesPerRouter", "2000000", "rtun's own: routes of one router, wherever they come from; more in the configuration itself is an error");
        take(MAX_ROUTES: Int, "maxRoutes", "4000000", "rtun's own: routes of all routers together, likewise");
        take(MAX_NAMESPACES: Int, "maxNamespaces", "65536", "rtun's own: namespaces with a host");
        take(MAX_HOSTS: Int, "maxHosts", "65536", "rtun's own: hosts connected");
        take(MAX_HOSTS_PER_USER: Int, "maxHostsPerUser", "`maxHosts`", "rtun's own: hosts connected as one user");
        no_effect(WHOLE_PACKETS, Int: "router.bufferSize", "bufferSize");
        no_effect(CACHE, Flag: "router.cache");
        no_effect(CACHE, Timespan: "router.cache.expiration");
        take(SKIP_AUTH: CommaTexts, "skipauth", "none", "addresses and prefixes, list or comma text, from which hosts are admitted without user and password. The address is the one the connection comes from; what a proxy says of it counts only from `trustedProxies`");
        not_yet("entrypoint", "sd", "sd.cache.expiration", "sd.renewInterval");
        take(OBSERVER_PERIOD: Timespan, "observePeriod" | "observer.period" | "observer.observePeriod", "5s", "time between two reports of counts to the handler's observer, at least `1s`");
        take(RESET_TRAFFIC: Flag, "observer.resetTraffic", "false", "whether bytes are reported as differences to what the observer has taken last");
        take(REFRESH: Timespan, "limiter.refreshInterval", "30s", "time after which a limiter's plugin is asked again, at least `1s`");
        no_effect(NO_CLEANUP, Timespan: "limiter.cleanupInterval");
        misplaced("an auther is named in the handler itself, in a file; a command line can give one user as user:password@", "auther");
        harmless("an observer is named in the handler itself, in a file", "observer");
        misplaced("a limiter is named in the handler itself, in a file", "limiter");
        shared(left_over);
    }

    relay_handler in metadata, "the metadata of a `relay` handler" {
        take(READ_TIMEOUT: Timespan, "readTimeout", "10s", "limit from accepting a connection to admitting the client");
        take(BIND: Flag, "bind", "true", "whether clients of Ethernet tunnels are served; nothing is bound for others");
        no_effect("the answer is sent at once", Flag: "nodelay");
        no_effect(WHOLE_PACKETS, Int: "udpBufferSize", "udp.bufferSize", "bufferSize");
        not_yet("idleTimeout", "hash", "limiter.refreshInterval", "limiter.cleanupInterval", "limiter.scope");
        harmless(NO_OBSERVER, "observer.period", "observePeriod", "observer.resetTraffic");
        misplaced("an auther is named in the handler itself, in a file; a command line can give one user as user:password@", "auther");
        shared(left_over);
    }

    metrics_handler in metadata, "the metadata of a `metrics` handler" {
        take(PATH: OneText, "metrics.path" | "path", "/metrics", "of the URL");
        shared(left_over);
    }

    api_handler in metadata, "the metadata of an `api` handler" {
        take(PATH_PREFIX: OneText, "api.pathPrefix" | "pathPrefix", "none", "what all paths begin with");
        take(ACCESS_LOG: Flag, "api.accessLog" | "accessLog", "false", "whether each request that only reads is logged, too");
        take(READERS: CommaTexts, "readers", "none", "rtun's own: users who may read and change nothing; list or comma text");
        take(ORIGINS: CommaTexts, "origins", "none", "rtun's own: origins whose pages may use it in a browser; list or comma text");
        take(INSECURE: Flag, "insecure", "false", "rtun's own: whether it is served beyond this machine also without users or without TLS");
        shared(left_over);
    }

    tun_handler in metadata, "the metadata of a `tun` handler" {
        take(KEEPALIVE: Flag, "tun.keepalive" | "keepalive", "true", "client of a [UDP tunnel](configuration.md#udp-tunnels): whether it registers again and again; without, the server loses it for good when it starts again");
        take(TTL: Timespan, "tun.ttl" | "ttl", "10s", "client of a UDP tunnel: time between registers; after three without a sign of life the server counts as gone");
        take(TOKEN: OneText, "tun.token" | "token" | "passphrase", "none", "client of a UDP tunnel: at most 16 bytes, sent as they are");
        take(P2P: Flag, "tun.p2p" | "p2p", "false", "server of a UDP tunnel: everything goes to one client, whatever its destination, and that client may send from any source");
        take(ALLOW: CommaTexts, "allow", "none", "rtun's own; server of a UDP tunnel: prefixes of addresses that clients may register besides those of the device's networks; list or comma text");
        no_effect(WHOLE_PACKETS, Int: "bufferSize");
        shared(left_over);
    }

    device_listener in metadata, "the metadata of a `tun` or `tap` listener" {
        take(NAME: OneText, "name" | "tun.name", "the kernel's choice", "the device, at most 15 bytes");
        take(NET: CommaTexts, "net" | "tun.net", "required", "addresses with prefix length, IPv4 and IPv6, list or comma text; host bits are kept");
        take(MTU: Int, "mtu" | "tun.mtu", "1420 bytes", "68 (1280 with an IPv6 address) to 65535; 0 and less are the default");
        take(GW: OneText, "gw" | "tun.gw", "none", "gateway of routes that have none of their own, of its IP version");
        take(ROUTE: CommaTexts, "route" | "tun.route", "none", "prefixes led into the device, by `gw` if it is given; list or comma text; [how](configuration.md#routes-of-the-system)");
        take(ROUTES: CommaTexts, "routes" | "tun.routes", "none", "items `PREFIX` or `PREFIX GATEWAY`; list or comma text");
        take(DNS: CommaTexts, "dns" | "tun.dns", "none", "name servers, list or comma text");
        take(OFFLOAD: Flag, "offload", "true", "rtun's own: whether packets cross the device many at a time, where the kernel can; only speed depends on it");
    }

    tun_listener in metadata, "the metadata of a `tun` listener" {
        shared(device_listener);
        take(GSO_FRAMES: Flag, "gsoFrames" | "superFrames", "true", "rtun's own: whether such packets go whole to an rtun hub, and come from it; only speed depends on it");
        no_effect("it is for macOS", OneText: "peer", "tun.peer");
        no_effect("it is for Windows", OneText: "guid", "tun.guid");
        take(ROUTER: OneText, "router" | "tun.router", "none", "server of a UDP tunnel: a router; each line's `gateway` is an address that a client registers");
        shared(left_over);
    }

    tap_handler in metadata, "the metadata of a `tap` handler" {
        take(KEY: OneText, "key", "none", "[Ethernet tunnel](configuration.md#ethernet-tunnels): the cipher's key itself in place of a password, 16 bytes for `aes-128-gcm`, else 32; in a file only, since on a command line `key` is a file of TLS");
        no_effect(SWITCH, Flag: "tun.keepalive", "keepalive", "tun.p2p", "p2p");
        no_effect(SWITCH, Timespan: "tun.ttl", "ttl");
        no_effect(WHOLE_PACKETS, Int: "bufferSize");
        misplaced("frames are protected by the cipher in the handler's `auth`", "tun.token", "token", "passphrase");
        shared(left_over);
    }

    tap_listener in metadata, "the metadata of a `tap` listener" {
        shared(device_listener);
        take(MAC: OneText, "mac", "the same at each start", "rtun's own: the hardware address, as `02:00:5e:10:00:01`. Without it one is made of the machine's number (`/etc/machine-id`, or one that is kept), the service's name and the device's addresses");
        no_effect("a datagram is one frame", Flag: "gsoFrames", "superFrames");
        no_effect("it is for Windows", OneText: "componentID");
        shared(left_over);
    }

    router_connector in metadata, "the metadata of a `router` connector" {
        take(ROUTER_ID: OneText, "router.id", "the default namespace", "the UUID of the namespace to join");
        take(CONNECT_TIMEOUT: Timespan, "connectTimeout", "built in", "limit for the hub's answer");
    }

    relay_connector in metadata, "the metadata of a `relay` connector" {
        take(CONNECT_TIMEOUT: Timespan, "connectTimeout", "built in", "before a hub, with `nodelay`: limit for the relay's answer. To the server of a UDP tunnel: no effect, a relay through which none answers for 5 s is left");
        take(NODELAY: Flag, "nodelay", "false", "before a hub: whether the relay's answer is waited for; only for relays that have `nodelay` too, others answer when the hub has sent something. To the server of a UDP tunnel: no effect, nothing waits for the answer");
        no_effect(WHOLE_PACKETS, Int: "udpBufferSize", "udp.bufferSize");
    }

    proxy_connector in metadata, "the metadata of a connector to a proxy", only shared {
        take(TIMEOUT: Timespan, "timeout", "built in", "limit for the proxy's answer");
    }

    http_connector in metadata, "the metadata of an `http` connector" {
        shared(proxy_connector);
        take(HEADER: Headers, "header", "none", "a map of headers sent with the request");
    }

    socks4_connector in metadata, "the metadata of a `socks4` or `socks4a` connector" {
        shared(proxy_connector);
        take(DISABLE_4A: Flag, "disable4a", "false", "whether this machine looks names up, for a proxy that only takes IPv4 addresses");
    }

    socks5_connector in metadata, "the metadata of a `socks5` connector" {
        shared(proxy_connector);
        no_effect("GOST's own encryption of SOCKS5 is never offered", Flag: "notls");
        take(RELAY: OneText, "relay", "none", "`udp` is refused where the proxy leads to the server of a UDP or Ethernet tunnel: datagrams pass on the connection");
        no_effect(NO_DATAGRAMS, Int: "udp.bufferSize", "udpBufferSize");
        no_effect(NO_DATAGRAMS, Timespan: "udp.timeout");
    }

    node_metadata in metadata, "the metadata of a hop or node" {
        take(INTERFACE: CommaTexts, "interface", "the hop's, then the service's", "what connections to this node are bound to, as in a service");
        take(SO_MARK: Int, "so_mark", "the hop's, then the service's", "their mark");
        take(PROXY_PROTOCOL: Int, "proxyProtocol", "0", "1 or 2: connections begin with a PROXY preamble of that version");
        take(NETNS: OneText, "netns", "the hop's, then the service's", "network namespace in which they are opened");
        take(WEIGHT: Int, "weight", "1", "node: how often `random` takes it, compared to the others");
        take(BACKUP: Flag, "backup", "false", "node: whether it is only used when no other can be");
        take(MAX_FAILS: Int, "maxFails", "the selector's", "node: after that many failures it is left out");
        take(FAIL_TIMEOUT: Timespan, "failTimeout", "the selector's", "node: for that long");
        shared(tls_left_over);
    }

    chain_metadata in metadata, "the metadata of a chain" {
        take(WEIGHT: Int, "weight", "1", "in a `chainGroup`: how often `random` takes it, compared to the others");
        take(BACKUP: Flag, "backup", "false", "in a `chainGroup`: whether it is only used when no other can be");
        take(MAX_FAILS: Int, "maxFails", "the selector's", "in a `chainGroup`: after that many failures it is left out");
        take(FAIL_TIMEOUT: Timespan, "failTimeout", "the selector's", "in a `chainGroup`: for that long");
    }
}
