//! Lists of users: a name and a password on each line.

use super::{
    BLANKS, Parsed, TooManyRows,
    bad_lines::{Flaw, LineError, MAX_CREDENTIAL},
    parse,
};
use crate::{Secret, User};

/// Reads users as GOST does: each line has a name and, after the first blank, a password, in which `#` is an ordinary
/// character. A line that begins with `#` is a comment. The users may report any host name.
pub fn parse_users(text: &str, max_rows: usize) -> Result<Parsed<User>, TooManyRows> {
    let content = |line| if str::starts_with(line, '#') { "" } else { line };
    parse(text, max_rows, content, |line| {
        let (name, password) =
            line.split_once(BLANKS).ok_or(Flaw::silent(LineError::NoPassword))?;
        let password = password.trim();
        if let Some(long) = [name, password].iter().find(|text| text.len() > MAX_CREDENTIAL) {
            return Err(Flaw::silent(LineError::Credential(long.len())));
        }
        Ok(User { name: name.to_owned(), password: Secret::new(password), hosts: None })
    })
}
