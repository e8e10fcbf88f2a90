//! Lines of limiters: a scope and its limit.

use std::num::NonZeroU64;

use super::{
    Parsed, TooManyRows,
    bad_lines::{Flaw, LimitLineError},
    before_comment, parse, words,
};
use crate::{
    HostName, NamespaceId,
    limit::{LimitRow, LimitScope, TrafficLimit, TrafficRate, parse_size},
    parse_prefix, unmapped,
};

/// Reads a traffic limiter: lines of `key in [out] [burst]` in bytes a second, as [`parse_size`] reads them. A rate that is
/// left out, 0 or less is no limit; `#` begins a comment.
pub fn parse_traffic_limits(
    text: &str,
    max_rows: usize,
) -> Result<Parsed<LimitRow<TrafficLimit>>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        let mut words = words(line);
        let key = words.next().unwrap_or_default();
        let scope = if key.contains('@') { host_scope(key)? } else { scope(key)? };
        let first = words.next().ok_or(Flaw::new(key, LimitLineError::NoLimit.into()))?;
        let (input, output) = (size(first)?, words.next().map_or(Ok(None), size)?);
        let burst = words.next().map_or(Ok(None), size)?;
        if let Some(word) = words.next() {
            return Err(Flaw::new(word, LimitLineError::TooManyWords.into()));
        }
        let rate = |bytes: Option<NonZeroU64>| {
            let rate = TrafficRate::new(bytes?);
            Some(TrafficRate { burst: burst.map_or(rate.burst, NonZeroU64::get), ..rate })
        };
        Ok(LimitRow { scope, limit: TrafficLimit { input: rate(input), output: rate(output) } })
    })
}

/// Reads a connection limiter: lines of `key n`; 0 and less are no limit.
pub fn parse_connection_limits(
    text: &str,
    max_rows: usize,
) -> Result<Parsed<LimitRow<u32>>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        let (scope, word) = scope_and_word(line)?;
        let number: i64 =
            word.parse().map_err(|_| Flaw::new(word, LimitLineError::Connections.into()))?;
        let limit = u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        Ok(LimitRow { scope, limit })
    })
}

/// Reads a rate limiter: lines of `key r`, r requests a second; 0 and less are no limit.
pub fn parse_request_limits(
    text: &str,
    max_rows: usize,
) -> Result<Parsed<LimitRow<f64>>, TooManyRows> {
    parse(text, max_rows, before_comment, |line| {
        let (scope, word) = scope_and_word(line)?;
        let number = word.parse().ok().filter(|number: &f64| number.is_finite());
        let limit = number.ok_or(Flaw::new(word, LimitLineError::Requests.into()))?;
        Ok(LimitRow { scope, limit })
    })
}

fn scope_and_word(line: &str) -> Result<(LimitScope, &str), Flaw<'_>> {
    let mut words = words(line);
    let key = words.next().unwrap_or_default();
    let scope = scope(key)?;
    let word = words.next().ok_or(Flaw::new(key, LimitLineError::NoLimit.into()))?;
    Ok((scope, word))
}

/// `None`: no limit.
fn size(word: &str) -> Result<Option<NonZeroU64>, Flaw<'_>> {
    let size = parse_size(word);
    size.map(NonZeroU64::new).map_err(|error| Flaw::new(word, LimitLineError::Size(error).into()))
}

fn scope(word: &str) -> Result<LimitScope, Flaw<'_>> {
    Ok(match word {
        "$" => LimitScope::Service,
        "$$" => LimitScope::Each,
        _ => {
            let prefix = parse_prefix(word);
            let prefix = prefix.ok_or(Flaw::new(word, LimitLineError::Scope.into()))?;
            LimitScope::Network(unmapped(prefix).trunc())
        }
    })
}

/// `host@UUID`, `host@*` or `*@UUID`.
fn host_scope(word: &str) -> Result<LimitScope, Flaw<'_>> {
    let flaw = || Flaw::new(word, LimitLineError::HostScope.into());
    let (host, namespace) = word.rsplit_once('@').ok_or_else(flaw)?;
    let namespace = match namespace {
        "*" => None,
        text => Some(text.parse::<NamespaceId>().map_err(|_| flaw())?),
    };
    match (host, namespace) {
        ("*", Some(namespace)) => Ok(LimitScope::Namespace(namespace)),
        ("*", None) => Err(flaw()),
        (host, namespace) => {
            Ok(LimitScope::Host(HostName::new(host).map_err(|_| flaw())?, namespace))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bad<T>(parsed: &Parsed<T>) -> Vec<String> {
        parsed.bad.first.iter().map(|bad| format!("{}: {bad}", bad.line)).collect()
    }

    #[test]
    fn traffic_limits_are_read_as_gost_reads_them() {
        let text = "# key in out burst\n$ 100MB 200MB 10MB\n$$\t10MB\n\
                    192.168.1.1  512KB 1MB # and a comment\n192.168.0.77/16 0 -5MB\n\
                    ::ffff:10.3.0.0/112 1KB\n2001:DB8::/32 1KB 1KB 0\n";
        let parsed = parse_traffic_limits(text, 10).unwrap();
        assert_eq!(bad(&parsed), [""; 0]);
        let rate = |rate: Option<TrafficRate>| rate.map(|it| (it.bytes_per_second.get(), it.burst));
        let rows = parsed.rows.iter().map(|row| row.value.clone());
        let rows: Vec<_> =
            rows.map(|row| (row.scope, rate(row.limit.input), rate(row.limit.output))).collect();
        let network = |text: &str| LimitScope::Network(text.parse().unwrap());
        let default = |bytes| Some((bytes, bytes / 1000 * 5));
        assert_eq!(
            rows,
            [
                (LimitScope::Service, Some((100 << 20, 10 << 20)), Some((200 << 20, 10 << 20))),
                (LimitScope::Each, default(10 << 20), None),
                (network("192.168.1.1/32"), default(512 << 10), default(1 << 20)),
                (network("192.168.0.0/16"), None, None),
                (network("10.3.0.0/16"), default(1 << 10), None),
                (network("2001:db8::/32"), default(1 << 10), default(1 << 10)),
            ]
        );
    }

    #[test]
    fn hosts_and_namespaces_are_written_with_an_at_sign() {
        let id = "e87f56dd-fd57-4921-9ab8-a0847662daae";
        let text = format!("host-1@{id} 1MB\na@b@* 1MB\n*@{id} 1MB\n*@* 1MB\nhost@7 1MB\n@* 1MB");
        let parsed = parse_traffic_limits(&text, 10).unwrap();
        let host = |text| HostName::new(text).unwrap();
        let id: NamespaceId = id.parse().unwrap();
        let scopes: Vec<_> = parsed.rows.iter().map(|row| row.value.scope.clone()).collect();
        assert_eq!(
            scopes,
            [
                LimitScope::Host(host("host-1"), Some(id)),
                LimitScope::Host(host("a@b"), None),
                LimitScope::Namespace(id)
            ]
        );
        assert_eq!(parsed.bad.count, 3);
        assert!(bad(&parsed)[0].contains("write `host@UUID`"), "{:?}", bad(&parsed));
        assert_eq!(parse_connection_limits("host@* 1", 10).unwrap().bad.count, 1);
    }

    #[test]
    fn bad_lines_say_what_would_be_right() {
        let parsed = parse_traffic_limits("$\nhost 1MB\n$ 100\n$ 1MB 2MB 3MB 4MB\n$ 1MB x", 10);
        assert_eq!(
            bad(&parsed.unwrap()),
            [
                "1: \"$\" has no limit; write for example `$ 10MB`, or `$ 100` for connections and requests",
                "2: \"host\" is not what a limit can be about; write `$`, `$$`, an address or a prefix",
                "3: \"100\" has no unit; write bytes per second as `100B`, `128KB`, `10MB` or `1GB`, or `0` for no limit",
                "4: \"4MB\" is one word too many; write `key in out burst`",
                "5: \"x\" is not a size; write a number and B, KB, MB, GB or TB, as in `10MB`",
            ]
        );
        let connections = parse_connection_limits("$ 1.5\n$$ 5\n10.0.0.0/8 -1", 10).unwrap();
        assert_eq!(connections.rows.iter().map(|row| row.value.limit).collect::<Vec<_>>(), [5, 0]);
        assert_eq!(
            bad(&connections),
            ["1: \"1.5\" is not a number of connections; write for example 100, or 0 for no limit"]
        );
        let requests = parse_request_limits("$ 1.5\n$$ inf\n10.0.0.1 x", 10).unwrap();
        assert_eq!(requests.rows[0].value, LimitRow { scope: LimitScope::Service, limit: 1.5 });
        assert_eq!(requests.bad.count, 2);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([$]{1,2}|[0-9./:]{1,9})? ?[-0-9.KMB]{0,6}( [0-9]{1,2}MB){0,3}\n?|\\PC{0,20}") {
            let rows = text.split('\n').count();
            let counts = |rows: usize, bad: usize| rows + bad;
            let traffic = parse_traffic_limits(&text, rows).unwrap();
            prop_assert!(counts(traffic.rows.len(), traffic.bad.count) <= rows);
            parse_connection_limits(&text, rows).unwrap();
            parse_request_limits(&text, rows).unwrap();
        }
    }
}
