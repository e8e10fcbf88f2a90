//! Who may ask, by HTTP Basic authentication (RFC 7617).

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};
use rtun_core::Credentials;
use rtun_settings::{Named, User};

use crate::operations::board::Board;

/// The users of a server, also as their sources change. A plugin is not asked: it admits nobody here.
pub struct HttpUsers {
    auther: Named<User>,
    known: Mutex<KnownUsers>,
}

/// Users by the rows of sources at one moment.
#[derive(Default)]
struct KnownUsers {
    /// Of the sources' rows; `None`: they were not looked at yet.
    generations: Option<Vec<u64>>,
    credentials: Arc<Credentials>,
}

impl HttpUsers {
    /// Those of `auther`.
    pub fn of(auther: &Named<User>) -> Self {
        Self { auther: auther.clone(), known: Mutex::default() }
    }

    /// The user whose name and password the request carries; `board` has what sources say. Takes the same time for each wrong one.
    pub fn prove(&self, headers: &HeaderMap, board: &Board) -> Option<String> {
        let credential = headers.get(AUTHORIZATION).and_then(basic)?;
        let mut parts = credential.splitn(2, |byte| *byte == b':');
        let (name, password) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
        self.credentials(board).prove(name, password)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    fn credentials(&self, board: &Board) -> Arc<Credentials> {
        let feeds = board.feeds_of_users(&self.auther);
        // What comes meanwhile is looked at next time.
        let generations = feeds.generations();
        // What a poisoned lock guards is whole: it is replaced at once.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generations.as_ref() != Some(&generations) {
            let mut credentials = Credentials::new();
            for user in feeds.filled_auther(&self.auther).inline() {
                credentials.insert(&user.name, user.password.expose(), None);
            }
            *known =
                KnownUsers { generations: Some(generations), credentials: Arc::new(credentials) };
        }
        Arc::clone(&known.credentials)
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
