//! The keys of tables and lists, of their rows, and of where rows are: sources and plugins.

use super::{
    field::{KeySpec, KeyStatus, Line, Shape, objects},
    tls::client_tls,
};

objects! {
    rows_from, "a table or list" {
        take(RELOAD: Period, "reload", "none", "time between two readings of the sources, at least `1s`. No effect without a source");
        take(FILE: In(file_source), "file", "none", "a file with rows");
        take(REDIS: In(redis_source), "redis", "none", "a redis server with rows");
        take(HTTP: In(http_source), "http", "none", "a URL with rows");
        take(PLUGIN: In(plugin), "plugin", "none", "who is asked instead; the object's other rows and sources are not used then");
    }

    file_source, "a file source" {
        take(PATH: Text, "path", "required", "a file of lines, relative to the working directory; followed as it changes");
    }

    redis_source, "a redis source" {
        take(ADDR: Text, "addr", "required", "`host:port`; without a host the server on this machine");
        take(DB: Int, "db", "0", "the number of the database");
        take(USERNAME: Text, "username", "none", "for servers that know users");
        take(PASSWORD: Text, "password", "none", "if the server wants one");
        take(KEY: Text, "key", "gost", "the key that is read");
        take(TYPE: Text, "type", "the first possible", "what the key holds. Router: `hash`, `set`, `list`; ingress: `hash`, `set`; auther: `hash`; admission: `set`. A field of a hash, a blank and its value are a line; so is a member, and an element");
        take(TLS: In(client_tls), "tls", "none", "rtun's own: encrypts the connection");
    }

    http_source, "an http source" {
        take(URL: Text, "url", "required", "an `http://` URL, or an `https://` one, whose server is always verified");
        take(TIMEOUT: Period, "timeout", "10s", "for one reading");
    }

    plugin, "a plugin" {
        take(TYPE: Text, "type", "grpc", "`http`, or `grpc`, which is also every other text");
        take(ADDR: Text, "addr", "required", "`http`: an `http://` or `https://` URL. `grpc`: `host:port`");
        take(TLS: In(client_tls), "tls", "none", "`grpc`: encrypts the connection. `http`: how an `https://` server is verified; without `tls` it is");
        take(TIMEOUT: Period, "timeout", "2s", "for one question");
        take(TOKEN: Text, "token", "none", "`http`: sent as `Authorization: Bearer`. `grpc`: sent as metadata `token`");
    }

    auther, "an auther" {
        take(NAME: Text, "name", "required", "unique");
        take(AUTHS: List(user), "auths", "none", "the users; of a user given twice the last entry counts");
        shared(rows_from);
    }

    auth, "auth" {
        take(USERNAME: Text, "username", "required", "1 to 255 bytes");
        take(PASSWORD: Text, "password", "none", "up to 255 bytes; a user of a hub without one is never admitted");
        not_yet("file");
    }

    user, "a user" {
        shared(auth);
        take(HOSTS: Texts, "hosts", "any", "rtun's own: the host names this user may report, [whichever source the password comes from](configuration.md#auther)");
    }

    router, "a router" {
        take(NAME: Text, "name", "required", "unique; a UUID makes it the table of that namespace");
        take(ROUTES: List(route), "routes", "none", "the table: of all prefixes that match the longest counts, of equal ones that of the source that comes first, then the first");
        shared(rows_from);
    }

    route, "a route" {
        take(NET: Text, "net", "none", "old spelling of `dst`");
        take(DST: Text, "dst", "required", "a prefix or an address");
        take(GATEWAY: Text, "gateway", "required", "the name of the host that leads to the destination");
    }

    ingress, "an ingress" {
        take(NAME: Text, "name", "required", "unique");
        take(RULES: List(rule), "rules", "none", "which host may join which namespace; a host without a rule may join nothing");
        shared(rows_from);
    }

    rule, "a rule" {
        take(HOSTNAME: Text, "hostname", "required", "a host's name; `*.example.org` or `.example.org` for that name and everything below it. The most specific rule counts");
        take(ENDPOINT: Text, "endpoint", "required", "the UUID of the namespace the host may join");
    }

    admission, "an admission" {
        take(NAME: Text, "name", "required", "unique");
        take(WHITELIST: Flag, "whitelist", "false", "whether only what matches is admitted; otherwise all but what matches");
        take(REVERSE: Flag, "reverse", "false", "old spelling of `whitelist`; either counts");
        take(MATCHERS: Texts, "matchers", "none", "addresses, prefixes, and names, which are resolved when the list is read");
        shared(rows_from);
    }
}
