//! Source lines without their secrets; all other columns stay in place.

use crate::similar::closest;

/// Keys whose values are replaced by stars, also if the key is misspelt.
const SECRET_KEYS: [&str; 6] =
    ["password", "passphrase", "token", "authorization", "cookie", "cipherkey"];

/// Too short to be recognized when it is misspelt. Of TLS it names a file.
const SECRET_KEY: &str = "key";

/// Headers of HTTP whose values are no secrets, whatever they are.
const PLAIN_HEADERS: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "host",
    "origin",
    "pragma",
    "referer",
    "user-agent",
];

/// Whether the values of this header of HTTP are no secrets. A header may be one unless it is known to be none.
pub fn is_plain_header(name: &str) -> bool {
    PLAIN_HEADERS.iter().any(|plain| name.eq_ignore_ascii_case(plain))
}

/// `line` with passwords, tokens and a URL's user info replaced by stars, and with control characters
/// replaced by blanks. The number of characters stays the same.
pub fn line(line: &str) -> String {
    let mut chars: Vec<char> =
        line.chars().map(|c| if crate::text::is_invisible(c) { ' ' } else { c }).collect();
    hide_user_info(&mut chars);
    hide_values(&mut chars);
    chars.into_iter().collect()
}

/// `text` with user info replaced by stars.
pub fn user_info(text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    hide_user_info(&mut chars);
    chars.into_iter().collect()
}

/// Whether the value of `key` is a secret, also if the key is misspelt.
pub fn is_secret(key: &str) -> bool {
    key == SECRET_KEY || closest(key, SECRET_KEYS).is_some()
}

/// `url` without its user info.
pub fn without_user_info(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[start..])
}

/// Replaces the part of a URL between `://` and its last `@` by stars. Without `://` it replaces what looks like
/// `user:password`.
fn hide_user_info(chars: &mut [char]) {
    let ends_url = |c: char| matches!(c, '"' | '\'' | ' ');
    let mut start = 0;
    while start < chars.len() {
        let end = find(chars, start, ends_url);
        if let Some(at) = chars[start..end].iter().rposition(|c| *c == '@') {
            let url = &chars[start..start + at];
            let scheme = url.windows(3).position(|w| w == [':', '/', '/']);
            let hidden = scheme.map_or(0, |n| n + 3);
            if scheme.is_some() || url.contains(&':') {
                chars[start + hidden..start + at].fill('*');
            }
        }
        start = end + 1;
    }
}

/// Replaces the values after `key:` and `key=` by stars.
fn hide_values(chars: &mut [char]) {
    let mut i = 0;
    while let Some(start) = skip(chars, i, |c| !c.is_alphabetic()) {
        let end = find(chars, start, |c| !c.is_alphabetic());
        let word: String = chars[start..end].iter().take(20).collect();
        i = end;
        let Some(separator) = skip(chars, end, |c| matches!(c, '"' | '\'' | ' ')) else { continue };
        let secret = is_secret(&word);
        match chars[separator] {
            // `auth=` is base64 of a password, `auth:` a map.
            '=' if secret || word.eq_ignore_ascii_case("auth") => {
                i = find(chars, separator + 1, |c| matches!(c, '&' | ' ' | '"'));
                chars[separator + 1..i].fill('*');
            }
            ':' if secret => {
                let Some(start) = skip(chars, separator + 1, |c| c == ' ') else { continue };
                i = hide_scalar(chars, start);
            }
            _ => {}
        }
    }
}

/// Replaces the scalar that begins at `start` by stars; returns its end.
fn hide_scalar(chars: &mut [char], start: usize) -> usize {
    let quote = chars[start];
    if !matches!(quote, '"' | '\'') {
        chars[start..].fill('*');
        return chars.len();
    }
    let mut end = start + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' && quote == '"' { 2 } else { 1 };
    }
    let end = end.min(chars.len());
    chars[start + 1..end].fill('*');
    end
}

fn skip(chars: &[char], from: usize, what: impl Fn(char) -> bool) -> Option<usize> {
    let end = find(chars, from, |c| !what(c));
    (end < chars.len()).then_some(end)
}

fn find(chars: &[char], from: usize, what: impl Fn(char) -> bool) -> usize {
    let from = from.min(chars.len());
    chars[from..].iter().position(|c| what(*c)).map_or(chars.len(), |n| from + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_in_place() {
        for (written, shown) in [
            ("  password: hunter2 # mine", "  password: **************"),
            (r#"{"token": "a\"bc", "addr": 1}"#, r#"{"token": "*****", "addr": 1}"#),
            ("router://u:p@h:1?net=1", "router://***@h:1?net=1"),
            ("admin:pw@:18080", "********@:18080"),
            ("router://u:p/w@h:1", "router://*****@h:1"),
            ("me@example.org", "me@example.org"),
            ("-F x://h?auth=dTpw&net=1", "-F x://h?auth=****&net=1"),
            ("auth: {username: u, password: p}", "auth: {username: u, password: **"),
            ("  auther: a", "  auther: a"),
            ("redis: {addr: h:1, password: p}", "redis: {addr: h:1, password: **"),
            ("url: 'https://u:p@h/x'", "url: 'https://***@h/x'"),
            ("{\"url\":\"http://u:p@h\"}", "{\"url\":\"http://***@h\"}"),
            ("url: http://h/x?token=t&a=b", "url: http://h/x?token=*&a=b"),
            ("pasword: secret", "pasword: ******"),
            ("- {tokn: a, x: b}", "- {tokn: ********"),
            ("Passphrase: 'x y'", "Passphrase: '***'"),
        ] {
            assert_eq!(line(written), shown);
            assert_eq!(line(written).chars().count(), written.chars().count());
        }
    }

    #[test]
    fn control_characters_become_blanks() {
        assert_eq!(line("a\u{1b}b\tc"), "a b c");
    }
}
