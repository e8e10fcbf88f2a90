//! Users: authers and inline credentials.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    Context, DocumentNames, located::Located, providers::named, sources, tables::host_name,
};
use crate::{
    findings::Code,
    location::quote,
    report::At,
    schema::{
        Field, In, OneText, Setting, Texts, auth, auther, handler, login, router_handler, user,
    },
    value::Cursor,
};
use rtun_settings::{LocatedRow, Login, Named, Provider, Rows, Secret, User};

/// Longest user name and password: the wire has one byte for each length.
const MAX_LEN: usize = 255;

/// All authers, in order.
pub(super) fn read(names: &DocumentNames<'_>) -> Vec<Named<User>> {
    let auther = |(name, at): &(String, Cursor<'_>)| named(name, at, &sources::AUTHER, users(at));
    names.authers.list.iter().map(auther).collect()
}

/// The names in `one` and `many`, with their places.
pub(super) fn references<'a>(
    at: &Cursor<'a>,
    one: &Field<OneText>,
    many: &Field<Texts>,
) -> Vec<(String, At<'a>)> {
    let one = at.get(one).and_then(|found| Some((found.read()?, found.at.clone())));
    let many = at.read(many).unwrap_or_default();
    one.into_iter().chain(many).filter(|(name, _)| !name.is_empty()).collect()
}

/// Who may connect, by the `auther`, `authers` and `auth` of a handler; named authers replace the inline
/// user.
pub(super) fn authers(handler: &Cursor<'_>, context: &Context<'_>) -> Option<Vec<Named<User>>> {
    let references = references(handler, &handler::AUTHER, &handler::AUTHERS);
    let inline = inline(handler.filled(&handler::AUTH), !references.is_empty());
    if references.is_empty() {
        return inline.map(|inline| vec![inline]);
    }
    let authers: Vec<Named<User>> =
        references.iter().filter_map(|(name, at)| auther(name, at, context)).collect();
    if authers.iter().all(Named::is_empty) && !handler.report.failed() {
        handler.warning("nobody can connect: the authers have no user").help("add `auths:`");
    }
    Some(authers)
}

/// From where hosts need neither user nor password.
pub(super) fn skip_auth(handler: &Cursor<'_>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (text, at) in handler.read(&router_handler::SKIP_AUTH).unwrap_or_default() {
        let net = text.parse().map(|address: IpAddr| address.to_canonical().into());
        match net.or_else(|_| text.parse::<IpNet>()) {
            Ok(net) if net.prefix_len() == 0 => {
                let message = format!("{net} would admit everybody without a password");
                at.warning(message).help("leave out the auther if that is meant");
                nets.push(net);
            }
            Ok(net) => nets.push(net.trunc()),
            Err(_) => {
                let message = format!("{} is neither an address nor a prefix", quote(&text));
                at.error(message).help("write for example 192.0.2.7 or 2001:db8::/64");
            }
        }
    }
    let has_users = [handler::AUTHER.name(), handler::AUTHERS.name(), handler::AUTH.name()]
        .iter()
        .any(|key| handler.child_named(key).is_some_and(|at| !at.value.is_unset()));
    if let Some(at) = handler.filled(&router_handler::SKIP_AUTH).filter(|_| !has_users) {
        at.key().info("`skipauth` has no effect: nobody needs a password here");
    }
    nets
}

/// Who may ask over HTTP, by these keys of the `metrics` or `api` at `at`.
pub(super) fn http_users(
    at: &Cursor<'_>,
    (named, own): (&Field<OneText>, &Field<In>),
    context: &Context<'_>,
) -> Option<Named<User>> {
    let reference = at.filled(named);
    let inline = inline(at.filled(own), reference.is_some());
    let Some(reference) = reference else { return inline };
    let users = auther(&reference.read()?, &reference, context)?;
    refuse_plugin(&users, &reference, "");
    Some(users)
}

/// Refuses users that a plugin knows, which is not asked here; `place` is what they are for, as in "for a relay ".
pub(super) fn refuse_plugin(users: &Named<User>, at: &At<'_>, place: &str) {
    if users.plugin().is_some() {
        let name = quote(&users.name);
        at.error(format!("the auther {name} is a plugin, and only hubs ask one"))
            .help(format!("{place}give it `auths`, a `file`, `redis` or `http`"));
    }
}

fn auther(name: &str, at: &At<'_>, context: &Context<'_>) -> Option<Named<User>> {
    let (name, _) = context.names.authers.find(name, at)?;
    context.authers.iter().find(|auther| auther.name == *name).cloned()
}

/// The user at `auth`, who does not count where there is a named auther.
fn inline(auth: Option<Setting<'_, In>>, replaced: bool) -> Option<Named<User>> {
    let auth = auth?;
    if replaced {
        auth.key()
            .warning("this user is not admitted: the named auther counts instead")
            .help("move the user into the auther");
        return None;
    }
    let user = user(&auth, false).map(|user| auth.row(user));
    let provider = Provider::Rows(Rows::inline(user.into_iter().collect()));
    Some(Named { name: String::new(), provider })
}

/// The users that one auther has in the configuration; of two entries for one user the last counts.
fn users(at: &Cursor<'_>) -> Vec<LocatedRow<User>> {
    let elsewhere = sources::are_in(at);
    let mut users: Vec<LocatedRow<User>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for item in at.items_of(&auther::AUTHS) {
        let Some(user) = user(&item, elsewhere) else { continue };
        let user = item.row(user);
        match index.get(&user.value.name) {
            None => {
                index.insert(user.value.name.clone(), users.len());
                users.push(user);
            }
            Some(&i) => {
                let name = quote(&user.value.name);
                item.warning(format!("the user {name} is given twice: the last one counts"))
                    .help("put all host names of a user into one entry");
                users[i] = user;
            }
        }
    }
    users
}

/// A user; one whose password may be `elsewhere` may be here for its host names only.
fn user(at: &Cursor<'_>, elsewhere: bool) -> Option<User> {
    let Login { user: name, password, .. } = credentials(at, "add `username:`")?;
    let hosts = at.read(&user::HOSTS);
    if password.expose().is_empty() && !(elsewhere && hosts.is_some()) {
        let name = quote(&name);
        let message = match elsewhere {
            false => format!("the user {name} has no password and is never admitted"),
            true => format!("this says nothing of the user {name}: no password and no `hosts`"),
        };
        at.coded(Code::C10, message).help("add `password:`");
    }
    let hosts =
        hosts.map(|list| list.iter().filter_map(|(text, at)| host_name(text, at)).collect());
    Some(User { name, password, hosts })
}

/// User name and password within what the wire can carry.
pub(super) fn credentials(at: &Cursor<'_>, no_user: &str) -> Option<Login> {
    let (user, user_at) = at.required(&auth::USERNAME, "the user has no name", no_user)?;
    let password = at.read(&auth::PASSWORD).unwrap_or_default();
    for (text, at) in [(&user, user_at), (&password, at.place_of(&auth::PASSWORD))] {
        if text.len() > MAX_LEN {
            at.error(format!("this has {} bytes, at most {MAX_LEN} are possible", text.len()));
        }
    }
    let file = at.read(&login::FILE).map(Into::into);
    Some(Login { user, password: Secret::new(password), file })
}
