//! What a relay decides by, compiled from its configuration.

use std::net::{IpAddr, SocketAddr};

use rtun_core::{
    AddressList, Credentials, Proof,
    udp_tunnel::{RelayRefusal, RelayTargets},
};
use rtun_proto::{
    frame_content::FrameContent,
    relay::{AddrFeature, Request},
};
use rtun_settings::{Named, RelayRules, User};

use super::super::access::{admissions, admits};

/// What a relay decides by.
pub(super) struct CompiledRelay {
    pub(super) targets: RelayTargets,
    pub(super) takes_ethernet: bool,
    authers: Option<Vec<Credentials>>,
    admissions: Vec<AddressList>,
}

/// What a client was admitted by.
pub(super) struct RelayIdentity {
    pub(super) peer: SocketAddr,
    /// What it sends.
    pub(super) content: FrameContent,
    /// The target that it asked for.
    pub(super) asked: AddrFeature,
    /// The server that its datagrams go to.
    pub(super) target: SocketAddr,
    pub(super) user: Option<ProvenUser>,
}

/// A user that has shown its password.
pub(super) struct ProvenUser {
    name: Vec<u8>,
    proof: Proof,
}

impl CompiledRelay {
    pub(super) fn new(rules: &RelayRules) -> Self {
        let credentials = |auther: &Named<User>| {
            let mut credentials = Credentials::new();
            for user in auther.inline() {
                credentials.insert(&user.name, user.password.expose(), None);
            }
            credentials
        };
        Self {
            targets: rules.targets.clone(),
            takes_ethernet: rules.takes_ethernet,
            authers: rules.authers.as_ref().map(|them| them.iter().map(credentials).collect()),
            admissions: admissions(&rules.admissions),
        }
    }

    /// Whether anybody may connect from there.
    pub(super) fn admits_address(&self, address: IpAddr) -> bool {
        admits(&self.admissions, address)
    }

    /// The user that a request shows; none where there are no users.
    pub(super) fn user(&self, request: &Request) -> Result<Option<ProvenUser>, RelayRefusal> {
        let Some(authers) = &self.authers else { return Ok(None) };
        let (name, password) = request.user().ok_or(RelayRefusal::Unauthorized)?;
        let mut proofs = authers.iter().filter_map(|auther| auther.prove(name, password));
        let proven = proofs.next().ok_or(RelayRefusal::Unauthorized)?;
        Ok(Some(ProvenUser { name: name.to_vec(), proof: proven.proof() }))
    }

    /// Whether a client that was admitted would be admitted now.
    pub(super) fn still_admits(&self, client: &RelayIdentity) -> bool {
        let is_known = match (&self.authers, &client.user) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(authers), Some(ProvenUser { name, proof })) => {
                authers.iter().any(|auther| auther.still_knows(name, proof).is_some())
            }
        };
        is_known
            && self.admits_address(client.peer.ip())
            && (self.takes_ethernet || client.content != FrameContent::Ethernet)
            && self.targets.find(&client.asked, client.content) == Some(client.target)
    }
}
