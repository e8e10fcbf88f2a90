//! The objects of a configuration and their keys.

use super::{
    field::{KeySpec, KeyStatus, Line, Shape, objects},
    rows::{
        admission, auth, auther, counting_limiter, host_limit, hosts_table, ingress, limiter,
        login, plugin, redis_server, resolver, router, sources_from, volume_quota,
    },
    tls::{dialer_tls, listener_tls, top_tls},
};

const OTHER_HANDLERS: &str = "only handlers of other services use it";
const OF_FORWARDING: &str =
    "it is for forwarding to this node, and a host only takes its name from it";
const NO_BYPASS: &str = "a tunnel's packets are routed by its routers, in GOST too";
const NO_LOOKUP: &str = "a tunnel looks up no name that it could answer, in GOST neither";
const NODE_CHOICE: &str = "it decides which node is used, and another one would be";

objects! {
    anything, "an object" {}

    root, "a configuration" {
        take(SERVICES: ObjectList(service), "services", "required", "what runs");
        take(CHAINS: ObjectList(chain), "chains", "none", "how hosts reach their hubs");
        take(HOPS: ObjectList(hop), "hops", "none", "hops that chains and forwarders name");
        take(AUTHERS: ObjectList(auther), "authers", "none", "users");
        take(ADMISSIONS: ObjectList(admission), "admissions", "none", "from which addresses anybody may connect");
        by_name("bypasses");
        take(RESOLVERS: ObjectList(resolver), "resolvers", "none", "name servers that hops and nodes name");
        take(HOSTS: ObjectList(hosts_table), "hosts", "none", "tables of names that hops and nodes name");
        take(INGRESSES: ObjectList(ingress), "ingresses", "none", "which host may join which namespace");
        take(ROUTERS: ObjectList(router), "routers", "none", "routing tables");
        by_name("sds", "rewriters", "caches");
        take(OBSERVERS: ObjectList(observer), "observers", "none", "who is informed of [what services count, and of their states](observers.md)");
        take(RECORDERS: ObjectList(recorder), "recorders", "none", "where services write [from which addresses they are connected to](recorders.md)");
        take(LIMITERS: ObjectList(limiter), "limiters", "none", "[limits of traffic](limits.md)");
        take(QUOTAS: ObjectList(volume_quota), "quotas", "none", "limits of how much may pass in all");
        take(CLIMITERS: ObjectList(counting_limiter), "climiters", "none", "limits of connections at once");
        take(RLIMITERS: ObjectList(counting_limiter), "rlimiters", "none", "limits of requests to join");
        take(LOGGERS: ObjectList(logger), "loggers", "none", "more logs, which services name");
        take(TLS: In(top_tls), "tls", "", "the certificate of listeners that name none");
        take(LOG: In(log), "log", "", "where log lines go; [may change while rtun runs](logging.md)");
        harmless("rtun has no Go runtime to profile", "profiling");
        take(API: In(api), "api", "none", "where the [Web API](api.md) is served");
        take(ONLY_TUNNELS: Flag, "onlyTunnels", "false", "rtun's own: whether services of other kinds, and what only they use, are left out instead of refused; the same as `--only-tunnels`");
        take(METRICS: In(metrics), "metrics", "none", "where metrics are served");
    }

    service, "a service" {
        take(NAME: OneText, "name", "required", "unique");
        take(ADDR: OneText, "addr", "required for a hub, a relay and the server of a UDP tunnel", "`host:port` to listen on; an empty host is every address, port 0 any free one. No effect on a host or client");
        shared(socket_fields);
        take(ADMISSION: OneText, "admission", "none", "the name of an admission, which has to admit the address; no effect on a host or client");
        take(ADMISSIONS: Texts, "admissions", "none", "names of admissions, of which each has to admit the address; no effect on a host or client");
        harmless(NO_BYPASS, "bypass", "bypasses");
        harmless(NO_LOOKUP, "resolver", "hosts");
        take(LOGGER: OneText, "logger", "the log of the process", "the name of one of `loggers`, for the log lines of this service");
        take(LOGGERS: Texts, "loggers", "none", "names of more of them; each line goes to all");
        harmless(OTHER_HANDLERS, "rewriter", "cache");
        take(LIMITER: OneText, "limiter", "none", "the name of a limiter: of a hub's connections, or of a host's device");
        take(QUOTAS: Texts, "quotas", "none", "names of quotas, each of which counts what passes; when one is used up nothing passes, and a hub admits no more hosts");
        take(CLIMITER: OneText, "climiter", "none", "the name of a climiter; hubs only");
        take(RLIMITER: OneText, "rlimiter", "none", "the name of an rlimiter; hubs only");
        take(OBSERVER: OneText, "observer", "none", "the name of an observer, which is informed of the service's state and, with `enableStats`, of its counts");
        take(RECORDERS: ObjectList(recorder_use), "recorders", "none", "who is given the address of each connection; hubs and relays only");
        take(HANDLER: In(handler), "handler", "required", "hub, host, relay or [UDP tunnel](configuration.md#udp-tunnels)");
        take(LISTENER: In(listener), "listener", "`tcp`", "where and how it listens, or the host's device");
        take(LISTENERS: ObjectList(more_listener), "listeners", "none", "rtun's own: up to 63 more listeners of the same hub");
        take(FORWARDER: In(forwarder), "forwarder", "required for a host and a client", "the host's name, the servers of a UDP tunnel's client, or the one target of a relay");
        metadata();
        silent("status");
    }

    chain, "a chain" {
        take(NAME: OneText, "name", "required", "unique");
        take(HOPS: ObjectList(hop), "hops", "required", "up to 8: proxies, then the hubs. A hop without nodes is a reference by name to `hops`");
        metadata();
        harmless("a selector belongs to a hop", "selector");
    }

    hop, "a hop" {
        take(NAME: OneText, "name", "required in `hops`", "unique");
        shared(socket_fields);
        take(SELECTOR: In(selector), "selector", "", "which node is used");
        refused(NODE_CHOICE, "bypass", "bypasses");
        take(RESOLVER: OneText, "resolver", "the system's", "the name of one of `resolvers`, for [the names of its nodes](reaching-the-hub.md#names); a node may name another");
        take(HOSTS: OneText, "hosts", "none", "the name of one of `hosts`, which comes before the resolver; a node may name another");
        take(NODES: ObjectList(node), "nodes", "required without a source", "connections go through one of them. [Those of a source](reaching-the-hub.md#hubs-from-files-and-servers) come after them: of the file, of redis, of the URL");
        shared(sources_from);
        take(PLUGIN: In(plugin), "plugin", "none", "who [names the node for each connection](reaching-the-hub.md#hubs-from-a-plugin); the hop's nodes and sources are not used then");
        metadata();
    }

    log, "the log" {
        take(OUTPUT: OneText, "output", "stderr", "`stderr`, `stdout`, `none`, or a file's path");
        take(LEVEL: OneText, "level", "info", "`trace`, `debug`, `info`, `warn`, `error`, `fatal`: only what ends the process; another one counts as `info`, with a warning, as GOST does");
        take(FORMAT: OneText, "format", "rtun", "`rtun`: JSON with rtun's own names; `json` and `text`: [the names and forms of GOST](logging.md#forms); another one counts as `json`, with a warning, as GOST does");
        take(ROTATION: In(rotation), "rotation", "none", "when a file is put aside and another begun");
    }

    observer, "an observer" {
        take(NAME: OneText, "name", "required", "unique");
        take(PLUGIN: In(plugin), "plugin", "required", "where it is informed");
    }

    recorder, "a recorder" {
        take(NAME: OneText, "name", "required", "unique");
        take(PLUGIN: In(plugin), "plugin", "none", "who is given the records; one of the five has to be there, and the first that is counts");
        take(FILE: In(record_file), "file", "none", "a file that they are written to");
        take(TCP: In(record_server), "tcp", "none", "a server that they are sent to");
        take(HTTP: In(record_url), "http", "none", "a URL that they are posted to");
        take(REDIS: In(record_key), "redis", "none", "a redis server that they are written to");
    }

    record_file, "a file of records" {
        take(PATH: OneText, "path", "required", "the file, made with its folder if it is not there; relative to the working directory");
        take(SEP: OneText, "sep", "none", "what is written after each record, as `\"\\n\"`");
        take(ROTATION: In(rotation), "rotation", "none", "when the file is put aside and another begun");
    }

    record_server, "a server of records" {
        take(ADDR: OneText, "addr", "required", "`host:port`; each record is a connection that is closed after it");
        take(TIMEOUT: Period, "timeout", "10s", "for one record");
    }

    record_url, "a URL of records" {
        take(URL: OneText, "url", "required", "an `http://` URL, or an `https://` one, whose server is always verified; without a scheme `http://`. Each record is the body of a POST");
        take(TIMEOUT: Period, "timeout", "10s", "for one record");
        take(HEADER: Headers, "header", "none", "a map of headers; `Content-Type` is `application/json` unless it is there");
    }

    record_key, "a redis key of records" {
        shared(redis_server);
        take(KEY: OneText, "key", "required", "the key that is written to");
        take(TYPE: OneText, "type", "set", "`set`: each record once; `list`: all, the newest first; `sset`: a sorted set of each record with how often there was one");
    }

    recorder_use, "a recorder of a service" {
        take(NAME: OneText, "name", "required", "the name of one of `recorders`");
        take(RECORD: OneText, "record", "required", "`recorder.service.client.address`: the address of each connection. [What becomes of others](recorders.md#what-is-recorded)");
        take(METADATA: Any, "metadata", "none", "given to a plugin with each record, as JSON");
    }

    logger, "a logger" {
        take(NAME: OneText, "name", "required", "unique");
        take(LOG: In(log), "log", "as `log` without keys", "where its lines go");
    }

    rotation, "a log's rotation" {
        take(MAX_SIZE: Int, "maxSize", "100 MiB", "a file that would grow past it is put aside first; 0 and less are the default");
        take(MAX_AGE: Int, "maxAge", "0", "days after which a file that was put aside is removed; 0 and less: never");
        take(MAX_BACKUPS: Int, "maxBackups", "0", "files put aside that are kept; 0 and less: all");
        take(LOCAL_TIME: Flag, "localTime", "false", "whether the times in their names are local ones, not UTC");
        take(COMPRESS: Flag, "compress", "false", "whether they are compressed with gzip");
    }

    metrics, "the metrics" {
        take(ADDR: OneText, "addr", "required", "`host:port`, or `unix://` and the path of a socket");
        take(PATH: OneText, "path", "/metrics", "of the URL");
        take(AUTH: In(auth), "auth", "anyone", "one user; HTTP Basic");
        take(AUTHER: OneText, "auther", "anyone", "the name of an auther, which counts instead of `auth`; its users stand in the configuration itself");
    }

    api, "the Web API" {
        take(ADDR: OneText, "addr", "required", "`host:port`, or `unix://` and the path of a socket, which only root and the user of the process can connect to");
        take(AUTH: In(auth), "auth", "anyone", "one user; HTTP Basic");
        take(AUTHER: OneText, "auther", "anyone", "the name of an auther, which counts instead of `auth`; its users stand in the configuration itself");
        take(PATH_PREFIX: OneText, "pathPrefix", "none", "what all paths begin with");
        take(ACCESS_LOG: Flag, "accesslog", "false", "whether each request that only reads is logged, too; changes and refusals always are");
        take(TLS: In(listener_tls), "tls", "none", "rtun's own: serves HTTPS with it, as a `tls` listener does");
        shared(api_access);
    }

    api_access, "who may use the Web API", only shared {
        take(READERS: Texts, "readers", "none", "rtun's own: users who may read and change nothing");
        take(ORIGINS: Texts, "origins", "none", "rtun's own: origins whose pages may use it in a browser, as `https://ops.example`; the names in them may also stand in the URL of the API itself");
        take(INSECURE: Flag, "insecure", "false", "rtun's own: whether it is served beyond this machine also without users or without TLS");
    }

    sockopts, "socket options" {
        take(SO_MARK: Int, "mark", "none", "old spelling of `so_mark` in the metadata");
    }

    socket_fields, "what opens sockets" {
        take(INTERFACE: CommaTexts, "interface", "none", "old spelling of `interface` in the metadata");
        take(SOCKOPTS: In(sockopts), "sockopts", "none", "`mark`: old spelling of `so_mark` in the metadata");
    }

    handler, "a handler" {
        take(TYPE: OneText, "type", "required", "`router` for a hub, `tun` for a host or a UDP tunnel, `tap` for an Ethernet tunnel, `relay` for a [relay](configuration.md#relays-of-udp-tunnels)");
        take(RETRIES: Int, "retries", "0", "accepted; a host tries every other node at once when one fails. No effect on a hub");
        take(CHAIN: OneText, "chain", "a host: the only one that leads to a hub; the client of a UDP tunnel: none", "the chain a host connects by; of a client it leads to a relay");
        take(CHAIN_GROUP: In(chain_group), "chainGroup", "none", "more chains of a host, one of which is chosen for each attempt");
        take(AUTHER: OneText, "auther", "anyone", "the name of an auther that may admit; hubs, relays and servers only");
        take(AUTHERS: Texts, "authers", "anyone", "names of authers, of which any may admit; hubs, relays and servers only");
        take(AUTH: In(auth), "auth", "anyone", "one user; counts only without a named auther. Of a `tap` handler the [cipher and its password](configuration.md#ethernet-tunnels)");
        harmless("in a handler only other services use it; what encrypts is the `tls` of the listener or dialer", "tls");
        take(LIMITER: OneText, "limiter", "none", "the name of a limiter whose rows and questions are about hosts and namespaces; hubs only");
        take(LIMITS: ObjectList(host_limit), "limits", "none", "rtun's own: limits of hosts and namespaces; hubs only");
        take(OBSERVER: OneText, "observer", "none", "the name of an observer, which is informed of the counts of each host; hubs only");
        metadata();
    }

    listener, "a listener" {
        shared(listener_base);
        harmless("only listeners of other types connect to something", "chain", "chainGroup");
        misplaced("put `auther` into the handler", "auther");
        misplaced("put `authers` into the handler", "authers");
        misplaced("put `auth` into the handler", "auth");
    }

    more_listener, "another listener" {
        take(ADDR: OneText, "addr", "the service's", "`host:port` to listen on");
        shared(listener_base);
    }

    forwarder, "a forwarder" {
        take(HOP: OneText, "hop" | "name", "none", "the name of one of `hops` whose node is meant");
        take(SELECTOR: In(selector), "selector", "none", "as in a hop");
        take(NODES: ObjectList(target), "nodes", "required", "a host: exactly one node; the client of a UDP tunnel: its servers, tried in their order");
        not_yet("hopGroup");
    }

    selector, "a selector" {
        take(STRATEGY: OneText, "strategy", "round", "`round`, `rr`: the next one each time; `random`, `rand`: any, by weight; `fifo`, `ha`: the first that works; `hash`: by the host's name; `parallel`, of hubs only: all at once, the first to answer; `lowestlatency`, `lowest`, `ll`: the one that took the shortest time to connect to last");
        take(MAX_FAILS: Int, "maxFails", "1", "after that many failures a node is left out");
        take(FAIL_TIMEOUT: Period, "failTimeout", "10s", "for that long");
        take(MAX_LATENCY: Period, "maxLatency", "none", "a node that took longer to connect to is left out while there is another");
    }

    node, "a node" {
        take(NAME: OneText, "name", "its address", "for log lines");
        take(ADDR: OneText, "addr", "required", "`host:port` of a hub or proxy; without a host it is on this machine, `127.0.0.1`");
        harmless("it is for forwarding", "network");
        refused(NODE_CHOICE, "bypass", "bypasses", "filter", "matcher");
        take(RESOLVER: OneText, "resolver", "the hop's", "the name of one of `resolvers`, for the name in `addr`");
        take(HOSTS: OneText, "hosts", "the hop's", "the name of one of `hosts`, which comes before the resolver");
        take(CONNECTOR: In(connector), "connector", "required", "hub or proxy");
        take(DIALER: In(dialer), "dialer", "`tcp`", "how it is reached");
        take(DIALERS: ObjectList(more_dialer), "dialers", "none", "rtun's own, hubs only: up to 8 dialers in the place of one, the preferred one first");
        take(NETNS: OneText, "netns", "none", "old spelling of `netns` in the metadata");
        shared(socket_fields);
        harmless("it is for forwarding HTTP; what encrypts is the `tls` of the dialer", "http", "tls");
        take(PROBE: In(probe), "probe", "none", "tries the node without need");
        metadata();
    }

    chain_group, "a chain group" {
        take(CHAINS: Any, "chains", "none", "names of [several chains](reaching-the-hub.md#several-chains), besides `chain`; up to 8");
        take(SELECTOR: In(selector), "selector", "", "which chain is used; `parallel` and `lowestlatency` are for nodes");
    }

    listener_base, "every listener" {
        take(TYPE: OneText, "type", "tcp", "`tun` for a host, `tap` for an Ethernet tunnel; for a hub `tcp`, `tls`, `ws`, `wss`, `quic`, `grpc`, `h2`, `h2c`, `mtcp`, `mtls`, `mws`, `mwss`");
        take(TLS: In(listener_tls), "tls", "none", "of types that encrypt");
        metadata();
    }

    target, "a forwarder's node" {
        silent("name");
        take(ADDR: OneText, "addr", "required", "the name the host reports: 1 to 255 bytes without blanks, case counts; or, with a port, the server of a UDP tunnel");
        harmless(OF_FORWARDING, "network", "bypass", "bypasses", "protocol", "host", "path", "filter", "matcher", "probe", "auth", "http", "tls", "metadata");
    }

    connector, "a connector" {
        take(TYPE: OneText, "type", "http", "in the last hop `router`, or for the client of a UDP or Ethernet tunnel `relay` or `socks5`; before it [proxies](reaching-the-hub.md#through-proxies): `http`, `socks5` or `socks`, `socks4`, `socks4a`, `relay`");
        take(AUTH: In(login), "auth", "none", "what the host proves itself with");
        harmless("what encrypts is the `tls` of the dialer", "tls");
        metadata();
    }

    dialer, "a dialer" {
        take(TYPE: OneText, "type", "tcp", "the types of a hub's listener; after a proxy those on TCP");
        harmless("it is for `ssh`; a host proves itself with the `auth` of its connector", "auth");
        take(TLS: In(dialer_tls), "tls", "none", "of types that encrypt");
        metadata();
    }

    more_dialer, "one of several dialers" {
        take(ADDR: OneText, "addr", "the node's", "`host:port` of the hub");
        shared(dialer);
    }

    probe, "a probe" {
        take(TYPE: OneText, "type", "tcp", "`tcp`: the node is connected to; `http`: a `GET` on TCP, or on TLS if the dialer has it; `cmd`: a command");
        no_effect("the node's own address is probed", OneText: "addr");
        take(INTERVAL: Period, "interval", "30s", "time between two attempts");
        take(TIMEOUT: Period, "timeout", "10s", "limit of one");
        take(HTTP_PATH: OneText, "httpPath", "/", "`http`: the path of the request");
        take(HTTP_HOST: OneText, "httpHost", "the node's address", "`http`: the header `Host`");
        take(HTTP_HEADERS: Headers, "httpHeaders", "none", "`http`: a map of more headers");
        take(EXPECTED_STATUS: Int, "expectedStatus", "200", "`http`: the status of a success");
        take(COMMAND: OneText, "command", "required for `cmd`", "`cmd`: run by `sh -c`; the node is there when it exits with 0. After `timeout` it is killed with all that it has started");
    }
}
