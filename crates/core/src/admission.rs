//! Whether a host may join a namespace.

mod refusal;
mod request;

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;

pub use self::{
    refusal::Refusal,
    request::{Admitted, Decision, Identity, JoinRequest, PluginAnswer, Question},
};
use crate::{Credentials, HostName, Ingress, NamespaceId};

/// The rules of admission. A rule that is absent allows everything; a rule that is present allows only what it names.
#[derive(Default)]
pub struct AccessRules {
    /// Who may connect.
    pub users: Option<Users>,
    /// Which host may join which namespace.
    pub ingress: Option<Placement>,
    /// Whether namespaces without a table of their own exist. They do if there is a default router.
    pub any_namespace: bool,
    /// Namespaces with a table of their own.
    pub namespaces: HashSet<NamespaceId>,
}

/// Who may connect: users that one of the lists or a plugin knows.
#[derive(Default)]
pub struct Users {
    /// Each with its own users.
    pub lists: Vec<Credentials>,
    /// Whether a plugin can be asked about a credential that no list knows.
    pub asked: bool,
    /// From where hosts need no credential.
    pub exempt: Vec<IpNet>,
}

/// Which host may join which namespace.
pub enum Placement {
    /// By rules.
    Rules(Ingress),
    /// By a plugin.
    Asked,
}

/// Why a host is not admitted now.
enum NotAdmitted {
    Ask(Question),
    Refuse(Refusal),
}

impl From<Refusal> for NotAdmitted {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl AccessRules {
    /// Decides, in GOST's order: credential, command, name, namespace.
    pub fn decide(&self, request: &JoinRequest<'_>) -> Decision {
        match self.admit(request) {
            Ok(admitted) => Decision::Admit(admitted),
            Err(NotAdmitted::Ask(question)) => Decision::Ask(question),
            Err(NotAdmitted::Refuse(refusal)) => Decision::Refuse(refusal),
        }
    }

    fn admit(&self, request: &JoinRequest<'_>) -> Result<Admitted, NotAdmitted> {
        let (identity, hosts) = match &self.users {
            Some(users) if !users.exempts(request.client) => users.identify(request)?,
            _ => (None, None),
        };
        if !request.associate {
            return Err(Refusal::BadCommand.into());
        }
        let host = HostName::new(request.host).map_err(|_| Refusal::NameInvalid)?;
        if hosts.is_some_and(|hosts| !hosts.contains(&host)) {
            return Err(Refusal::NameNotPermitted.into());
        }
        self.place(&host, request)?;
        Ok(Admitted { host, identity })
    }

    fn place(&self, host: &HostName, request: &JoinRequest<'_>) -> Result<(), NotAdmitted> {
        let allowed = match (&self.ingress, request.placed) {
            (None, _) => Some(request.namespace),
            (Some(Placement::Rules(ingress)), _) => ingress.namespace_of(host),
            (Some(Placement::Asked), PluginAnswer::NotAsked) => {
                // For a host that cannot join anyway the plugin need not be asked.
                self.exists(request.namespace)?;
                return Err(NotAdmitted::Ask(Question::Placement));
            }
            (Some(Placement::Asked), PluginAnswer::Unavailable) => {
                return Err(Refusal::IngressUnavailable.into());
            }
            (Some(Placement::Asked), PluginAnswer::Answered(allowed)) => allowed,
        };
        let allowed = allowed.ok_or(Refusal::IngressNoRule)?;
        if allowed != request.namespace {
            return Err(Refusal::IngressOtherNamespace.into());
        }
        Ok(self.exists(request.namespace)?)
    }

    /// Decides again about an admitted host, when the rules have changed. A plugin's answer holds as long as plugins are
    /// asked at all, because they are asked only when a host connects.
    pub fn still_admits(
        &self,
        identity: Option<&Identity>,
        host: &HostName,
        namespace: NamespaceId,
        client: IpAddr,
    ) -> Result<(), Refusal> {
        if let Some(users) = self.users.as_ref().filter(|users| !users.exempts(client)) {
            users.still_accept(identity.ok_or(Refusal::AuthMissing)?, host)?;
        }
        if let Some(Placement::Rules(ingress)) = &self.ingress {
            let allowed = ingress.namespace_of(host).ok_or(Refusal::IngressNoRule)?;
            if allowed != namespace {
                return Err(Refusal::IngressOtherNamespace);
            }
        }
        self.exists(namespace)
    }

    fn exists(&self, namespace: NamespaceId) -> Result<(), Refusal> {
        if self.any_namespace || self.namespaces.contains(&namespace) {
            Ok(())
        } else {
            Err(Refusal::NamespaceUnknown)
        }
    }
}

/// The user, and the host names it is bound to.
type Identified<'a> = (Option<Identity>, Option<&'a HashSet<HostName>>);

impl Users {
    fn exempts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.exempt.iter().any(|prefix| prefix.contains(&client))
    }

    fn identify(&self, request: &JoinRequest<'_>) -> Result<Identified<'_>, NotAdmitted> {
        let (name, password) = request.credential.ok_or(Refusal::AuthMissing)?;
        // Every list is checked, also after the first match, so that the time tells nothing about the user.
        let proven: Vec<_> = self.lists.iter().map(|list| list.prove(name, password)).collect();
        let user: Box<[u8]> = name.into();
        if let Some(proven) = proven.into_iter().flatten().next() {
            let identity = Identity { user, proof: Some(proven.proof()) };
            return Ok((Some(identity), proven.hosts()));
        }
        match (self.asked, request.accepted) {
            (true, PluginAnswer::NotAsked) => Err(NotAdmitted::Ask(Question::Credential)),
            (true, PluginAnswer::Unavailable) => Err(Refusal::AuthUnavailable.into()),
            (true, PluginAnswer::Answered(true)) => {
                Ok((Some(Identity { user, proof: None }), None))
            }
            (true, PluginAnswer::Answered(false)) | (false, _) => Err(Refusal::AuthFailed.into()),
        }
    }

    fn still_accept(&self, identity: &Identity, host: &HostName) -> Result<(), Refusal> {
        let Some(proof) = &identity.proof else {
            return if self.asked { Ok(()) } else { Err(Refusal::AuthFailed) };
        };
        let mut known = false;
        for proven in self.lists.iter().filter_map(|list| list.still_knows(&identity.user, proof)) {
            known = true;
            if proven.may_report(host) {
                return Ok(());
            }
        }
        Err(if known { Refusal::NameNotPermitted } else { Refusal::AuthFailed })
    }
}

#[cfg(test)]
mod tests;
