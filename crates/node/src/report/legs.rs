//! What is measured of the path to a host, leg by leg.

use std::time::Duration;

use rtun_core::NamespaceId;
use rtun_proto::extension::{EchoOutcome, EchoReply};
use serde::{Deserialize, Serialize};

use crate::json;

/// The longest probe, in bytes.
pub const MAX_PROBE: u16 = rtun_proto::extension::MAX_ECHO;

/// A question about the path to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathQuery {
    /// The host's name.
    pub host: String,
    /// Its namespace, for a hub with several.
    #[serde(default, with = "json::maybe_text")]
    pub namespace: Option<NamespaceId>,
    /// The service that asks; else the only one that can.
    #[serde(default)]
    pub service: Option<String>,
    /// The length of each probe in bytes, as of an IP packet; at most [`MAX_PROBE`].
    pub size: u16,
}

/// The path from a service to a host, measured once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathView {
    /// The service that has asked.
    pub service: String,
    /// The namespace of the host.
    #[serde(with = "json::text")]
    pub namespace: NamespaceId,
    /// From here to the host.
    pub legs: Vec<PathLeg>,
}

/// One leg of a path, measured once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathLeg {
    /// Where it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// What came of the probe.
    #[serde(flatten)]
    pub outcome: LegOutcome,
    /// The longest packet that it takes, in bytes, if that is known.
    pub mtu: Option<u16>,
    /// The longest packet that goes as a datagram, in bytes: longer ones go on the stream. `None`: all do.
    pub datagram: Option<u16>,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LegOutcome {
    /// It came back.
    Answered {
        /// After this time, in seconds.
        #[serde(with = "json::exact_seconds")]
        round_trip: Duration,
    },
    /// No answer came in time.
    Lost,
    /// It was not known what came of it, since the answer was lost on a leg before.
    Unknown,
    /// It was not sent.
    NotMeasured {
        /// Why.
        because: String,
    },
}

impl LegOutcome {
    /// Whether a probe was sent on this leg, or may have been.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Self::NotMeasured { .. })
    }
}

impl PathLeg {
    /// The leg that a hub has measured, by its reply.
    pub(crate) fn of_reply(from: &str, to: &str, reply: &EchoReply) -> Self {
        let EchoReply { outcome, round_trip, mtu, datagram, .. } = *reply;
        let because = match outcome {
            EchoOutcome::Answered => {
                return Self::of(from, to, LegOutcome::Answered { round_trip }, mtu, datagram);
            }
            EchoOutcome::Lost => return Self::of(from, to, LegOutcome::Lost, mtu, datagram),
            EchoOutcome::NotConnected => "no host of that name is connected in this namespace",
            EchoOutcome::Silent => {
                "it runs a program other than rtun, which answers no echoes (ping one of its addresses), or has only just connected"
            }
            EchoOutcome::Busy => "it is asked too often: 50 times a second at most",
            EchoOutcome::Other(_) => "the hub, of a later version, gives a reason unknown here",
        };
        Self::not_measured(from, to, because)
    }

    /// In `mtu` and `datagram` 0 means what `None` means in the leg.
    pub(crate) fn of(from: &str, to: &str, outcome: LegOutcome, mtu: u16, datagram: u16) -> Self {
        let known = |length: u16| (length > 0).then_some(length);
        let (from, to) = (from.to_owned(), to.to_owned());
        Self { from, to, outcome, mtu: known(mtu), datagram: known(datagram) }
    }

    /// A leg of which nothing can be said, and why.
    pub(crate) fn not_measured(from: &str, to: &str, because: &str) -> Self {
        let outcome = LegOutcome::NotMeasured { because: because.to_owned() };
        Self { from: from.to_owned(), to: to.to_owned(), outcome, mtu: None, datagram: None }
    }
}
