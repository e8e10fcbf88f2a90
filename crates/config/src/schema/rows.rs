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
        take(PATH: OneText, "path", "required", "a file of lines, relative to the working directory; followed as it changes");
    }

    redis_source, "a redis source" {
        take(ADDR: OneText, "addr", "required", "`host:port`; without a host the server on this machine");
        take(DB: Int, "db", "0", "the number of the database");
        take(USERNAME: OneText, "username", "none", "for servers that know users");
        take(PASSWORD: OneText, "password", "none", "if the server wants one");
        take(KEY: OneText, "key", "gost", "the key that is read");
        take(TYPE: OneText, "type", "the first possible", "what the key holds. Router: `hash`, `set`, `list`; ingress: `hash`, `set`; auther: `hash`; admission: `set`. A field of a hash, a blank and its value are a line; so is a member, and an element");
        take(TLS: In(client_tls), "tls", "none", "rtun's own: encrypts the connection");
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
}
