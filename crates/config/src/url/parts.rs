//! The parts of a command-line URL with their places.

use crate::{
    address,
    findings::Code,
    location::{Position, quote},
    report::{At, Report},
    schema::Types,
    suggest,
    value::{Member, Value, same_key},
};

use super::field;

/// Most bytes of a URL argument.
const MAX_URL: usize = 16 << 10;

/// Most parameters of one.
const MAX_PARAMS: usize = 128;

/// A URL argument, taken apart.
pub(super) struct Parts {
    pub(super) whole: Position,
    /// `handler[+listener]` or `connector[+dialer]`, lower case; `None`: GOST's `auto`.
    pub(super) scheme: Option<UrlPiece>,
    pub(super) user: Option<Auth>,
    /// As written.
    pub(super) host: UrlPiece,
    /// After the first slash, percent-encoded.
    pub(super) path: UrlPiece,
    /// Decoded; the first of each key.
    pub(super) params: Vec<Member>,
}

/// A text and its place in the argument.
#[derive(Clone)]
pub(super) struct UrlPiece {
    pub(super) text: String,
    pub(super) place: Position,
}

impl UrlPiece {
    pub(super) fn value(&self) -> Value {
        Value::text(&self.text, self.place)
    }
}

/// A user and a password.
pub(super) struct Auth {
    pub(super) user: UrlPiece,
    pub(super) password: Option<UrlPiece>,
}

impl Auth {
    fn password(&self) -> Option<&UrlPiece> {
        self.password.as_ref().filter(|password| !password.text.is_empty())
    }

    /// C09: every user of the machine sees other programs' command lines.
    pub(super) fn warn_of_password(&self, report: &Report) {
        let Some(password) = self.password() else { return };
        let message = "every user of this machine can read a password on the command line";
        report
            .at(password.place)
            .coded(Code::C09, message)
            .help("put it into a file that only rtun's user can read, and name that with -C");
    }

    pub(super) fn value(&self) -> Value {
        let user = field("username", self.user.value());
        let password = field("password", self.password().map(UrlPiece::value));
        Value::map([user, password], self.user.place)
    }
}

/// An argument whose parts are slices of `text`, which is how their places are known.
struct Argument<'a> {
    text: &'a str,
    number: u32,
    report: &'a Report,
}

impl<'a> Argument<'a> {
    fn place(&self, part: &str) -> Position {
        let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        let column = count(&self.text[..start]) + 1;
        Position { text: self.number, line: 1, column, width: count(part).max(1) }
    }

    fn at(&self, part: &str) -> At<'a> {
        self.report.at(self.place(part))
    }

    fn piece(&self, part: &str) -> UrlPiece {
        UrlPiece { text: part.to_owned(), place: self.place(part) }
    }

    fn decoded(&self, part: &str, plus_is_blank: bool) -> Option<UrlPiece> {
        let text = percent_decode(part, plus_is_blank).or_else(|| {
            let help = "write a `%` itself as %25";
            self.at(part).refuse("this is not percent-encoded UTF-8", help)
        })?;
        Some(UrlPiece { text, ..self.piece(part) })
    }

    fn scheme(&self, part: &str) -> Option<UrlPiece> {
        let valid = part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !valid {
            self.at(part).error(format!("{} is no scheme", quote(part)));
            return None;
        }
        let lower = part.to_ascii_lowercase();
        let text = if lower == "https" { "http+tls".to_owned() } else { lower };
        Some(UrlPiece { text, ..self.piece(part) })
    }

    fn user(&self, part: &str) -> Option<Auth> {
        let (user, password) = match part.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (part, None),
        };
        let user = self.decoded(user, false)?;
        let password = match password {
            Some(password) => Some(self.decoded(password, false)?),
            None => None,
        };
        Some(Auth { user, password })
    }

    fn params(&self, query: &str) -> Option<Vec<Member>> {
        let mut params: Vec<Member> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let param = self.param(part)?;
            let at = self.report.at(param.place);
            if params.len() >= MAX_PARAMS {
                at.error(format!("a URL has at most {MAX_PARAMS} parameters"));
                return None;
            }
            if params.iter().any(|p| same_key(&p.key, &param.key)) {
                at.warning(format!("{} is given twice: the first counts", quote(&param.key)))
                    .help("put several values into one, separated by commas");
            } else {
                params.push(param);
            }
        }
        Some(params)
    }

    fn param(&self, part: &str) -> Option<Member> {
        if part.contains(';') {
            let help = "write `&`, or %3B for the character itself";
            return self.at(part).refuse("a `;` does not separate parameters", help);
        }
        let (key, value) = part.split_once('=').unwrap_or(part.split_at(part.len()));
        let key = self.decoded(key, true)?;
        let value = self.decoded(value, true)?.value();
        Some(Member { key: key.text, place: key.place, value })
    }
}

/// Takes `text`, given after `flag`, apart; `None` after an error was reported.
///
/// `://` missing or a leading `:` means no scheme, and `https` means `http+tls`. The host is cut out before
/// anything in it is looked at: it may hold commas and port ranges.
pub(super) fn parse(flag: &str, text: &str, report: &Report) -> Option<Parts> {
    let text = text.trim();
    let argument = Argument { text, number: report.add_text(flag, text), report };
    let whole = argument.place(text);
    if text.is_empty() {
        report.at(whole).error(format!("{flag} has an empty URL"));
        return None;
    }
    if text.len() > MAX_URL {
        let start = Position { width: 1, ..whole };
        report.at(start).error(format!("{flag} has more than {MAX_URL} bytes"));
        return None;
    }
    if let Some(hash) = text.find('#') {
        let (message, help) = ("a `#` would cut the URL off here", "write a `#` itself as %23");
        return argument.at(&text[hash..]).refuse(message, help);
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if !text.starts_with(':') => (Some(argument.scheme(scheme)?), rest),
        _ => (None, text),
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if splits_user_info(authority, rest) {
        let help = "write a `/` in it as %2F and a `?` as %3F";
        return argument.at(authority).refuse("a user name or password is cut off here", help);
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(argument.user(user)?), host),
        None => (None, authority),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(Parts {
        whole,
        scheme,
        user,
        host: UrlPiece { text: address::unescape_zone(host), ..argument.piece(host) },
        path: argument.piece(path),
        params: argument.params(query)?,
    })
}

/// Whether a password with a `/` or `?` in it was taken for an authority and the rest: an `@` comes later, and what would be
/// the port is none.
fn splits_user_info(authority: &str, rest: &str) -> bool {
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    !authority.contains('@')
        && rest.contains('@')
        && port.is_some_and(|port| port.contains(|c: char| !c.is_ascii_digit() && c != '-'))
}

fn percent_decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push((high * 16 + low) as u8);
            }
            b'+' if plus_is_blank => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The two halves of a scheme: one name stands for both, and a name of which there is only a handler (or
/// connector) travels over `tcp`. `None` after an error was reported.
pub(super) fn halves(
    parts: &Parts,
    first: &'static Types,
    second: &'static Types,
    report: &Report,
) -> Option<(UrlPiece, UrlPiece)> {
    let Some(scheme) = &parts.scheme else {
        return report.at(parts.whole).refuse(
            "the URL has no scheme",
            match first.what {
                "handler" => {
                    "write router://:8443 for a hub, tun:///NAME?net=ADDRESS/PREFIX for a host"
                }
                _ => "write router://HUB:8443",
            },
        );
    };
    let pieces: Vec<&str> = scheme.text.split('+').collect();
    let (a, b) = match pieces[..] {
        [one] => (one, one),
        [a, b] => (a, b),
        _ => {
            return report.at(scheme.place).refuse(
                format!("{} has more than two parts", quote(&scheme.text)),
                "write for example `router+tls`",
            );
        }
    };
    let fallback = match first.what {
        "handler" => "auto",
        _ => "http",
    };
    let piece = |text: &str| UrlPiece { text: text.to_owned(), place: scheme.place };
    let known = (first.knows(a), second.knows(b));
    match known {
        (true, true) => Some((piece(a), piece(b))),
        // `router://`: there is no listener or dialer `router`.
        (true, false) if a == b => Some((piece(a), piece("tcp"))),
        (false, true) if a == b => Some((piece(fallback), piece(b))),
        (known_first, _) => {
            let (types, name) = if known_first { (second, b) } else { (first, a) };
            let help = suggest::did_you_mean(name, types.names());
            let message = format!("there is no {} {}", types.what, quote(name));
            report.at(scheme.place).error(message).maybe_help(help);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_codes() {
        assert_eq!(percent_decode("a%20b+c", false).as_deref(), Some("a b+c"));
        assert_eq!(percent_decode("a%20b+c", true).as_deref(), Some("a b c"));
        assert_eq!(percent_decode("%C3%B6", true).as_deref(), Some("ö"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(percent_decode(bad, true), None, "{bad}");
        }
    }
}
