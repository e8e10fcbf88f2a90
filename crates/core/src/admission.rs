//! May this host join this namespace?

use std::collections::HashSet;

use crate::{Credentials, HostName, Ingress, NamespaceId, Proof};

/// Everything admission is decided by. A rule that is absent allows; a rule that is present allows only what it
/// names.
#[derive(Default)]
pub struct AccessRules {
    /// Who may connect.
    pub users: Option<Users>,
    /// Which host may join which namespace.
    pub ingress: Option<Placement>,
    /// Whether namespaces without a table of their own exist, since a default router answers for them.
    pub any_namespace: bool,
    /// Namespaces with a table of their own.
    pub namespaces: HashSet<NamespaceId>,
}

/// Who may connect: whomever one of the lists knows, or a plugin.
#[derive(Default)]
pub struct Users {
    /// Each with its own users.
    pub lists: Vec<Credentials>,
    /// Whether somebody can be asked about a credential that no list knows.
    pub asked: bool,
}

/// Which host may join which namespace.
pub enum Placement {
    /// By rules.
    Rules(Ingress),
    /// Somebody is asked.
    Asked,
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
    /// Whether those who were asked accept the credential.
    pub accepted: Word<bool>,
    /// The namespace that those who were asked place the host in, if any.
    pub placed: Word<Option<NamespaceId>>,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<T> {
    /// Nobody was asked yet.
    Unasked,
    /// There was no answer.
    Unavailable,
    /// This is the answer.
    Said(T),
}

/// What to do with a host that wants to join.
#[derive(Debug)]
pub enum Decision {
    /// Let it in.
    Admit(Admitted),
    /// Ask, and decide again.
    Ask(Question),
    /// Send it away.
    Refuse(Refusal),
}

/// What is to be asked of a plugin.
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
    /// As whom, if users are required.
    pub identity: Option<Identity>,
}

/// Who a host has proven to be.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user.
    pub user: Box<[u8]>,
    /// What it has shown to know; `None`: somebody who was asked accepts it.
    pub proof: Option<Proof>,
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
    /// The plugin that knows the users gives no answer.
    #[error("the auth plugin does not answer")]
    AuthUnavailable,
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
    /// The ingress plugin gives no answer.
    #[error("the ingress plugin does not answer")]
    IngressUnavailable,
    /// As many hosts are connected as may be.
    #[error("as many hosts are connected as the quota allows (maxHosts)")]
    LimitTotal,
    /// As many hosts are connected as this user as may be.
    #[error("as many hosts are connected as this user as the quota allows (maxHostsPerUser)")]
    LimitCredential,
    /// There are as many namespaces as may be.
    #[error("there are as many namespaces as the quota allows (maxNamespaces)")]
    LimitNamespaces,
}

impl Refusal {
    /// The fixed word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthMissing => "auth_missing",
            Self::AuthFailed => "auth_failed",
            Self::AuthUnavailable => "auth_unavailable",
            Self::BadCommand => "bad_command",
            Self::NameInvalid => "name_invalid",
            Self::NameNotPermitted => "name_not_permitted",
            Self::NameInUse => "name_in_use",
            Self::NamespaceUnknown => "namespace_unknown",
            Self::IngressNoRule => "ingress_no_rule",
            Self::IngressOtherNamespace => "ingress_other_namespace",
            Self::IngressUnavailable => "ingress_unavailable",
            Self::LimitTotal => "limit_total",
            Self::LimitCredential => "limit_credential",
            Self::LimitNamespaces => "limit_namespaces",
        }
    }
}

/// Why it is not decided to let a host in.
enum Not {
    Yet(Question),
    Ever(Refusal),
}

impl From<Refusal> for Not {
    fn from(refusal: Refusal) -> Self {
        Self::Ever(refusal)
    }
}

impl AccessRules {
    /// Decides, in GOST's order: credential, command, name, namespace (spec: wire.md section 4).
    pub fn decide(&self, request: &JoinRequest<'_>) -> Decision {
        match self.admit(request) {
            Ok(admitted) => Decision::Admit(admitted),
            Err(Not::Yet(question)) => Decision::Ask(question),
            Err(Not::Ever(refusal)) => Decision::Refuse(refusal),
        }
    }

    fn admit(&self, request: &JoinRequest<'_>) -> Result<Admitted, Not> {
        let (identity, hosts) = match &self.users {
            Some(users) => users.identify(request)?,
            None => (None, None),
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

    fn place(&self, host: &HostName, request: &JoinRequest<'_>) -> Result<(), Not> {
        let allowed = match (&self.ingress, request.placed) {
            (None, _) => Some(request.namespace),
            (Some(Placement::Rules(ingress)), _) => ingress.namespace_of(host),
            (Some(Placement::Asked), Word::Unasked) => {
                // Whoever cannot join anyway is no reason to ask.
                self.exists(request.namespace)?;
                return Err(Not::Yet(Question::Placement));
            }
            (Some(Placement::Asked), Word::Unavailable) => {
                return Err(Refusal::IngressUnavailable.into());
            }
            (Some(Placement::Asked), Word::Said(allowed)) => allowed,
        };
        let allowed = allowed.ok_or(Refusal::IngressNoRule)?;
        if allowed != request.namespace {
            return Err(Refusal::IngressOtherNamespace.into());
        }
        Ok(self.exists(request.namespace)?)
    }

    /// Decides again for a host admitted before, when the rules have changed. What plugins have said holds for as
    /// long as plugins are asked: that can be done only when a host connects.
    pub fn still_admits(
        &self,
        identity: Option<&Identity>,
        host: &HostName,
        namespace: NamespaceId,
    ) -> Result<(), Refusal> {
        if let Some(users) = &self.users {
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

/// Who it is, and the host names it is bound to.
type Identified<'a> = (Option<Identity>, Option<&'a HashSet<HostName>>);

impl Users {
    fn identify(&self, request: &JoinRequest<'_>) -> Result<Identified<'_>, Not> {
        let (name, password) = request.credential.ok_or(Refusal::AuthMissing)?;
        // Every list is looked at, whatever the first has said: the same work for everybody.
        let proven: Vec<_> = self.lists.iter().map(|list| list.prove(name, password)).collect();
        let user: Box<[u8]> = name.into();
        if let Some(proven) = proven.into_iter().flatten().next() {
            let identity = Identity { user, proof: Some(proven.proof()) };
            return Ok((Some(identity), proven.hosts()));
        }
        match (self.asked, request.accepted) {
            (true, Word::Unasked) => Err(Not::Yet(Question::Credential)),
            (true, Word::Unavailable) => Err(Refusal::AuthUnavailable.into()),
            (true, Word::Said(true)) => Ok((Some(Identity { user, proof: None }), None)),
            (true, Word::Said(false)) | (false, _) => Err(Refusal::AuthFailed.into()),
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
mod tests {
    use super::*;

    const NS1: NamespaceId = NamespaceId::from_bytes([1; 16]);
    const NS2: NamespaceId = NamespaceId::from_bytes([2; 16]);
    const ZERO: NamespaceId = NamespaceId::DEFAULT;

    fn request(host: &str, namespace: NamespaceId) -> JoinRequest<'_> {
        JoinRequest {
            credential: None,
            host,
            namespace,
            associate: true,
            accepted: Word::Unasked,
            placed: Word::Unasked,
        }
    }

    fn only(list: Credentials) -> Option<Users> {
        Some(Users { lists: vec![list], asked: false })
    }

    fn decided(rules: &AccessRules, request: &JoinRequest<'_>) -> Result<String, Refusal> {
        match rules.decide(request) {
            Decision::Admit(admitted) => Ok(admitted.host.as_str().to_owned()),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Ask(question) => panic!("nobody to ask {question:?}"),
        }
    }

    fn open() -> AccessRules {
        AccessRules { any_namespace: true, ..AccessRules::default() }
    }

    /// Every combination of name, namespace, ingress and credential against the written table of who may join.
    #[test]
    fn truth_table() {
        let ingress = || {
            Some(Placement::Rules(Ingress::new([("host-1", NS1), ("*.red", NS2), ("zero", ZERO)])))
        };
        let credentials = || {
            let mut users = Credentials::new();
            users.insert("alice", "a", None);
            users.insert("bob", "b", Some(vec![HostName::new("host-2").unwrap()]));
            only(users)
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
                        users: if with_auth { credentials() } else { None },
                        ingress: if with_ingress { ingress() } else { None },
                        any_namespace,
                        namespaces: known(),
                    };
                    for host in names {
                        for namespace in ids {
                            for credential in presented {
                                for associate in [true, false] {
                                    let request = JoinRequest {
                                        credential,
                                        associate,
                                        ..request(host, namespace)
                                    };
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
                                    assert_eq!(decided(&rules, &request), expected, "{request:?}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn alice(password: &str) -> Credentials {
        let mut users = Credentials::new();
        users.insert("alice", password, None);
        users
    }

    #[test]
    fn a_change_of_rules_revokes_what_it_no_longer_allows() {
        let host = HostName::new("host-1").unwrap();
        assert_eq!(open().still_admits(None, &host, NS1), Ok(()));

        let rules = Placement::Rules(Ingress::new([("host-1", NS2)]));
        let moved = AccessRules { ingress: Some(rules), ..open() };
        assert_eq!(moved.still_admits(None, &host, NS1), Err(Refusal::IngressOtherNamespace));

        let closed = AccessRules { users: only(alice("a")), ..open() };
        assert_eq!(closed.still_admits(None, &host, NS1), Err(Refusal::AuthMissing));
        let request = JoinRequest { credential: Some((b"alice", b"a")), ..request("host-1", NS1) };
        let Decision::Admit(Admitted { identity: Some(identity), .. }) = closed.decide(&request)
        else {
            panic!("the right password")
        };
        assert_eq!(closed.still_admits(Some(&identity), &host, NS1), Ok(()));
        let changed = AccessRules { users: only(alice("b")), ..open() };
        assert_eq!(
            changed.still_admits(Some(&identity), &host, NS1),
            Err(Refusal::AuthFailed),
            "another password"
        );
        let mut bound = Credentials::new();
        bound.insert("alice", "a", Some(vec![HostName::new("host-2").unwrap()]));
        let bound = AccessRules { users: only(bound), ..open() };
        let refusal = bound.still_admits(Some(&identity), &host, NS1);
        assert_eq!(refusal, Err(Refusal::NameNotPermitted));

        let gone = AccessRules::default();
        assert_eq!(gone.still_admits(None, &host, NS1), Err(Refusal::NamespaceUnknown));
    }

    #[test]
    fn any_of_several_lists_accepts() {
        let lists = vec![alice("a"), alice("b")];
        let rules = AccessRules { users: Some(Users { lists, asked: false }), ..open() };
        for (password, accepted) in [(&b"a"[..], true), (b"b", true), (b"c", false)] {
            let request =
                JoinRequest { credential: Some((b"alice", password)), ..request("h", NS1) };
            assert_eq!(decided(&rules, &request).is_ok(), accepted);
        }
    }

    #[test]
    fn plugins_are_asked_only_when_nothing_else_decides() {
        let users = Users { lists: vec![alice("a")], asked: true };
        let namespaces = [NS1].into();
        let ingress = Some(Placement::Asked);
        let rules = AccessRules { users: Some(users), ingress, any_namespace: false, namespaces };
        let outcome = |request: &JoinRequest<'_>| match rules.decide(request) {
            Decision::Admit(admitted) => {
                format!("{} {}", admitted.host, admitted.identity.is_some())
            }
            Decision::Ask(question) => format!("{question:?}"),
            Decision::Refuse(refusal) => refusal.as_str().to_owned(),
        };
        let nobody = request("h", NS1);
        let known = JoinRequest { credential: Some((b"alice", b"a")), ..nobody };
        let unknown = JoinRequest { credential: Some((b"bob", b"b")), ..nobody };
        let vouched = JoinRequest { accepted: Word::Said(true), ..unknown };
        for (request, expected) in [
            (nobody, "auth_missing"),
            (known, "Placement"),
            (JoinRequest { host: "", ..known }, "name_invalid"),
            (JoinRequest { namespace: NS2, ..known }, "namespace_unknown"),
            (JoinRequest { placed: Word::Said(Some(NS1)), ..known }, "h true"),
            (JoinRequest { placed: Word::Said(Some(NS2)), ..known }, "ingress_other_namespace"),
            (JoinRequest { placed: Word::Said(None), ..known }, "ingress_no_rule"),
            (JoinRequest { placed: Word::Unavailable, ..known }, "ingress_unavailable"),
            (unknown, "Credential"),
            (JoinRequest { accepted: Word::Unavailable, ..unknown }, "auth_unavailable"),
            (JoinRequest { accepted: Word::Said(false), ..unknown }, "auth_failed"),
            (vouched, "Placement"),
            (JoinRequest { placed: Word::Said(Some(NS1)), ..vouched }, "h true"),
        ] {
            assert_eq!(outcome(&request), expected, "{request:?}");
        }
    }

    #[test]
    fn the_word_of_a_plugin_holds_while_plugins_are_asked() {
        let host = HostName::new("h").unwrap();
        let identity = Identity { user: (*b"bob").into(), proof: None };
        for (asked, expected) in [(true, Ok(())), (false, Err(Refusal::AuthFailed))] {
            let rules =
                AccessRules { users: Some(Users { lists: vec![alice("a")], asked }), ..open() };
            assert_eq!(rules.still_admits(Some(&identity), &host, NS1), expected);
        }
    }
}
