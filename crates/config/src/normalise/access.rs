//! Users: authers and inline credentials.

use std::collections::HashMap;

use super::{
    Context, DocumentNames,
    providers::{self, provider},
    sources,
    tables::{host_name, located},
};
use crate::{
    findings::{Code, Report},
    location::{At, quote},
    schema::{Field, In, OneText, Setting, Texts, auth, auther, handler, metrics, user},
    value::Cursor,
};
use rtun_settings::{LocatedRow, Login, Named, Provider, Rows, Secret, User};

/// Longest user name and password: the wire has one byte for each length.
const MAX_LEN: usize = 255;

/// All authers, in order.
pub(super) fn read(names: &DocumentNames<'_>, report: &mut Report) -> Vec<Named<User>> {
    let auther = |(name, at): &(String, Cursor<'_>)| {
        let users = users(at, report);
        Named { name: name.clone(), provider: provider(at, &sources::AUTHER, users, report) }
    };
    names.authers.list.iter().map(auther).collect()
}

/// The names in `one` and `many`, with their places.
pub(super) fn references(
    at: &Cursor<'_>,
    one: &Field<OneText>,
    many: &Field<Texts>,
) -> Vec<(String, At)> {
    let one = at.get(one).and_then(|found| Some((found.read()?, At::from(&found))));
    let many = at.read(many).unwrap_or_default();
    one.into_iter().chain(many).filter(|(name, _)| !name.is_empty()).collect()
}

/// Who may connect, by the `auther`, `authers` and `auth` of a handler; named authers replace the inline
/// user.
pub(super) fn authers(
    handler: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Vec<Named<User>>> {
    let references = references(handler, &handler::AUTHER, &handler::AUTHERS);
    let inline = inline(handler.filled(&handler::AUTH), !references.is_empty(), report);
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

/// Who may read the metrics, by its `auther` and `auth`.
pub(super) fn reader(
    at: &Cursor<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<Named<User>> {
    let reference = at.filled(&metrics::AUTHER);
    let inline = inline(at.filled(&metrics::AUTH), reference.is_some(), report);
    let Some(reference) = reference else { return inline };
    named(&reference.read()?, &At::from(&reference), context, report)
}

fn named(name: &str, at: &At, context: &Context<'_>, report: &mut Report) -> Option<Named<User>> {
    let (name, _) = context.names.authers.find(name, at, report)?;
    context.authers.iter().find(|auther| auther.name == *name).cloned()
}

/// The user at `auth`, who does not count where there is a named auther.
fn inline(
    auth: Option<Setting<'_, In>>,
    replaced: bool,
    report: &mut Report,
) -> Option<Named<User>> {
    let auth = auth?;
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
fn users(at: &Cursor<'_>, report: &mut Report) -> Vec<LocatedRow<User>> {
    let elsewhere = sources::are_in(at);
    let mut users: Vec<LocatedRow<User>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.items_of(&auther::AUTHS) {
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
    let hosts = at.read(&user::HOSTS);
    if password.expose().is_empty() && !(elsewhere && hosts.is_some()) {
        let name = quote(&name);
        let message = match elsewhere {
            false => format!("the user {name} has no password and is never admitted"),
            true => format!("this says nothing of the user {name}: no password and no `hosts`"),
        };
        report.coded(Code::C10, at, message).help("add `password:`");
    }
    let hosts = hosts
        .map(|list| list.iter().filter_map(|(text, at)| host_name(text, at, report)).collect());
    Some(User { name, password, hosts })
}

/// User name and password within what the wire can carry.
pub(super) fn credentials(at: &Cursor<'_>, report: &mut Report) -> Option<Login> {
    let Some(user) = at.read(&auth::USERNAME) else {
        return report.refuse(at, "the user has no name", "add `username:`");
    };
    let password = at.read(&auth::PASSWORD).unwrap_or_default();
    for (text, field) in [(&user, &auth::USERNAME), (&password, &auth::PASSWORD)] {
        if text.len() > MAX_LEN {
            let message = format!("this has {} bytes, at most {MAX_LEN} are possible", text.len());
            report.error(at.place_of(field), message);
            return None;
        }
    }
    Some(Login { user, password: Secret::new(password) })
}
