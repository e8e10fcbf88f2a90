//! The keys of tables and lists, of their rows, and of where rows are: sources and plugins.

use super::{
    field::{KeySpec, KeyStatus, Line, Shape, objects},
    tls::client_tls,
};

objects! {
    sources_from, "a list with sources" {
        take(RELOAD: Period, "reload", "none", "time between two readings of the sources, at least `1s`. No effect without a source");
        take(FILE: In(file_source), "file", "none", "a file with rows, or with the nodes of a hop");
        take(REDIS: In(redis_source), "redis", "none", "a redis server with rows or nodes");
        take(HTTP: In(http_source), "http", "none", "a URL with rows or nodes");
    }

    rows_from, "a table or list" {
        shared(sources_from);
        take(PLUGIN: In(plugin), "plugin", "none", "who is asked instead; the object's other rows and sources are not used then");
    }

    file_source, "a file source" {
        take(PATH: OneText, "path", "required", "a file of lines, or of nodes, relative to the working directory; followed as it changes");
    }

    redis_server, "a redis server", only shared {
        take(ADDR: OneText, "addr", "required", "`host:port`; without a host the server on this machine");
        take(DB: Int, "db", "0", "the number of the database");
        take(USERNAME: OneText, "username", "none", "for servers that know users");
        take(PASSWORD: OneText, "password", "none", "if the server wants one");
        take(TLS: In(client_tls), "tls", "none", "rtun's own: encrypts the connection");
    }

    redis_source, "a redis source" {
        shared(redis_server);
        take(KEY: OneText, "key", "gost", "the key that is read");
        take(TYPE: OneText, "type", "the first possible", "what the key holds. Router: `hash`, `set`, `list`; ingress: `hash`, `set`; auther: `hash`; admission: `set`; limiters and tables of names: `set`, `list`; hop: `string`. A field of a hash, a blank and its value are a line; so is a member, and an element");
    }

    http_source, "an http source" {
        take(URL: OneText, "url", "required", "an `http://` URL, or an `https://` one, whose server is always verified");
        take(TIMEOUT: Period, "timeout", "10s", "for one reading");
    }

    plugin, "a plugin" {
        take(TYPE: OneText, "type", "grpc", "`http`, or `grpc`, which is also every other text");
        take(ADDR: OneText, "addr", "required", "`http`: an `http://` or `https://` URL. `grpc`: `host:port`");
        take(TLS: In(client_tls), "tls", "none", "`grpc`: encrypts the connection. `http`: how an `https://` server is verified; without `tls` it is");
        take(TIMEOUT: Period, "timeout", "2s", "for one question");
        take(TOKEN: OneText, "token", "none", "`http`: sent as `Authorization: Bearer`. `grpc`: sent as metadata `token`");
    }

    auther, "an auther" {
        take(NAME: OneText, "name", "required", "unique");
        take(AUTHS: ObjectList(user), "auths", "none", "the users; of a user given twice the last entry counts");
        shared(rows_from);
    }

    auth, "auth" {
        take(USERNAME: OneText, "username", "required", "1 to 255 bytes");
        take(PASSWORD: OneText, "password", "none", "up to 255 bytes; a user of a hub without one is never admitted");
        refused("it is for what a host proves itself with; a hub's users come from an auther, which may have a `file`", "file");
    }

    login, "a login" {
        take(USERNAME: OneText, "username", "required without `file`", "1 to 255 bytes");
        take(PASSWORD: OneText, "password", "none", "up to 255 bytes");
        take(FILE: OneText, "file", "none", "a file whose first line that is no comment is the user, a blank and the password; it counts instead of the other keys, and is read at the start and at each reload");
    }

    user, "a user" {
        shared(auth);
        take(HOSTS: Texts, "hosts", "any", "rtun's own: the host names this user may report, [whichever source the password comes from](configuration.md#auther)");
    }

    router, "a router" {
        take(NAME: OneText, "name", "required", "unique; a UUID makes it the table of that namespace");
        take(ROUTES: ObjectList(route), "routes", "none", "the table: of all prefixes that match the longest counts, of equal ones that of the source that comes first, then the first");
        shared(rows_from);
    }

    route, "a route" {
        take(NET: OneText, "net", "none", "old spelling of `dst`");
        take(DST: OneText, "dst", "required", "a prefix or an address");
        take(GATEWAY: OneText, "gateway", "required", "the name of the host that leads to the destination");
    }

    ingress, "an ingress" {
        take(NAME: OneText, "name", "required", "unique");
        take(RULES: ObjectList(rule), "rules", "none", "which host may join which namespace; a host without a rule may join nothing");
        shared(rows_from);
    }

    rule, "a rule" {
        take(HOSTNAME: OneText, "hostname", "required", "a host's name; `*.example.org` or `.example.org` for that name and everything below it. The most specific rule counts");
        take(ENDPOINT: OneText, "endpoint", "required", "the UUID of the namespace the host may join");
    }

    admission, "an admission" {
        take(NAME: OneText, "name", "required", "unique");
        take(WHITELIST: Flag, "whitelist", "false", "whether only what matches is admitted; otherwise all but what matches");
        take(REVERSE: Flag, "reverse", "false", "old spelling of `whitelist`; either counts");
        take(MATCHERS: Texts, "matchers", "none", "addresses, prefixes, and names, which are resolved when the list is read");
        shared(rows_from);
    }

    limiter, "a limiter" {
        take(NAME: OneText, "name", "required", "unique");
        take(LIMITS: Texts, "limits", "none", "lines `key in [out] [burst]` in bytes a second, as in `$$ 10MB 1MB`; [which keys there are](limits.md#lines)");
        shared(rows_from);
    }

    counting_limiter, "a climiter or rlimiter" {
        take(NAME: OneText, "name", "required", "unique");
        take(LIMITS: Texts, "limits", "none", "lines `key number`, as in `$$ 10`: connections at once, or requests to join a second; [which keys there are](limits.md#lines)");
        shared(sources_from);
        refused("GOST asks plugins about traffic only", "plugin");
    }

    resolver, "a resolver" {
        take(NAME: OneText, "name", "required", "unique");
        take(NAMESERVERS: ObjectList(name_server), "nameservers", "required", "asked in their order until one knows an address");
        take(PLUGIN: Any, "plugin", "none", "an error where a hop or node names this resolver: rtun asks name servers itself");
    }

    name_server, "a name server" {
        take(ADDR: OneText, "addr", "required", "`udp://`, `tcp://`, `tls://` or `dot://` and `HOST:PORT`, or `https://HOST/PATH`; without a scheme `udp`. Port 53 unless given, of `tls` 853, of `https` 443");
        take(CHAIN: OneText, "chain", "none", "an error where a hop or node names this resolver: a name server is asked directly, from where the node is connected to");
        take(PREFER: OneText, "prefer", "ipv4", "`ipv4` or `ipv6`: which addresses it is asked for first; for the others only if there are none");
        take(ONLY: OneText, "only", "none", "`ipv4` or `ipv6`: for no others");
        harmless("the client subnet is not sent", "clientIP");
        take(HOSTNAME: OneText, "hostname", "not verified", "the name in the certificate of the server, which is verified by the system's authorities; without it `tls` and `https` trust any server, as GOST does (C07)");
        take(TTL: Timespan, "ttl", "the answer's", "how long an answer counts; less than nothing: it is asked each time");
        take(TIMEOUT: Period, "timeout", "5s", "for one question");
        no_effect("addresses from before are used while a lookup takes long", Flag: "async");
    }

    hosts_table, "a table of names" {
        take(NAME: OneText, "name", "required", "unique");
        take(MAPPINGS: ObjectList(host_mapping), "mappings", "none", "names and their addresses; a name has all that it is given");
        shared(sources_from);
        take(PLUGIN: Any, "plugin", "none", "an error where a hop or node names this table: it stands in the configuration or in sources");
    }

    host_mapping, "a name and its address" {
        take(HOSTNAME: OneText, "hostname", "required", "a name; `.example.org` for that name and everything below it, `.` for every name. The most specific entry counts");
        take(IP: OneText, "ip", "required", "its address");
        take(ALIASES: Texts, "aliases", "none", "more names of the address");
    }

    host_limit, "a limit of hosts" {
        take(HOST: OneText, "host", "every host", "the name of the host, which is limited over all its connections");
        take(NAMESPACE: OneText, "namespace", "every namespace", "a UUID: the host is limited there only; without `host` the namespace as a whole is limited");
        take(IN: OneText, "in", "no limit", "bytes a second from the host, as `10MB`");
        take(OUT: OneText, "out", "no limit", "bytes a second to the host");
        take(BURST: OneText, "burst", "what passes in 5 ms", "bytes that pass at once after a pause");
    }

    volume_quota, "a quota" {
        take(NAME: OneText, "name", "required", "unique; services that name the same quota share it");
        take(LIMIT: OneText, "limit", "no limit", "bytes of packets, as `100GB`");
        take(STARTS_AT: OneText, "startsAt", "at once", "when it begins, as `2026-03-01T00:00:00Z`; before that nothing is counted or refused");
        take(EXPIRES_AT: OneText, "expiresAt", "never", "when it ends, likewise. Other times begin a new count");
        take(DIRECTION: OneText, "direction", "total", "what counts: `in`, `out` or `total`");
        take(FLUSH: Timespan, "flush", "10s", "how often the count is saved, at least `1s`");
        take(STORE: In(quota_store), "store", "", "where the count is saved");
        silent("status");
    }

    quota_store, "a quota's store" {
        take(TYPE: OneText, "type", "file", "`file`");
        take(FILE: OneText, "file", "`quotas.json` in the [state directory](operating.md)", "a file, in GOST's format; relative to the working directory. Only its owner may be able to write its directory");
        refused("GOST saves nothing there either", "redis");
    }
}
