//! The keys of `tls`: of the whole configuration, a listener, a dialer.

use super::field::{KeySpec, KeyStatus, Line, Shape, objects};

const OF_DIALER: &str = "it belongs to the `tls` of a dialer";
const OF_LISTENER: &str = "it belongs to the `tls` of a listener";
const OF_BOTH: &str = "it belongs to the `tls` of a listener or dialer";
const OF_TOP: &str =
    "it belongs to the top-level `tls`: a certificate that is made is there for all listeners";

objects! {
    tls_files, "the files of tls" {
        take(CERT_FILE: OneText, "certFile", "none", "PEM, the end's own certificate first. A listener without one uses the top level's; [what if there is none](configuration.md#tls). A dialer proves itself with it");
        take(KEY_FILE: OneText, "keyFile", "none", "PEM, the key of `certFile`");
        take(CA_FILE: OneText, "caFile", "a listener: none; a dialer: the system's", "authorities. Listener: hosts have to prove themselves with a certificate that one of these signed; in a listener it counts without `certFile` too, unlike in GOST. Dialer: without `secure` the chain is verified and the name is not");
    }

    top_tls, "the tls of all listeners" {
        shared(tls_files);
        take(VALIDITY: Timespan, "validity", "8760h", "how long a certificate that rtun makes is valid");
        take(COMMON_NAME: OneText, "commonName", "gost.run", "its name");
        take(ORGANIZATION: OneText, "organization", "GOST", "its organization");
        misplaced(OF_DIALER, "secure", "serverName", "fingerprint");
        misplaced(OF_BOTH, "options");
        misplaced(OF_LISTENER, "rejectUnknownSNI", "serverNames", "bindNames");
    }

    listener_tls, "a listener's tls" {
        shared(tls_files);
        take(OPTIONS: In(tls_options), "options", "", "versions, cipher suites, application protocols");
        take(REJECT_UNKNOWN_SNI: Flag, "rejectUnknownSNI", "false", "whether handshakes are refused that ask for no name, or for none of `serverNames`");
        take(SERVER_NAMES: Texts, "serverNames", "none", "the only names that hosts may ask for; no effect without `rejectUnknownSNI`");
        take(BIND_NAMES: Flag, "bindNames", "false", "rtun's own, with a `caFile`: a host may only report a name that is a DNS name of its certificate");
        no_effect("it is for dialers; hosts prove themselves where there is a `caFile`", Flag: "secure");
        no_effect("it is for dialers", OneText: "serverName");
        misplaced(OF_DIALER, "fingerprint");
        misplaced(OF_TOP, "validity", "commonName", "organization");
    }

    dialer_tls, "a dialer's tls" {
        shared(tls_files);
        take(SECURE: Flag, "secure", "false", "whether the certificate's chain and name are verified");
        take(SERVER_NAME: OneText, "serverName", "the address's host", "the name that is asked for and verified");
        take(OPTIONS: In(tls_options), "options", "", "versions, cipher suites, application protocols");
        take(FINGERPRINT: CommaTexts, "fingerprint", "none", "rtun's own: SHA-256 of the certificate, 64 hexadecimal digits with colons or without; a list or comma text if there may be several. Alone it is enough");
        misplaced(OF_LISTENER, "rejectUnknownSNI", "serverNames", "bindNames");
        misplaced(OF_TOP, "validity", "commonName", "organization");
    }

    tls_options, "tls options" {
        take(MIN_VERSION: OneText, "minVersion", "VersionTLS13", "`VersionTLS12` or `VersionTLS13`. GOST's default is 1.2 and 1.3");
        take(MAX_VERSION: OneText, "maxVersion", "VersionTLS13", "the same");
        take(CIPHER_SUITES: Texts, "cipherSuites", "all", "of TLS 1.2, by Go's names: ECDHE with AES-GCM or ChaCha20-Poly1305");
        take(ALPN: Texts, "alpn", "the transport's", "application protocols, each of 1 to 255 bytes");
    }

    client_tls, "a client's tls" {
        take(SECURE: Flag, "secure", "false", "whether the server's certificate is verified");
        take(SERVER_NAME: OneText, "serverName", "that of the address", "the name expected in the certificate");
        not_yet("certFile", "keyFile", "caFile", "options");
    }
}
