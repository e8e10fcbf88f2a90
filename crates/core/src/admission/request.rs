//! What a host asks for, what plugins answered, and the decision.

use std::net::IpAddr;

use super::Refusal;
use crate::{HostName, NamespaceId, Proof};

/// What a host asks for when it connects.
#[derive(Debug, Clone, Copy)]
pub struct JoinRequest<'a> {
    /// Where it comes from, as far as that can be trusted.
    pub client: IpAddr,
    /// User and password, if it presents any.
    pub credential: Option<(&'a [u8], &'a [u8])>,
    /// The name it reports, unchanged.
    pub host: &'a str,
    /// The namespace it names.
    pub namespace: NamespaceId,
    /// Whether its command is to associate, the only command of a routing tunnel.
    pub associate: bool,
    /// Whether the plugin accepts the credential.
    pub accepted: PluginAnswer<bool>,
    /// The namespace that the plugin places the host in, if any.
    pub placed: PluginAnswer<Option<NamespaceId>>,
}

/// What is known of a plugin's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginAnswer<T> {
    /// It was not asked yet.
    NotAsked,
    /// It was asked and did not answer.
    Unavailable,
    /// It answered this.
    Answered(T),
}

/// What to do with a host that wants to join.
#[derive(Debug)]
pub enum Decision {
    /// Let it in.
    Admit(Admitted),
    /// Ask a plugin, then decide again.
    Ask(Question),
    /// Refuse it.
    Refuse(Refusal),
}

/// What to ask a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Is the credential good? Sets [`JoinRequest::accepted`].
    Credential,
    /// Which namespace may the host join? Sets [`JoinRequest::placed`].
    Placement,
}

/// A host that may join.
#[derive(Debug)]
pub struct Admitted {
    /// Its name.
    pub host: HostName,
    /// Its user, if users are required.
    pub identity: Option<Identity>,
}

/// Who a host has proven to be.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user.
    pub user: Box<[u8]>,
    /// The password it presented; `None`: a plugin accepted it.
    pub proof: Option<Proof>,
}
