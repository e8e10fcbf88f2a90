//! Tables and lists as text.

use rtun_core::{
    Matcher, Parsed, TooManyRows, parse_connection_limits, parse_hosts, parse_matchers,
    parse_request_limits, parse_routes, parse_rules, parse_traffic_limits, parse_users,
};

/// A routing table from a file, redis or HTTP.
pub fn routes_text(bytes: &[u8]) {
    table(bytes, parse_routes, |route| {
        assert_eq!(route.prefix, route.prefix.trunc());
        format!("{} {}", route.prefix, route.gateway)
    });
}

/// The lines of the three kinds of limiters.
pub fn limits_text(bytes: &[u8]) {
    table(bytes, parse_traffic_limits, |row| {
        let rates = [row.limit.input, row.limit.output];
        let bytes = rates.map(|rate| rate.map_or(0, |rate| rate.bytes_per_second.get()));
        let burst = rates.into_iter().flatten().map(|rate| rate.burst).max().unwrap_or(0);
        assert!(burst <= i64::MAX as u64, "a burst is a size, or a part of one");
        // A rate below 1 KB has a default burst of 0, which is read as the default again.
        let same = rates.into_iter().flatten().all(|rate| rate.burst == burst);
        let burst = if same && burst > 0 { format!(" {burst}B") } else { String::new() };
        format!("{} {}B {}B{burst}", row.scope, bytes[0], bytes[1])
    });
    table(bytes, parse_connection_limits, |row| format!("{} {}", row.scope, row.limit));
    table(bytes, parse_request_limits, |row| format!("{} {}", row.scope, row.limit));
}

/// A hosts table.
pub fn hosts_text(bytes: &[u8]) {
    table(bytes, parse_hosts, |line| {
        assert!(!line.names.is_empty());
        format!("{} {}", line.address, line.names.join(" "))
    });
}

/// The rules of an ingress.
pub fn ingress_text(bytes: &[u8]) {
    table(bytes, parse_rules, |rule| {
        assert!(!rule.namespace.is_default());
        format!("{} {}", rule.pattern, rule.namespace)
    });
}

/// A list of users.
pub fn auth_text(bytes: &[u8]) {
    table(bytes, parse_users, |user| {
        assert!(!user.name.is_empty() && !user.password.expose().is_empty());
        assert!(user.name.len() <= 255 && user.password.expose().len() <= 255);
        format!("{} {}", user.name, user.password.expose())
    });
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(parsed) = parse_users(text, MAX_ROWS) else { return };
    assert!(parsed.bad.first.iter().all(|bad| bad.word.is_none()));
}

/// What an admission matches.
pub fn admission_text(bytes: &[u8]) {
    table(bytes, parse_matchers, |matcher| match matcher {
        Matcher::Prefix(prefix) => prefix.to_string(),
        Matcher::Name(name) => name.clone(),
    });
}

/// The most rows of one input.
const MAX_ROWS: usize = 1000;

/// Reads a text, then each of its lines alone, then its rows as `written` again.
fn table<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    parse: fn(&str, usize) -> Result<Parsed<T>, TooManyRows>,
    written: fn(&T) -> String,
) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let parsed = match parse(text, MAX_ROWS) {
        Ok(parsed) => parsed,
        Err(refused) => return assert_eq!(refused.limit, MAX_ROWS),
    };
    assert!(parsed.rows.len() + parsed.bad.count <= MAX_ROWS);
    assert_eq!(parsed.bad.first.len(), parsed.bad.count.min(10));
    assert!(parsed.bad.first.iter().all(|bad| !bad.to_string().is_empty()));
    let mut rows = parsed.rows.iter().peekable();
    let mut bad = 0;
    for (number, line) in (1..).zip(text.split('\n')) {
        let alone = parse(line, 1).expect("one line");
        bad += alone.bad.count;
        let row = rows.next_if(|row| row.line == number);
        assert_eq!(alone.rows.first().map(|row| &row.value), row.map(|row| &row.value));
    }
    assert_eq!((rows.next(), bad), (None, parsed.bad.count));
    let again: Vec<_> = parsed.rows.iter().map(|row| written(&row.value)).collect();
    let again = parse(&again.join("\r\n"), MAX_ROWS).expect("no more rows than there were");
    assert_eq!(again.bad.count, 0);
    assert!(again.rows.iter().map(|row| &row.value).eq(parsed.rows.iter().map(|row| &row.value)));
}
