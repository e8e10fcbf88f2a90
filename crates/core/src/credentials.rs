//! Who may connect: users, passwords, and the host names they may report.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use subtle::{Choice, ConstantTimeEq};

use crate::HostName;

/// A user that hosts connect as.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// 1 to 255 bytes.
    pub name: String,
    /// At most 255 bytes; empty: the user is never admitted.
    pub password: Secret,
    /// The host names this user may report; `None`: any.
    pub hosts: Option<Vec<HostName>>,
}

/// A password or token: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The users a hub knows.
///
/// A comparison takes the same work for an unknown user, a wrong password and a right one.
#[derive(Default)]
pub struct Credentials {
    users: HashMap<Box<[u8]>, Stored>,
}

struct Stored {
    password: Proof,
    hosts: Option<HashSet<HostName>>,
}

/// A user that has presented the right password.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    hosts: Option<&'a HashSet<HostName>>,
    proof: &'a Proof,
}

/// The password that a user has presented, stored for a later check whether it is still right: never printed.
#[derive(Clone)]
pub struct Proof(Arc<Padded>);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Credentials {
    /// No user: every host is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user who may report `hosts`, or any name. Names and passwords beyond 255 bytes cannot be sent, so such
    /// a user can never prove itself. A user of the same name is replaced.
    pub fn insert(&mut self, name: &str, password: &str, hosts: Option<Vec<HostName>>) {
        let user = Stored {
            password: Proof(Arc::new(Padded::new(password.as_bytes()))),
            hosts: hosts.map(|hosts| hosts.into_iter().collect()),
        };
        self.users.insert(name.as_bytes().into(), user);
    }

    /// Checks the user and password that a host presents. An empty stored password is never accepted.
    pub fn prove(&self, name: &[u8], password: &[u8]) -> Option<Proven<'_>> {
        let presented = Padded::new(password);
        let user = self.users.get(name);
        let nobody = Padded::new(b"");
        let stored = user.map_or(&nobody, |user| &user.password.0);
        let right = presented.ct_eq(stored) & !stored.is_empty();
        if bool::from(right) { user.map(Stored::proven) } else { None }
    }

    /// The user of this name, if the password it presented before is still right.
    pub fn still_knows(&self, name: &[u8], proof: &Proof) -> Option<Proven<'_>> {
        let user = self.users.get(name)?;
        let right = proof.0.ct_eq(&user.password.0) & !user.password.0.is_empty();
        bool::from(right).then(|| user.proven())
    }
}

impl Stored {
    fn proven(&self) -> Proven<'_> {
        Proven { hosts: self.hosts.as_ref(), proof: &self.password }
    }
}

impl<'a> Proven<'a> {
    /// The host names that it is bound to, if any.
    pub(crate) fn hosts(&self) -> Option<&'a HashSet<HostName>> {
        self.hosts
    }

    /// The password it has presented.
    pub fn proof(&self) -> Proof {
        self.proof.clone()
    }

    /// Whether this user may report `host`.
    pub fn may_report(&self, host: &HostName) -> bool {
        self.hosts.is_none_or(|hosts| hosts.contains(host))
    }
}

/// A secret of 0 to 255 bytes in a field of fixed size, so that comparing does not depend on the content.
struct Padded([u8; 257]);

impl Padded {
    /// The last byte of a text longer than 255 bytes is 1, so that it equals nothing that can be stored or sent.
    fn new(text: &[u8]) -> Self {
        let mut field = [0; 257];
        let kept = text.len().min(255);
        field[..kept].copy_from_slice(&text[..kept]);
        field[255] = kept as u8;
        field[256] = u8::from(text.len() > 255);
        Self(field)
    }

    fn is_empty(&self) -> Choice {
        self.0[255].ct_eq(&0)
    }

    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0) & self.0[256].ct_eq(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    fn known() -> Credentials {
        let mut users = Credentials::new();
        users.insert("alice", "s3cret", None);
        users.insert("bob", "pass", Some(vec![name("host-2")]));
        users.insert("empty", "", None);
        users
    }

    #[test]
    fn only_the_right_password_is_accepted() {
        let users = known();
        assert!(users.prove(b"alice", b"s3cret").is_some());
        for (user, password) in [
            (&b"alice"[..], &b"s3cre"[..]),
            (b"alice", b"s3cret\0"),
            (b"alice", b""),
            (b"alice", b"pass"),
            (b"Alice", b"s3cret"),
            (b"carol", b""),
            (b"", b""),
            (b"empty", b""),
            (b"empty", b"anything"),
        ] {
            assert!(users.prove(user, password).is_none(), "{user:?} {password:?}");
        }
        assert!(Credentials::new().prove(b"", b"").is_none());
    }

    #[test]
    fn passwords_beyond_the_wire_never_match() {
        let mut users = Credentials::new();
        users.insert("long", &"x".repeat(300), None);
        assert!(users.prove(b"long", "x".repeat(300).as_bytes()).is_none());
        assert!(users.prove(b"long", "x".repeat(255).as_bytes()).is_none());
        users.insert("fits", &"x".repeat(255), None);
        assert!(users.prove(b"fits", "x".repeat(255).as_bytes()).is_some());
    }

    #[test]
    fn a_proof_counts_as_long_as_the_password_stays() {
        let proof = known().prove(b"alice", b"s3cret").unwrap().proof();
        assert!(known().still_knows(b"alice", &proof).is_some());
        assert!(known().still_knows(b"bob", &proof).is_none());
        let mut changed = Credentials::new();
        changed.insert("alice", "another", None);
        assert!(changed.still_knows(b"alice", &proof).is_none());
        assert!(Credentials::new().still_knows(b"alice", &proof).is_none());
        assert_eq!(format!("{proof:?}"), "***");
    }

    #[test]
    fn a_user_bound_to_host_names_reports_no_other() {
        let users = known();
        let bob = users.prove(b"bob", b"pass").unwrap();
        assert!(bob.may_report(&name("host-2")));
        assert!(!bob.may_report(&name("host-1")));
        assert!(users.prove(b"alice", b"s3cret").unwrap().may_report(&name("host-1")));
    }
}
