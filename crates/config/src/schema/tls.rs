//! The keys of `tls`: of the whole configuration, a listener, a dialer (spec: transports.md section 2).

use super::{
    Object,
    Shape::{Bool, Duration, Object as Is, Text, Texts},
    keys::{misplaced, no_effect, yes},
};

pub(super) static TOP_TLS: Object = Object {
    what: "the tls of all listeners",
    keys: &[
        yes(&["certFile"], Text),
        yes(&["keyFile"], Text),
        yes(&["caFile"], Text),
        yes(&["validity"], Duration),
        yes(&["commonName"], Text),
        yes(&["organization"], Text),
        misplaced(&["secure"], "it belongs to the `tls` of a dialer"),
        misplaced(&["serverName"], "it belongs to the `tls` of a dialer"),
        misplaced(&["fingerprint"], "it belongs to the `tls` of a dialer"),
        misplaced(&["options"], "it belongs to the `tls` of a listener or dialer"),
        misplaced(&["rejectUnknownSNI"], "it belongs to the `tls` of a listener"),
        misplaced(&["serverNames"], "it belongs to the `tls` of a listener"),
        misplaced(&["bindNames"], "it belongs to the `tls` of a listener"),
    ],
};

const OWN: &str =
    "it belongs to the top-level `tls`: a certificate that is made is there for all listeners";

pub(super) static LISTENER_TLS: Object = Object {
    what: "a listener's tls",
    keys: &[
        yes(&["certFile"], Text),
        yes(&["keyFile"], Text),
        yes(&["caFile"], Text),
        yes(&["options"], Is(&OPTIONS)),
        yes(&["rejectUnknownSNI"], Bool),
        yes(&["serverNames"], Texts),
        yes(&["bindNames"], Bool),
        no_effect(
            &["secure"],
            Bool,
            "it is for dialers; hosts prove themselves where there is a `caFile`",
        ),
        no_effect(&["serverName"], Text, "it is for dialers"),
        misplaced(&["fingerprint"], "it belongs to the `tls` of a dialer"),
        misplaced(&["validity"], OWN),
        misplaced(&["commonName"], OWN),
        misplaced(&["organization"], OWN),
    ],
};

pub(super) static DIALER_TLS: Object = Object {
    what: "a dialer's tls",
    keys: &[
        yes(&["certFile"], Text),
        yes(&["keyFile"], Text),
        yes(&["caFile"], Text),
        yes(&["secure"], Bool),
        yes(&["serverName"], Text),
        yes(&["options"], Is(&OPTIONS)),
        yes(&["fingerprint"], Texts),
        misplaced(&["rejectUnknownSNI"], "it belongs to the `tls` of a listener"),
        misplaced(&["serverNames"], "it belongs to the `tls` of a listener"),
        misplaced(&["bindNames"], "it belongs to the `tls` of a listener"),
        misplaced(&["validity"], OWN),
        misplaced(&["commonName"], OWN),
        misplaced(&["organization"], OWN),
    ],
};

static OPTIONS: Object = Object {
    what: "tls options",
    keys: &[
        yes(&["minVersion"], Text),
        yes(&["maxVersion"], Text),
        yes(&["cipherSuites"], Texts),
        yes(&["alpn"], Texts),
    ],
};
