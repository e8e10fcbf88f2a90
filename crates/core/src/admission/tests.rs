use super::*;

const NS1: NamespaceId = NamespaceId::from_bytes([1; 16]);
const NS2: NamespaceId = NamespaceId::from_bytes([2; 16]);
const ZERO: NamespaceId = NamespaceId::DEFAULT;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn request(host: &str, namespace: NamespaceId) -> JoinRequest<'_> {
    JoinRequest {
        client: CLIENT,
        credential: None,
        host,
        namespace,
        associate: true,
        accepted: PluginAnswer::NotAsked,
        placed: PluginAnswer::NotAsked,
    }
}

fn only(list: Credentials) -> Option<Users> {
    Some(Users { lists: vec![list], asked: false, exempt: Vec::new() })
}

fn decided(rules: &AccessRules, request: &JoinRequest<'_>) -> Result<String, Refusal> {
    match rules.decide(request) {
        Decision::Admit(admitted) => Ok(admitted.host.as_str().to_owned()),
        Decision::Refuse(refusal) => Err(refusal),
        Decision::Ask(question) => panic!("no plugin answers {question:?}"),
    }
}

fn open() -> AccessRules {
    AccessRules { any_namespace: true, ..AccessRules::default() }
}

/// Every combination of name, namespace, ingress and credential against the written table of who may join.
#[test]
fn truth_table() {
    let ingress =
        || Some(Placement::Rules(Ingress::new([("host-1", NS1), ("*.red", NS2), ("zero", ZERO)])));
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
    assert_eq!(open().still_admits(None, &host, NS1, CLIENT), Ok(()));

    let rules = Placement::Rules(Ingress::new([("host-1", NS2)]));
    let moved = AccessRules { ingress: Some(rules), ..open() };
    assert_eq!(moved.still_admits(None, &host, NS1, CLIENT), Err(Refusal::IngressOtherNamespace));

    let closed = AccessRules { users: only(alice("a")), ..open() };
    assert_eq!(closed.still_admits(None, &host, NS1, CLIENT), Err(Refusal::AuthMissing));
    let request = JoinRequest { credential: Some((b"alice", b"a")), ..request("host-1", NS1) };
    let Decision::Admit(Admitted { identity: Some(identity), .. }) = closed.decide(&request) else {
        panic!("the right password")
    };
    assert_eq!(closed.still_admits(Some(&identity), &host, NS1, CLIENT), Ok(()));
    let changed = AccessRules { users: only(alice("b")), ..open() };
    assert_eq!(
        changed.still_admits(Some(&identity), &host, NS1, CLIENT),
        Err(Refusal::AuthFailed),
        "another password"
    );
    let mut bound = Credentials::new();
    bound.insert("alice", "a", Some(vec![HostName::new("host-2").unwrap()]));
    let bound = AccessRules { users: only(bound), ..open() };
    let refusal = bound.still_admits(Some(&identity), &host, NS1, CLIENT);
    assert_eq!(refusal, Err(Refusal::NameNotPermitted));

    let gone = AccessRules::default();
    assert_eq!(gone.still_admits(None, &host, NS1, CLIENT), Err(Refusal::NamespaceUnknown));
}

#[test]
fn any_of_several_lists_accepts() {
    let lists = vec![alice("a"), alice("b")];
    let rules =
        AccessRules { users: Some(Users { lists, asked: false, exempt: Vec::new() }), ..open() };
    for (password, accepted) in [(&b"a"[..], true), (b"b", true), (b"c", false)] {
        let request = JoinRequest { credential: Some((b"alice", password)), ..request("h", NS1) };
        assert_eq!(decided(&rules, &request).is_ok(), accepted);
    }
}

/// Hosts from exempt addresses need no credential and may have a wrong one; everything else is decided as for others.
#[test]
fn some_addresses_need_no_credential() {
    let exempt = vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let users = Users { lists: vec![alice("a")], asked: true, exempt };
    let ingress = Some(Placement::Rules(Ingress::new([("host-1", NS1)])));
    let rules = AccessRules { users: Some(users), ingress, ..open() };
    let from = |client: &str| JoinRequest {
        client: client.parse().unwrap(),
        accepted: PluginAnswer::Answered(false),
        ..request("host-1", NS1)
    };
    for client in ["198.51.100.7", "::ffff:198.51.100.7", "2001:db8::1"] {
        let nobody = from(client);
        assert_eq!(decided(&rules, &nobody), Ok("host-1".to_owned()), "{client}");
        let wrong = JoinRequest { credential: Some((b"alice", b"x")), ..nobody };
        assert_eq!(decided(&rules, &wrong), Ok("host-1".to_owned()), "{client}");
        let elsewhere = JoinRequest { namespace: NS2, ..nobody };
        assert_eq!(decided(&rules, &elsewhere), Err(Refusal::IngressOtherNamespace), "{client}");
    }
    for client in ["198.51.101.7", "2001:db9::1"] {
        assert_eq!(decided(&rules, &from(client)), Err(Refusal::AuthMissing), "{client}");
    }
    let host = HostName::new("host-1").unwrap();
    let still = |client: &str| rules.still_admits(None, &host, NS1, client.parse().unwrap());
    assert_eq!(still("198.51.100.7"), Ok(()));
    assert_eq!(still("192.0.2.1"), Err(Refusal::AuthMissing));
}

#[test]
fn plugins_are_asked_only_when_nothing_else_decides() {
    let users = Users { lists: vec![alice("a")], asked: true, exempt: Vec::new() };
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
    let vouched = JoinRequest { accepted: PluginAnswer::Answered(true), ..unknown };
    for (request, expected) in [
        (nobody, "auth_missing"),
        (known, "Placement"),
        (JoinRequest { host: "", ..known }, "name_invalid"),
        (JoinRequest { namespace: NS2, ..known }, "namespace_unknown"),
        (JoinRequest { placed: PluginAnswer::Answered(Some(NS1)), ..known }, "h true"),
        (
            JoinRequest { placed: PluginAnswer::Answered(Some(NS2)), ..known },
            "ingress_other_namespace",
        ),
        (JoinRequest { placed: PluginAnswer::Answered(None), ..known }, "ingress_no_rule"),
        (JoinRequest { placed: PluginAnswer::Unavailable, ..known }, "ingress_unavailable"),
        (unknown, "Credential"),
        (JoinRequest { accepted: PluginAnswer::Unavailable, ..unknown }, "auth_unavailable"),
        (JoinRequest { accepted: PluginAnswer::Answered(false), ..unknown }, "auth_failed"),
        (vouched, "Placement"),
        (JoinRequest { placed: PluginAnswer::Answered(Some(NS1)), ..vouched }, "h true"),
    ] {
        assert_eq!(outcome(&request), expected, "{request:?}");
    }
}

#[test]
fn an_answer_of_a_plugin_holds_while_plugins_are_asked() {
    let host = HostName::new("h").unwrap();
    let identity = Identity { user: (*b"bob").into(), proof: None };
    for (asked, expected) in [(true, Ok(())), (false, Err(Refusal::AuthFailed))] {
        let rules = AccessRules {
            users: Some(Users { lists: vec![alice("a")], asked, exempt: Vec::new() }),
            ..open()
        };
        assert_eq!(rules.still_admits(Some(&identity), &host, NS1, CLIENT), expected);
    }
}
