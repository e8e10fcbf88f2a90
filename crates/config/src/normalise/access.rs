//! Users: authers and inline credentials.

use std::collections::HashMap;

use rtun_core::HostName;

use super::{
    Context, Names,
    providers::{self, provider},
    sources,
    tables::located,
};
use crate::{
    findings::{At, Code, Report, quote},
    value::Cursor,
};
use rtun_settings::{Located, Login, Named, Provider, Rows, Secret, User};

/// Longest user name and password: the wire has one byte for each length.
const MAX_LEN: usize = 255;

/// All authers, in order.
pub(super) fn read(names: &Names<'_>, report: &mut Report) -> Vec<Named<User>> {
    let auther = |(name, at): &(String, Cursor<'_>)| {
        let users = users(at, report);
        Named { name: name.clone(), provider: provider(at, &providers::AUTHER, users, report) }
    };
    names.authers.list.iter().map(auther).collect()
}

/// The names in the texts under `keys`, with their places.
pub(super) fn references(
    at: &Cursor<'_>,
    keys: [&str; 2],
    report: &mut Report,
) -> Vec<(String, At)> {
    let mut references = Vec::new();
    for list in keys.iter().filter_map(|key| at.filled(key)) {
        references.extend(report.texts(&list, false));
    }
    references.retain(|(name, _)| !name.is_empty());
    references
}

/// Who may connect, by the `auther`, `authers` and `auth` of a handler; named authers replace the inline
/// user.
pub(super) fn authers(
    handler: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<Named<User>>> {
    let references = references(handler, ["auther", "authers"], report);
    let inline = inline(handler, !references.is_empty(), report);
    if references.is_empty() {
        return inline.map(|inline| vec![inline]);
    }
    let authers: Vec<Named<User>> =
        references.iter().filter_map(|(name, at)| named(name, at, context, report)).collect();
    if authers.iter().all(|auther| providers::is_empty(&auther.provider)) && !report.failed() {
        report
            .warning(handler, "nobody can connect: the authers have no user")
            .help("add `auths:`");
    }
    Some(authers)
}

/// Who may read what is served at `at`, by its `auther` and `auth`.
pub(super) fn reader(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Named<User>> {
    let reference = at.filled("auther");
    let inline = inline(at, reference.is_some(), report);
    let Some(reference) = reference else { return inline };
    let name = report.text(&reference)?;
    named(&name, &At::from(&reference), context, report)
}

fn named(name: &str, at: &At, context: &Context<'_>, report: &mut Report) -> Option<Named<User>> {
    let (name, _) = context.names.authers.find(name, at, report)?;
    context.authers.iter().find(|auther| auther.name == *name).cloned()
}

/// The user in the `auth` of `at`, who does not count where there is a named auther.
fn inline(at: &Cursor<'_>, replaced: bool, report: &mut Report) -> Option<Named<User>> {
    let auth = at.filled("auth")?;
    if replaced {
        report
            .warning(auth.key(), "this user is not admitted: the named auther counts instead")
            .help("move the user into the auther");
        return None;
    }
    let user = user(&auth, false, report).map(|user| located(user, &At::from(&auth), report));
    let provider = Provider::Rows(Rows::inline(user.into_iter().collect()));
    Some(Named { name: String::new(), provider })
}

/// The users that one auther has in the configuration; of two entries for one user the last counts.
fn users(at: &Cursor<'_>, report: &mut Report) -> Vec<Located<User>> {
    let elsewhere = sources::are_in(at);
    let mut users: Vec<Located<User>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.get("auths").iter().flat_map(Cursor::items) {
        let Some(user) = user(&item, elsewhere, report) else { continue };
        let user = located(user, &At::from(&item), report);
        match index.get(&user.value.name) {
            None => {
                index.insert(user.value.name.clone(), users.len());
                users.push(user);
            }
            Some(&i) => {
                let name = quote(&user.value.name);
                report
                    .warning(&item, format!("the user {name} is given twice: the last one counts"))
                    .help("put all host names of a user into one entry");
                users[i] = user;
            }
        }
    }
    users
}

/// A user; one whose password may be `elsewhere` may be here for its host names only.
fn user(at: &Cursor<'_>, elsewhere: bool, report: &mut Report) -> Option<User> {
    let Login { user: name, password } = credentials(at, report)?;
    let hosts = at.get("hosts");
    if password.expose().is_empty() && !(elsewhere && hosts.is_some()) {
        let (name, help) = (quote(&name), "add `password:`");
        let message = match elsewhere {
            false => format!("the user {name} has no password and is never admitted"),
            true => format!("this says nothing of the user {name}: no password and no `hosts`"),
        };
        report.coded(Code::C10, at, message).help(help);
    }
    let hosts = hosts.map(|list| {
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
pub(super) fn credentials(at: &Cursor<'_>, report: &mut Report) -> Option<Login> {
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
    Some(Login { user, password: Secret::new(password) })
}
