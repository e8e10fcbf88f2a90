//! Users: authers and inline credentials.

use std::collections::HashMap;

use rtun_core::HostName;

use super::{Names, tables::located};
use crate::{
    findings::{At, Code, Report, quote},
    model::{Auth, Located, Named, Provider, Rows, Secret, User},
    value::Cursor,
};

/// Longest user name and password: the wire has one byte for each length.
const MAX_LEN: usize = 255;

/// Who may connect, by the `auther`, `authers` and `auth` of a handler; named authers replace the inline
/// user.
pub(super) fn authers(
    handler: &Cursor<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<Vec<Named<User>>> {
    let mut references: Vec<(String, At)> = Vec::new();
    for key in ["auther", "authers"] {
        let Some(at) = handler.filled(key) else { continue };
        references.extend(report.texts(&at, false));
    }
    references.retain(|(name, _)| !name.is_empty());
    let inline = handler.filled("auth");
    if references.is_empty() {
        let inline = inline?;
        let user = user(&inline, report);
        let user = user.map(|user| located(user, &At::from(&inline), report));
        let provider = Provider::Rows(Rows::inline(user.into_iter().collect()));
        return Some(vec![Named { name: String::new(), provider }]);
    }
    if let Some(inline) = inline {
        report
            .warning(inline.key(), "this user is not admitted: the named auther counts instead")
            .help("move the user into the auther");
    }
    let mut authers = Vec::new();
    let mut nobody = true;
    for (name, at) in references {
        if let Some((name, auther)) = names.authers.find(&name, &at, report) {
            let users = auther_users(auther, report);
            nobody &= users.is_empty();
            let provider = Provider::Rows(Rows::inline(users));
            authers.push(Named { name: name.clone(), provider });
        }
    }
    if nobody && !report.failed() {
        report
            .warning(handler, "nobody can connect: the authers have no user")
            .help("add `auths:`");
    }
    Some(authers)
}

/// The users of one auther; of two entries for one user the last counts.
fn auther_users(at: &Cursor<'_>, report: &mut Report) -> Vec<Located<User>> {
    let mut users: Vec<Located<User>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.get("auths").iter().flat_map(Cursor::items) {
        let Some(user) = user(&item, report) else { continue };
        let user = located(user, &At::from(&item), report);
        match index.get(&user.value.name) {
            None => {
                index.insert(user.value.name.clone(), users.len());
                users.push(user);
            }
            Some(&i) => {
                report
                    .warning(
                        &item,
                        format!(
                            "the user {} is given twice: the last one counts",
                            quote(&user.value.name)
                        ),
                    )
                    .help("put all host names of a user into one entry");
                users[i] = user;
            }
        }
    }
    users
}

fn user(at: &Cursor<'_>, report: &mut Report) -> Option<User> {
    let Auth { user: name, password } = credentials(at, report)?;
    if password.expose().is_empty() {
        report
            .coded(
                Code::C10,
                at,
                format!("the user {} has no password and is never admitted", quote(&name)),
            )
            .help("add `password:`");
    }
    let hosts = at.get("hosts").map(|list| {
        let mut hosts = Vec::new();
        for (text, at) in report.texts(&list, false) {
            match HostName::new(&text) {
                Ok(name) => hosts.push(name),
                Err(error) => {
                    report.error(&at, format!("{} is no host name: {error}", quote(&text)));
                }
            }
        }
        hosts
    });
    Some(User { name, password, hosts })
}

/// User name and password within what the wire can carry.
pub(super) fn credentials(at: &Cursor<'_>, report: &mut Report) -> Option<Auth> {
    let (name_at, password_at) = (at.get("username"), at.get("password"));
    let Some(user) = report.some_text(name_at.as_ref()) else {
        report.error(at, "the user has no name").help("add `username:`");
        return None;
    };
    let password = report.some_text(password_at.as_ref()).unwrap_or_default();
    for (text, at) in [(&user, &name_at), (&password, &password_at)] {
        if let Some(at) = at.as_ref().filter(|_| text.len() > MAX_LEN) {
            let message = format!("this has {} bytes, at most {MAX_LEN} are possible", text.len());
            report.error(at, message);
            return None;
        }
    }
    Some(Auth { user, password: Secret::new(password) })
}
