//! Who may ask, by HTTP Basic authentication (RFC 7617).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};
use rtun_core::Credentials;
use rtun_settings::{Named, Provider, User};

/// The users of a server.
pub struct HttpUsers(Credentials);

/// The users come from a source or a plugin.
#[derive(Debug, thiserror::Error)]
#[error("auther {0:?} has a source or a plugin: here, list the users in the configuration itself")]
pub struct HttpUsersError(String);

impl HttpUsers {
    /// Those of `auther`; `None`: anyone may ask.
    pub fn of(auther: Option<&Named<User>>) -> Result<Option<Self>, HttpUsersError> {
        let Some(auther) = auther else { return Ok(None) };
        let Provider::Rows(rows) = &auther.provider else {
            return Err(HttpUsersError(auther.name.clone()));
        };
        if !rows.sources.is_empty() {
            return Err(HttpUsersError(auther.name.clone()));
        }
        let mut users = Credentials::new();
        for user in rows.inline.iter().map(|row| &row.value) {
            users.insert(&user.name, user.password.expose(), None);
        }
        Ok(Some(Self(users)))
    }

    /// The user whose name and password the request carries. Takes the same time for each wrong one.
    pub fn prove(&self, headers: &HeaderMap) -> Option<String> {
        let credential = headers.get(AUTHORIZATION).and_then(basic)?;
        let mut parts = credential.splitn(2, |byte| *byte == b':');
        let (name, password) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
        self.0.prove(name, password)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }
}

/// Decodes user and password, with a colon between them (RFC 7617 section 2).
fn basic(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64.decode(rest.trim()).ok()
}
