//! May this host join this namespace?

use crate::{Credentials, HostName, Ingress, NamespaceId};

/// Everything admission is decided by. A rule that is absent allows; a rule that is present allows only what it
/// names.
#[derive(Default)]
pub struct AccessRules {
    /// Who may connect.
    pub credentials: Option<Credentials>,
    /// Which host may join which namespace.
    pub ingress: Option<Ingress>,
    /// Whether namespaces without a table of their own exist, since a default router answers for them.
    pub any_namespace: bool,
    /// Namespaces with a table of their own.
    pub namespaces: std::collections::HashSet<NamespaceId>,
}

/// What a host asks for when it connects.
#[derive(Debug, Clone, Copy)]
pub struct JoinRequest<'a> {
    /// User and password, if it presents any.
    pub credential: Option<(&'a [u8], &'a [u8])>,
    /// The name it reports, as it came.
    pub host: &'a str,
    /// The namespace it names.
    pub namespace: NamespaceId,
    /// Whether it asks for an association, the only command of a routing tunnel.
    pub associate: bool,
}

/// Why a host may not join. The wire tells it less than the counter tells the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Users are required and none was presented.
    #[error("no user name presented")]
    AuthMissing,
    /// Unknown user or wrong password.
    #[error("unknown user or wrong password")]
    AuthFailed,
    /// Not an association.
    #[error("a command other than associate")]
    BadCommand,
    /// Empty or unprintable host name.
    #[error("the host name is empty or not printable")]
    NameInvalid,
    /// The user is bound to other host names.
    #[error("this user may not report that host name")]
    NameNotPermitted,
    /// Another user's host of that name is connected.
    #[error("a host of that name is connected as another user")]
    NameInUse,
    /// The namespace has neither a table nor a default router.
    #[error("the namespace has neither a table nor a default router")]
    NamespaceUnknown,
    /// No ingress rule names the host.
    #[error("no ingress rule for that host name")]
    IngressNoRule,
    /// The ingress rule names another namespace.
    #[error("the ingress rule for that host name allows another namespace")]
    IngressOtherNamespace,
}

impl Refusal {
    /// The fixed word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthMissing => "auth_missing",
            Self::AuthFailed => "auth_failed",
            Self::BadCommand => "bad_command",
            Self::NameInvalid => "name_invalid",
            Self::NameNotPermitted => "name_not_permitted",
            Self::NameInUse => "name_in_use",
            Self::NamespaceUnknown => "namespace_unknown",
            Self::IngressNoRule => "ingress_no_rule",
            Self::IngressOtherNamespace => "ingress_other_namespace",
        }
    }
}

impl AccessRules {
    /// Decides, in GOST's order: credential, command, name, namespace (spec: wire.md section 4).
    pub fn admit(&self, request: &JoinRequest<'_>) -> Result<HostName, Refusal> {
        let proven = match (&self.credentials, request.credential) {
            (None, _) => None,
            (Some(users), Some((name, password))) => {
                Some(users.prove(name, password).ok_or(Refusal::AuthFailed)?)
            }
            (Some(_), None) => return Err(Refusal::AuthMissing),
        };
        if !request.associate {
            return Err(Refusal::BadCommand);
        }
        let host = HostName::new(request.host).map_err(|_| Refusal::NameInvalid)?;
        if proven.is_some_and(|user| !user.may_report(&host)) {
            return Err(Refusal::NameNotPermitted);
        }
        self.may_stand_in(&host, request.namespace)?;
        Ok(host)
    }

    /// Decides again for a host admitted before, when the rules have changed. Passwords are not kept, so a changed
    /// password alone revokes nothing.
    pub fn still_admits(
        &self,
        user: Option<&[u8]>,
        host: &HostName,
        namespace: NamespaceId,
    ) -> Result<(), Refusal> {
        if let Some(users) = &self.credentials {
            let known = users.still_known(user.ok_or(Refusal::AuthMissing)?);
            if !known.ok_or(Refusal::AuthFailed)?.may_report(host) {
                return Err(Refusal::NameNotPermitted);
            }
        }
        self.may_stand_in(host, namespace)
    }

    fn may_stand_in(&self, host: &HostName, namespace: NamespaceId) -> Result<(), Refusal> {
        if let Some(ingress) = &self.ingress {
            let allowed = ingress.namespace_of(host).ok_or(Refusal::IngressNoRule)?;
            if allowed != namespace {
                return Err(Refusal::IngressOtherNamespace);
            }
        }
        if self.any_namespace || self.namespaces.contains(&namespace) {
            Ok(())
        } else {
            Err(Refusal::NamespaceUnknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS1: NamespaceId = NamespaceId::from_bytes([1; 16]);
    const NS2: NamespaceId = NamespaceId::from_bytes([2; 16]);
    const ZERO: NamespaceId = NamespaceId::DEFAULT;

    fn request<'a>(host: &'a str, namespace: NamespaceId) -> JoinRequest<'a> {
        JoinRequest { credential: None, host, namespace, associate: true }
    }

    fn open() -> AccessRules {
        AccessRules { any_namespace: true, ..AccessRules::default() }
    }

    /// Every combination of name, namespace, ingress and credential against the written table of who may join.
    #[test]
    fn truth_table() {
        let ingress = || Some(Ingress::new([("host-1", NS1), ("*.red", NS2), ("zero", ZERO)]));
        let credentials = || {
            let mut users = Credentials::new();
            users.insert("alice", "a", None);
            users.insert("bob", "b", Some(vec![HostName::new("host-2").unwrap()]));
            Some(users)
        };
        let known = || [NS1, ZERO].into_iter().collect();
        let names = ["", "host-1", "host-2", "a.red", "zero", "HOST-1", "bad name", "x\u{1b}"];
        let ids = [ZERO, NS1, NS2, NamespaceId::from_bytes([9; 16])];
        let presented: [Option<(&[u8], &[u8])>; 4] =
            [None, Some((b"alice", b"a")), Some((b"alice", b"x")), Some((b"bob", b"b"))];
        for with_ingress in [false, true] {
            for with_auth in [false, true] {
                for any_namespace in [false, true] {
                    let rules = AccessRules {
                        credentials: if with_auth { credentials() } else { None },
                        ingress: if with_ingress { ingress() } else { None },
                        any_namespace,
                        namespaces: known(),
                    };
                    for host in names {
                        for namespace in ids {
                            for credential in presented {
                                for associate in [true, false] {
                                    let request =
                                        JoinRequest { credential, host, namespace, associate };
                                    let user =
                                        credential.map(|(user, password)| (user, password == b"x"));
                                    let auth_refusal = match user {
                                        _ if !with_auth => None,
                                        None => Some(Refusal::AuthMissing),
                                        Some((_, true)) => Some(Refusal::AuthFailed),
                                        Some(_) => None,
                                    };
                                    let listed = match host {
                                        "host-1" => Some(NS1),
                                        "a.red" => Some(NS2),
                                        "zero" => Some(ZERO),
                                        _ => None,
                                    };
                                    let bob = with_auth && credential == Some((b"bob", b"b"));
                                    let expected = if let Some(refusal) = auth_refusal {
                                        Err(refusal)
                                    } else if !associate {
                                        Err(Refusal::BadCommand)
                                    } else if ["", "bad name", "x\u{1b}"].contains(&host) {
                                        Err(Refusal::NameInvalid)
                                    } else if bob && host != "host-2" {
                                        Err(Refusal::NameNotPermitted)
                                    } else if with_ingress && listed.is_none() {
                                        Err(Refusal::IngressNoRule)
                                    } else if with_ingress && listed != Some(namespace) {
                                        Err(Refusal::IngressOtherNamespace)
                                    } else if !any_namespace && ![NS1, ZERO].contains(&namespace) {
                                        Err(Refusal::NamespaceUnknown)
                                    } else {
                                        Ok(host.to_owned())
                                    };
                                    let got = rules.admit(&request).map(|h| h.as_str().to_owned());
                                    assert_eq!(got, expected, "{request:?}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_change_of_rules_revokes_what_it_no_longer_allows() {
        let host = open().admit(&request("host-1", NS1)).unwrap();
        assert_eq!(open().still_admits(None, &host, NS1), Ok(()));

        let moved = AccessRules { ingress: Some(Ingress::new([("host-1", NS2)])), ..open() };
        assert_eq!(moved.still_admits(None, &host, NS1), Err(Refusal::IngressOtherNamespace));

        let mut users = Credentials::new();
        users.insert("alice", "a", None);
        let closed = AccessRules { credentials: Some(users), ..open() };
        assert_eq!(closed.still_admits(None, &host, NS1), Err(Refusal::AuthMissing));
        assert_eq!(closed.still_admits(Some(b"bob"), &host, NS1), Err(Refusal::AuthFailed));
        assert_eq!(closed.still_admits(Some(b"alice"), &host, NS1), Ok(()));

        let gone = AccessRules::default();
        assert_eq!(gone.still_admits(None, &host, NS1), Err(Refusal::NamespaceUnknown));
    }
}
