//! The state of a plugin, for people and programs.

use serde::{Deserialize, Serialize};

/// The state of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// What it replaces.
    pub kind: PluginKind,
    /// The name of the router, ingress, auther, admission, limiter, hop, observer or recorder.
    pub name: String,
    /// Where it is asked, without secrets.
    pub address: String,
    /// Questions sent to it.
    pub asked: u64,
    /// Questions that it answered; a refusal is an answer.
    pub answered: u64,
    /// Questions without an answer; those under way are neither.
    pub failed: u64,
    /// Packets, callers, events or records that wait for an answer now.
    pub waiting: usize,
    /// Answers cached, outdated ones included.
    pub cached: usize,
    /// Whether it failed too often and is not asked for a while.
    pub paused: bool,
    /// Seconds since it last answered; `None`: it never did.
    pub last_success: Option<u64>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
}

/// What went wrong last with a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// In words.
    pub text: String,
    /// Seconds since.
    pub age: u64,
}

/// What a plugin replaces, by GOST's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// A routing table.
    Router,
    /// Rules of which host may join which namespace.
    Ingress,
    /// A list of users.
    Auther,
    /// A list of addresses.
    Admission,
    /// Rates of traffic.
    Limiter,
    /// The nodes of a hop.
    Hop,
    /// Nothing: it is informed.
    Observer,
    /// Nothing: it is given records. It may be a file or server, too.
    Recorder,
}

impl PluginKind {
    /// The fixed word used in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Ingress => "ingress",
            Self::Auther => "auther",
            Self::Admission => "admission",
            Self::Limiter => "limiter",
            Self::Hop => "hop",
            Self::Observer => "observer",
            Self::Recorder => "recorder",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let status = PluginStatus {
            kind: PluginKind::Auther,
            name: "users".into(),
            address: "http://plugin/".into(),
            asked: 3,
            answered: 1,
            failed: 1,
            waiting: 2,
            cached: 0,
            paused: false,
            last_success: None,
            last_error: Some(LastError { text: "no answer in time".into(), age: 7 }),
        };
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.starts_with(r#"{"kind":"auther","name":"users","#), "{text}");
        assert_eq!(serde_json::from_str::<PluginStatus>(&text).unwrap(), status);
    }
}
