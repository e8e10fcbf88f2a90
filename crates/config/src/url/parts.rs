//! The parts of a command-line URL with their places, and the tools both kinds of URL are translated with.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    address,
    findings::{Code, Report},
    location::{Position, quote},
    schema::Types,
    suggest,
    value::{Data, Member, Value, same_key},
};

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
    /// The first of each key.
    pub(super) params: Vec<Param>,
}

/// A text and its place in the argument.
#[derive(Clone)]
pub(super) struct UrlPiece {
    pub(super) text: String,
    pub(super) place: Position,
}

/// One query parameter, decoded.
pub(super) struct Param {
    pub(super) key: UrlPiece,
    pub(super) value: Value,
}

impl From<Member> for Param {
    fn from(entry: Member) -> Self {
        Self { key: UrlPiece { text: entry.key, place: entry.place }, value: entry.value }
    }
}

impl From<Param> for Member {
    fn from(param: Param) -> Self {
        Self { key: param.key.text, place: param.key.place, value: param.value }
    }
}

/// A user and a password.
pub(super) struct Auth {
    pub(super) user: UrlPiece,
    pub(super) password: Option<UrlPiece>,
}

impl UrlPiece {
    pub(super) fn value(&self) -> Value {
        Value::new(self.place, Data::Text(self.text.clone()))
    }
}

impl Auth {
    /// C09: every user of the machine sees other programs' command lines.
    pub(super) fn warn_of_password(&self, report: &mut Report) {
        let Some(password) = self.password.as_ref().filter(|p| !p.text.is_empty()) else { return };
        report
            .coded(
                Code::C09,
                password.place,
                "every user of this machine can read a password on the command line",
            )
            .help("put it into a file that only rtun's user can read, and name that with -C");
    }

    pub(super) fn value(&self) -> Value {
        let mut entries = vec![entry("username", self.user.value())];
        if let Some(password) = self.password.as_ref().filter(|p| !p.text.is_empty()) {
            entries.push(entry("password", password.value()));
        }
        Value::new(self.user.place, Data::Map(entries))
    }
}

/// An entry whose key stands where its value stands.
pub(super) fn entry(key: &str, value: Value) -> Member {
    Member { key: key.to_owned(), place: value.place, value }
}

/// Scans an argument, keeping byte offsets of the original text.
struct Argument<'a> {
    text: &'a str,
    number: u32,
}

impl<'a> Argument<'a> {
    fn place(&self, start: usize, end: usize) -> Position {
        let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Position {
            text: self.number,
            line: 1,
            column: count(&self.text[..start]) + 1,
            width: count(&self.text[start..end]).max(1),
        }
    }

    fn piece(&self, start: usize, end: usize) -> UrlPiece {
        UrlPiece { text: self.text[start..end].to_owned(), place: self.place(start, end) }
    }

    /// The first of `chars` from `from`, or the end.
    fn find(&self, from: usize, to: usize, chars: &[char]) -> usize {
        self.text[from..to].find(chars).map_or(to, |n| from + n)
    }

    fn decoded(
        &self,
        start: usize,
        end: usize,
        plus_is_blank: bool,
        report: &mut Report,
    ) -> Option<UrlPiece> {
        let mut piece = self.piece(start, end);
        match percent_decode(&piece.text, plus_is_blank) {
            Some(text) => piece.text = text,
            None => {
                return report.refuse(
                    piece.place,
                    "this is not percent-encoded UTF-8",
                    "write a `%` itself as %25",
                );
            }
        }
        Some(piece)
    }
}

/// Takes `text`, given after `flag`, apart; `None` after an error was reported.
///
/// `://` missing or a leading `:` means no scheme, and `https` means `http+tls`. The host is cut out before
/// anything in it is looked at: it may hold commas and port ranges.
pub(super) fn parse(flag: &str, text: &str, report: &mut Report) -> Option<Parts> {
    let text = text.trim();
    let number = report.texts.add(flag, text);
    let argument = Argument { text, number };
    let whole = argument.place(0, text.len());
    if text.is_empty() {
        report.error(whole, format!("{flag} has an empty URL"));
        return None;
    }
    if text.len() > MAX_URL {
        report.error(argument.place(0, 1), format!("{flag} has more than {MAX_URL} bytes"));
        return None;
    }
    if let Some(hash) = text.find('#') {
        return report.refuse(
            argument.place(hash, text.len()),
            "a `#` would cut the URL off here",
            "write a `#` itself as %23",
        );
    }
    let (scheme, start) = match text.find("://") {
        Some(end) if !text.starts_with(':') => (Some(scheme(&argument, end, report)?), end + 3),
        _ => (None, 0),
    };
    let authority_end = argument.find(start, text.len(), &['/', '?']);
    if splits_user_info(&text[start..], authority_end - start) {
        return report.refuse(
            argument.place(start, authority_end),
            "a user name or password is cut off here",
            "write a `/` in it as %2F and a `?` as %3F",
        );
    }
    let (user, host_start) = match text[start..authority_end].rfind('@') {
        Some(n) => (Some(user(&argument, start, start + n, report)?), start + n + 1),
        None => (None, start),
    };
    let mut host = argument.piece(host_start, authority_end);
    host.text = address::unescape_zone(&host.text);
    let path_end = argument.find(authority_end, text.len(), &['?']);
    let path = argument.piece(authority_end, path_end);
    let params = params(&argument, path_end, report)?;
    Some(Parts { whole, scheme, user, host, path, params })
}

/// Whether `text`, which begins with an authority of `end` bytes, looks like a password with a `/` or `?` in
/// it: an `@` comes later, and what would be the port is none.
fn splits_user_info(text: &str, end: usize) -> bool {
    let (authority, rest) = text.split_at(end);
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    !authority.contains('@')
        && rest.contains('@')
        && port.is_some_and(|port| port.contains(|c: char| !c.is_ascii_digit() && c != '-'))
}

fn scheme(argument: &Argument<'_>, end: usize, report: &mut Report) -> Option<UrlPiece> {
    let mut piece = argument.piece(0, end);
    let valid = piece.text.starts_with(|c: char| c.is_ascii_alphabetic())
        && piece.text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !valid {
        report.error(piece.place, format!("{} is no scheme", quote(&piece.text)));
        return None;
    }
    piece.text.make_ascii_lowercase();
    if piece.text == "https" {
        piece.text = "http+tls".to_owned();
    }
    Some(piece)
}

fn user(argument: &Argument<'_>, start: usize, end: usize, report: &mut Report) -> Option<Auth> {
    let colon = argument.find(start, end, &[':']);
    let user = argument.decoded(start, colon, false, report)?;
    let password = match colon < end {
        true => Some(argument.decoded(colon + 1, end, false, report)?),
        false => None,
    };
    Some(Auth { user, password })
}

fn params(argument: &Argument<'_>, question: usize, report: &mut Report) -> Option<Vec<Param>> {
    let mut params: Vec<Param> = Vec::new();
    let mut start = question + 1;
    while start < argument.text.len() {
        let end = argument.find(start, argument.text.len(), &['&']);
        if end > start {
            let param = param(argument, start, end, report)?;
            if params.len() >= MAX_PARAMS {
                report.error(param.key.place, format!("a URL has at most {MAX_PARAMS} parameters"));
                return None;
            }
            match params.iter().find(|p| same_key(&p.key.text, &param.key.text)) {
                None => params.push(param),
                Some(_) => {
                    let key = quote(&param.key.text);
                    report
                        .warning(param.key.place, format!("{key} is given twice: the first counts"))
                        .help("put several values into one, separated by commas");
                }
            }
        }
        start = end + 1;
    }
    Some(params)
}

fn param(argument: &Argument<'_>, start: usize, end: usize, report: &mut Report) -> Option<Param> {
    if argument.text[start..end].contains(';') {
        return report.refuse(
            argument.place(start, end),
            "a `;` does not separate parameters",
            "write `&`, or %3B for the character itself",
        );
    }
    let equals = argument.find(start, end, &['=']);
    let key = argument.decoded(start, equals, true, report)?;
    let value = argument.decoded((equals + 1).min(end), end, true, report)?;
    Some(Param { key, value: value.value() })
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
    report: &mut Report,
) -> Option<(UrlPiece, UrlPiece)> {
    let Some(scheme) = &parts.scheme else {
        return report.refuse(
            parts.whole,
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
            return report.refuse(
                scheme.place,
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
            report.error(scheme.place, message).maybe_help(help);
            None
        }
    }
}

/// The parameters of a URL as they are taken out one by one.
pub(super) struct Params(pub(super) Vec<Param>);

impl Params {
    /// Removes the first of `keys` that is present and not empty, and all the others.
    pub(super) fn take(&mut self, keys: &[&str]) -> Option<Param> {
        let mut found = None;
        for key in keys {
            if let Some(at) = self.0.iter().position(|p| same_key(&p.key.text, key)) {
                let param = self.0.remove(at);
                found = found.or(Some(param).filter(|p| !p.value.is_unset()));
            }
        }
        found
    }

    /// The parameters meant for the place with this prefix: its own, without the prefix, and those without
    /// any of `prefixes`.
    pub(super) fn metadata(&self, prefix: &str, prefixes: &[&str]) -> Vec<Member> {
        let mut entries: Vec<Member> = Vec::new();
        for param in &self.0 {
            let key = &param.key.text;
            let own = strip(key, prefix);
            let others = prefixes.iter().any(|other| strip(key, other).is_some());
            let Some(key) = own.or((!others).then_some(key.as_str())) else { continue };
            let entry =
                Member { key: key.to_owned(), place: param.key.place, value: param.value.clone() };
            match entries.iter_mut().find(|e| same_key(&e.key, key)) {
                // The one with the prefix is the more exact one.
                Some(old) if own.is_some() => *old = entry,
                Some(_) => {}
                None => entries.push(entry),
            }
        }
        entries
    }

    /// `auth=`: base64 of `user:password`. `Err` after an error was reported.
    pub(super) fn take_auth(&mut self, report: &mut Report) -> Result<Option<Auth>, ()> {
        let Some(param) = self.take(&["auth"]) else { return Ok(None) };
        let place = param.value.place;
        let Some(text) = text(&param.value).and_then(decode_base64) else {
            report
                .error(place, "auth= is not base64")
                .help("encode user:password, or write user:password@ before the host");
            return Err(());
        };
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text.as_str(), None),
        };
        let piece = |text: &str| UrlPiece { text: text.to_owned(), place };
        Ok(Some(Auth { user: piece(user), password: password.map(piece) }))
    }

    /// The selector, if any of its parameters is there; the others get their defaults.
    pub(super) fn take_selector(&mut self) -> Option<Value> {
        let strategy = self.take(&["strategy"]);
        let max_fails = self.take(&["maxFails", "max_fails"]);
        let fail_timeout = self.take(&["failTimeout", "fail_timeout"]);
        let place =
            [&strategy, &max_fails, &fail_timeout].into_iter().flatten().next()?.value.place;
        let or = |param: Option<Param>, default: Data| {
            param.map_or(Value::new(place, default), |p| p.value)
        };
        let entries = vec![
            entry("strategy", or(strategy, Data::Text("round".to_owned()))),
            entry("maxFails", or(max_fails, Data::Int(1))),
            entry("failTimeout", or(fail_timeout, Data::Text("30s".to_owned()))),
        ];
        Some(Value::new(place, Data::Map(entries)))
    }

    /// Entries of a `tls` object: of each pair a key of it, and the parameters it may be given as.
    pub(super) fn take_tls(&mut self, keys: &[(&str, [&str; 2])]) -> Vec<Member> {
        let taken = keys.iter().filter_map(|(name, keys)| {
            let param = self.take(keys)?;
            Some(entry(name, param.value))
        });
        taken.collect()
    }

    /// Certificate files, as entries of a `tls` object.
    pub(super) fn take_tls_files(&mut self) -> Vec<Member> {
        [
            ("certFile", ["tls.certFile", "certFile", "cert"]),
            ("keyFile", ["tls.keyFile", "keyFile", "key"]),
            ("caFile", ["tls.caFile", "caFile", "ca"]),
        ]
        .into_iter()
        .filter_map(|(name, keys)| self.take(&keys).map(|p| entry(name, p.value)))
        .collect()
    }
}

fn strip<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let (start, rest) = key.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest).filter(|rest| !rest.is_empty())
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match &value.data {
        Data::Text(text) => Some(text),
        _ => None,
    }
}

/// URL-safe without padding, else standard.
fn decode_base64(text: &str) -> Option<String> {
    let any_padding =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = [alphabet::URL_SAFE, alphabet::STANDARD]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, any_padding).decode(text).ok())?;
    String::from_utf8(bytes).ok()
}

/// The `api` or `metrics` object that the argument of `-api` or `-metrics` stands for; `keys` become its
/// fields.
pub(crate) fn listen_url(
    flag: &str,
    text: &str,
    keys: &[&str],
    report: &mut Report,
) -> Option<Value> {
    let parts = parse(flag, text, report)?;
    let addr = match text.starts_with("unix://") {
        true => {
            let path = text.split('?').next().unwrap_or_default();
            Value::new(parts.host.place, Data::Text(path.to_owned()))
        }
        false => parts.host.value(),
    };
    let mut entries = vec![entry("addr", addr)];
    entries.extend(parts.user.map(|auth| entry("auth", auth.value())));
    let mut params = Params(parts.params);
    for key in keys {
        entries.extend(params.take(&[key]).map(|param| entry(key, param.value)));
    }
    Some(Value::new(parts.whole, Data::Map(entries)))
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

    #[test]
    fn base64_in_both_alphabets() {
        for (text, decoded) in [
            ("dTpw", Some("u:p")),
            ("dXNlcjpwYXNz", Some("user:pass")),
            ("dTo_Pw==", Some("u:??")),
            ("dTo_Pw", Some("u:??")),
            ("dTo/Pw==", Some("u:??")),
            ("!", None),
        ] {
            assert_eq!(decode_base64(text).as_deref(), decoded, "{text}");
        }
    }
}
