//! The query parameters of a URL, taken out one by one for the objects they belong to.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    field,
    parts::{Auth, UrlPiece},
    text,
};
use crate::{
    report::Report,
    value::{Data, Member, Value, same_key},
};

/// What is left of the parameters of a URL; keys differ.
pub(super) struct Params(pub(super) Vec<Member>);

impl Params {
    /// Removes the first of `keys` that is present and not empty, and all the others.
    pub(super) fn take(&mut self, keys: &[&str]) -> Option<Value> {
        let mut found = None;
        for key in keys {
            if let Some(at) = self.0.iter().position(|p| same_key(&p.key, key)) {
                let value = self.0.remove(at).value;
                found = found.or(Some(value).filter(|value| !value.is_unset()));
            }
        }
        found
    }

    /// Takes each of `keys`, as fields.
    pub(super) fn take_each(&mut self, keys: &[&str]) -> Vec<Member> {
        keys.iter().filter_map(|key| field(key, self.take(&[key]))).collect()
    }

    /// The metadata of the object with this prefix: the parameters with the prefix, without it, and those without any of
    /// `prefixes`. `None` if there are none.
    pub(super) fn metadata(&self, prefix: &str, prefixes: &[&str]) -> Vec<Member> {
        let mut entries: Vec<Member> = Vec::new();
        for param in &self.0 {
            let own = strip(&param.key, prefix);
            let others = prefixes.iter().any(|other| strip(&param.key, other).is_some());
            let Some(key) = own.or((!others).then_some(param.key.as_str())) else { continue };
            let entry = Member { key: key.to_owned(), ..param.clone() };
            match entries.iter_mut().find(|e| same_key(&e.key, key)) {
                // The one with the prefix is the more exact one.
                Some(old) if own.is_some() => *old = entry,
                Some(_) => {}
                None => entries.push(entry),
            }
        }
        entries
    }

    /// The `auth` of the URL: `user`, which stands before its host, or else `auth=`, base64 of `user:password`. `Err` after
    /// an error was reported.
    pub(super) fn take_auth(
        &mut self,
        user: Option<Auth>,
        report: &Report,
    ) -> Result<Option<Value>, ()> {
        let query = match self.take(&["auth"]) {
            Some(value) => Some(query_auth(&value, report).ok_or(())?),
            None => None,
        };
        let auth = user.or(query);
        auth.iter().for_each(|auth| auth.warn_of_password(report));
        Ok(auth.map(|auth| auth.value()))
    }

    /// The selector, if any of its parameters is there; the others get their defaults.
    pub(super) fn take_selector(&mut self) -> Option<Value> {
        let strategy = self.take(&["strategy"]);
        let max_fails = self.take(&["maxFails", "max_fails"]);
        let fail_timeout = self.take(&["failTimeout", "fail_timeout"]);
        let place = [&strategy, &max_fails, &fail_timeout].into_iter().flatten().next()?.place;
        let fields = [
            field("strategy", strategy.unwrap_or(Value::text("round", place))),
            field("maxFails", max_fails.unwrap_or(Value::new(place, Data::Int(1)))),
            field("failTimeout", fail_timeout.unwrap_or(Value::text("30s", place))),
        ];
        Some(Value::map(fields, place))
    }

    /// The fields of a `tls` object: certificate files, and the keys `others`.
    pub(super) fn take_tls(&mut self, others: &[&str]) -> Vec<Member> {
        let files = [("certFile", "cert"), ("keyFile", "key"), ("caFile", "ca")];
        let others = others.iter().map(|key| (*key, *key));
        let keys = files.into_iter().chain(others);
        let taken = keys
            .filter_map(|(key, short)| field(key, self.take(&[&format!("tls.{key}"), key, short])));
        taken.collect()
    }
}

fn strip<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let (start, rest) = key.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest).filter(|rest| !rest.is_empty())
}

fn query_auth(value: &Value, report: &Report) -> Option<Auth> {
    let Some(decoded) = decode_base64(text(value)) else {
        let help = "encode user:password, or write user:password@ before the host";
        return report.at(value.place).refuse("auth= is not base64", help);
    };
    let piece = |text: &str| UrlPiece { text: text.to_owned(), place: value.place };
    Some(match decoded.split_once(':') {
        Some((user, password)) => Auth { user: piece(user), password: Some(piece(password)) },
        None => Auth { user: piece(&decoded), password: None },
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
