//! Files that the logins of a chain's nodes are in: `auth.file` of a connector.

use rtun_core::text;

use crate::{
    location::quote,
    schema::{chain, connector, hop, login, node, root},
    source::{ConfigSource, Reader},
    value::{Cursor, Data, Member, Value, same_key},
};

/// What an `auth` with a file says when the file has been read.
enum LoginOfFile {
    /// What the file says.
    Read { user: Value, password: Option<Value> },
    /// It cannot be read; the other keys count.
    Inline,
    /// It cannot be read, which was reported.
    Nothing,
}

/// Puts what is in the files of the document at `root` into a copy of it; `None` if no login is in a file.
pub(crate) fn read(root: &Cursor<'_>, reader: &mut dyn Reader) -> Option<Value> {
    let in_chains =
        root.items_of(&root::CHAINS).into_iter().flat_map(|at| at.items_of(&chain::HOPS));
    let hops = in_chains.chain(root.items_of(&root::HOPS));
    let nodes = hops.flat_map(|hop| hop.items_of(&hop::NODES));
    let auths = nodes.filter_map(|node| node.get(&node::CONNECTOR)?.get(&connector::AUTH));
    let logins: Vec<_> =
        auths.filter_map(|auth| Some((auth.path.clone(), login(&auth, reader)?))).collect();
    if logins.is_empty() {
        return None;
    }
    let mut document = root.value.clone();
    for (path, login) in logins {
        let Some(auth) = find(&mut document, &path) else { continue };
        match login {
            LoginOfFile::Read { user, password } => {
                set(auth, login::USERNAME.name(), Some(user));
                set(auth, login::PASSWORD.name(), password);
            }
            LoginOfFile::Inline => set(auth, login::FILE.name(), None),
            LoginOfFile::Nothing => {
                let nobody = Value::new(auth.place, Data::Text("nobody".to_owned()));
                set(auth, login::USERNAME.name(), Some(nobody));
            }
        }
    }
    Some(document)
}

fn login(auth: &Cursor<'_>, reader: &mut dyn Reader) -> Option<LoginOfFile> {
    let at = auth.filled(&login::FILE)?;
    let path = at.read()?;
    let wrong = match reader.read(&ConfigSource::File((&path).into())) {
        Ok(content) => match text::decode(content.bytes).map(|text| first_login(&text)) {
            Ok(Some((user, password))) => {
                let value = |text: String| Value::new(at.value.place, Data::Text(text));
                let (user, password) = (value(user), password.map(value));
                return Some(LoginOfFile::Read { user, password });
            }
            Ok(None) => "it has no line with a user".to_owned(),
            Err(error) => format!("its {error}"),
        },
        Err(error) => error.to_string(),
    };
    let message = format!("{} cannot be read for a login: {wrong}", quote(&path));
    if auth.read(&login::USERNAME).is_some() {
        at.warning(message).help("until it can, `username` and `password` count, as in GOST");
        return Some(LoginOfFile::Inline);
    }
    at.error(message).help("write `USER PASSWORD` into its first line");
    Some(LoginOfFile::Nothing)
}

/// The user and password of the first line that has one; a line that begins with `#` is a comment.
fn first_login(text: &str) -> Option<(String, Option<String>)> {
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(match line.split_once(' ') {
        Some((user, password)) => (user.to_owned(), Some(password.trim().to_owned())),
        None => (line.to_owned(), None),
    })
}

/// The value that the keys and places in lists of `path` lead to, as in `chains[0].hops[1]`.
pub(crate) fn find<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut value = document;
    for step in path.split('.') {
        let (key, places) = step.split_once('[').unwrap_or((step, ""));
        let Data::Map(members) = &mut value.data else { return None };
        value = &mut members.iter_mut().find(|member| member.key == key)?.value;
        for place in places.split('[').filter(|place| !place.is_empty()) {
            let place: usize = place.trim_end_matches(']').parse().ok()?;
            let Data::List(items) = &mut value.data else { return None };
            value = items.get_mut(place)?;
        }
    }
    Some(value)
}

fn set(map: &mut Value, key: &str, value: Option<Value>) {
    let Data::Map(members) = &mut map.data else { return };
    members.retain(|member| !same_key(&member.key, key));
    members.extend(value.map(|value| Member { key: key.to_owned(), place: value.place, value }));
}
