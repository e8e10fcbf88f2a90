//! Source lines without their secrets, every other column left where it is.

/// Keys whose values are starred out.
const SECRET_KEYS: [&str; 4] = ["password", "token", "passphrase", "auth"];

/// `line` with passwords, tokens and a URL's user info replaced by stars, and with control characters replaced by
/// blanks; as many characters as before.
pub(crate) fn line(line: &str) -> String {
    let mut chars: Vec<char> =
        line.chars().map(|c| if crate::findings::is_unprintable(c) { ' ' } else { c }).collect();
    hide_user_info(&mut chars);
    for key in SECRET_KEYS {
        hide_values(&mut chars, key);
    }
    chars.into_iter().collect()
}

/// Stars from `://` to the last `@` of the authority.
fn hide_user_info(chars: &mut [char]) {
    let mut i = 0;
    while i + 3 <= chars.len() {
        if chars[i..i + 3] != [':', '/', '/'] {
            i += 1;
            continue;
        }
        let start = i + 3;
        let end = chars[start..]
            .iter()
            .position(|c| matches!(c, '/' | '?' | '"' | '\'' | ' '))
            .map_or(chars.len(), |n| start + n);
        if let Some(at) = chars[start..end].iter().rposition(|c| *c == '@') {
            chars[start..start + at].fill('*');
        }
        i = end.max(i + 1);
    }
}

/// Stars behind `key:` and `key=`.
fn hide_values(chars: &mut [char], key: &str) {
    let key: Vec<char> = key.chars().collect();
    let mut i = 0;
    while i + key.len() < chars.len() {
        let found =
            chars[i..i + key.len()].iter().zip(&key).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if !found {
            i += 1;
            continue;
        }
        i += key.len();
        let Some(separator) = skip(chars, i, |c| matches!(c, '"' | '\'' | ' ')) else { continue };
        match chars[separator] {
            '=' => {
                let end = find(chars, separator + 1, |c| matches!(c, '&' | ' ' | '"'));
                chars[separator + 1..end].fill('*');
                i = end;
            }
            // `auth:` is a map, not a secret.
            ':' if key.len() > 4 => {
                let Some(start) = skip(chars, separator + 1, |c| c == ' ') else { continue };
                i = hide_scalar(chars, start);
            }
            _ => {}
        }
    }
}

/// Stars over the scalar that begins at `start`; gives its end.
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
            ("-F x://h?auth=dTpw&net=1", "-F x://h?auth=****&net=1"),
            ("auth: {username: u, password: p}", "auth: {username: u, password: **"),
            ("  auther: a", "  auther: a"),
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
