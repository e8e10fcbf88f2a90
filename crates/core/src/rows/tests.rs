use std::{net::IpAddr, time::Instant};

use ipnet::IpNet;
use proptest::prelude::*;

use super::{bad_lines::MAX_EXCERPT, *};
use crate::{HostName, unmapped};

const MANY: usize = 1_000_000;
const ID: &str = "e87f56dd-fd57-4921-9ab8-a0847662daae";

fn bad<T>(parsed: &Parsed<T>) -> Vec<String> {
    parsed.bad.first.iter().map(|bad| format!("{}: {bad}", bad.line)).collect()
}

#[test]
fn routes_are_read_as_gost_reads_them() {
    let text = "# prefix\tgateway\r\n\
                10.0.0.0/8 host-1\r\n\
                \n\
                \t 10.1.0.0/16\t\thost-2 more words\t# and a comment\n\
                192.168.100.77/24 host-1#no blank before it\n\
                10.2.0.1 host-3\n\
                ::ffff:10.3.0.0/112 host-1\n\
                2001:DB8::/32 fd00::1\n\
                0.0.0.0/0 host-4";
    let parsed = parse_routes(text, MANY).unwrap();
    let rows: Vec<_> = parsed
        .rows
        .iter()
        .map(|row| format!("{}: {} {}", row.line, row.value.prefix, row.value.gateway))
        .collect();
    assert_eq!(
        rows,
        [
            "2: 10.0.0.0/8 host-1",
            "4: 10.1.0.0/16 host-2",
            "5: 192.168.100.0/24 host-1",
            "6: 10.2.0.1/32 host-3",
            "7: 10.3.0.0/16 host-1",
            "8: 2001:db8::/32 fd00::1",
            "9: 0.0.0.0/0 host-4",
        ]
    );
    assert_eq!(parsed.bad, BadLines::default());
}

#[test]
fn bad_lines_say_what_would_be_right() {
    let long = "x".repeat(MAX_LINE + 1);
    let text = format!(
        "10.0.0.0/8\n10.0.0.0/33 a\nname host\n10.0.0.0/8 a\u{7}b\n#{long}\n{long}\n10.0.0.0/8 a"
    );
    let parsed = parse_routes(&text, MANY).unwrap();
    assert_eq!(parsed.rows.len(), 1);
    assert_eq!(
        bad(&parsed),
        [
            "1: \"10.0.0.0/8\" has no gateway; write a prefix and a host name, as in `192.168.100.0/24 host-1`",
            "2: \"10.0.0.0/33\" is neither an address nor a prefix; write for example 192.168.100.0/24",
            "3: \"name\" is neither an address nor a prefix; write for example 192.168.100.0/24",
            "4: \"a\\u{7}b\" is no gateway: a host name has no blanks or control characters, this one has '\\u{7}'",
            "6: the line has more than 4096 bytes",
        ]
    );

    let text = format!(
        "host-1\nhost-1 7\n* {ID}\na\u{7} {ID}\nhost-1 00000000000000000000000000000000\n*.x.org {ID}"
    );
    let parsed = parse_rules(&text, MANY).unwrap();
    assert_eq!((parsed.rows[0].line, &*parsed.rows[0].value.pattern), (6, ".x.org"));
    assert_eq!(
        bad(&parsed),
        [
            "1: \"host-1\" has no endpoint; write a host name and the UUID of the namespace it may join",
            "2: \"7\" is not a UUID: expected 32 hexadecimal digits, as in e87f56dd-fd57-4921-9ab8-a0847662daae",
            "3: \"*\" matches no host; write a name, or *.domain for the domain and every name below it",
            "4: \"a\\u{7}\" is no host name: a host name has no blanks or control characters, this one has '\\u{7}'",
            "5: \"00000000000000000000000000000000\" is the zero UUID, which is no endpoint; name a namespace",
        ]
    );

    let parsed = parse_matchers("10.0.0.0/8 # all\n10.0.0.256\na b\n", MANY).unwrap();
    assert_eq!(parsed.rows.len(), 1);
    let text = "is neither an address nor a prefix nor a name; write for example 192.0.2.7, 10.1.0.0/16 or \
                gate.example.org";
    assert_eq!(bad(&parsed), [format!("2: \"10.0.0.256\" {text}"), format!("3: \"a b\" {text}")]);
}

#[test]
fn a_password_follows_the_first_blank_and_is_never_shown() {
    let long = "p".repeat(256);
    let text =
        format!("# users\nalice  s3#cret word \nbob\t#hash\n \t#comment\ncarol\ndave {long}\n");
    let parsed = parse_users(&text, MANY).unwrap();
    let rows: Vec<_> = parsed
        .rows
        .iter()
        .map(|row| (row.line, &*row.value.name, row.value.password.expose()))
        .collect();
    assert_eq!(rows, [(2, "alice", "s3#cret word"), (3, "bob", "#hash")]);
    assert_eq!(
        bad(&parsed),
        [
            "5: the user has no password and would never be admitted; write `user password`",
            "6: the user name or password has 256 bytes, at most 255 are possible",
        ]
    );
}

#[test]
fn what_is_kept_of_bad_lines_is_bounded() {
    let text = format!("é{}\n", "é".repeat(MAX_LINE / 4)).repeat(1000);
    let parsed = parse_routes(&text, MANY).unwrap();
    assert_eq!((parsed.bad.count, parsed.bad.first.len()), (1000, 10));
    assert!(parsed.bad.first.iter().all(|bad| bad.word.as_ref().unwrap().len() <= MAX_EXCERPT));
}

#[test]
fn too_many_rows_are_refused_before_anything_is_stored() {
    let text = "# a comment\n10.0.0.0/8 a\n\nnonsense\n";
    assert!(parse_routes(text, 2).is_ok());
    assert_eq!(parse_routes(text, 1), Err(TooManyRows { limit: 1 }));
    // Counting up to one line too many is quicker than reading all lines, on a busy machine too.
    let text = "10.0.0.1 a\n".repeat(500_000);
    let time = |limit| {
        let start = Instant::now();
        let refused = parse_routes(&text, limit).is_err();
        (start.elapsed(), refused)
    };
    let (reading, refused) = time(MANY);
    assert!(!refused);
    let quickest = (0..3).map(|_| time(499_999)).min().unwrap();
    assert!(quickest.1 && quickest.0 < reading, "{quickest:?}, and {reading:?} to read all");
}

#[test]
fn equal_gateways_share_their_memory() {
    let parsed = parse_routes("10.0.0.0/8 a\n11.0.0.0/8 b\n12.0.0.0/8 a\n", MANY).unwrap();
    let name = |n: usize| parsed.rows[n].value.gateway.as_str().as_ptr();
    assert_eq!(name(0), name(2));
    assert_ne!(name(0), name(1));
}

/// The grammar, one step at a time.
fn slow_words(line: &str) -> Vec<String> {
    let mut line = line.replace('\t', " ").trim().to_owned();
    if let Some(comment) = line.find('#') {
        line.truncate(comment);
    }
    line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn slow_routes(text: &str) -> (Vec<(u32, IpNet, String)>, Vec<u32>) {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for (n, line) in text.split('\n').enumerate() {
        let words = slow_words(line);
        let Some(first) = words.first() else { continue };
        let prefix = match first.split_once('/') {
            Some((addr, len)) => {
                let strict = len.bytes().all(|b| b.is_ascii_digit());
                let len = len.parse::<u8>().ok().filter(|_| strict);
                addr.parse().ok().zip(len).and_then(|(addr, len)| IpNet::new(addr, len).ok())
            }
            None => first.parse::<IpAddr>().ok().map(IpNet::from),
        };
        let gateway = words.get(1).and_then(|word| HostName::new(word).ok());
        match (prefix, gateway) {
            (Some(prefix), Some(gateway)) => {
                rows.push((n as u32 + 1, unmapped(prefix).trunc(), gateway.to_string()));
            }
            _ => bad.push(n as u32 + 1),
        }
    }
    (rows, bad)
}

fn slow_users(text: &str) -> (Vec<(u32, String, String)>, Vec<u32>) {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for (n, line) in (1..).zip(text.split('\n')) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.find([' ', '\t']) {
            Some(at) => rows.push((n, line[..at].to_owned(), line[at..].trim().to_owned())),
            None => bad.push(n),
        }
    }
    (rows, bad)
}

/// Lines of words and characters that the grammar treats differently.
fn lines(words: &'static str) -> impl Strategy<Value = String> {
    let line = format!("([ \\t]{{0,2}}({words}|#|\\r|x)){{0,4}}[ \\t]?");
    let line = prop::string::string_regex(&line).unwrap();
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn routes_agree_with_reading_step_by_step(
        text in lines("10\\.0\\.0\\.1|10\\.[0-9]\\.0\\.0/[0-9]{1,2}|::ffff:10\\.1\\.2\\.3/1[0-9]{2}|fd00::[0-9]/64|host-[0-9]")
    ) {
        let parsed = parse_routes(&text, MANY).unwrap();
        let rows: Vec<_> = parsed.rows.iter()
            .map(|row| (row.line, row.value.prefix, row.value.gateway.to_string())).collect();
        let (expected, bad) = slow_routes(&text);
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(parsed.bad.count, bad.len());
        let first: Vec<_> = parsed.bad.first.iter().map(|bad| bad.line).collect();
        prop_assert_eq!(&first, &bad[..bad.len().min(10)]);
    }

    #[test]
    fn users_agree_with_reading_step_by_step(text in lines("alice|b#b|\u{e9}")) {
        let parsed = parse_users(&text, MANY).unwrap();
        let rows: Vec<_> = parsed.rows.iter()
            .map(|row| (row.line, row.value.name.clone(), row.value.password.expose().to_owned()))
            .collect();
        let (expected, bad) = slow_users(&text);
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(parsed.bad.count, bad.len());
    }

    #[test]
    fn rules_keep_what_is_listed(hosts in prop::collection::vec("[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", 0..20)) {
        let text: String = hosts.iter().map(|host| format!("\t*.{host}  {ID} # {host}\n")).collect();
        let parsed = parse_rules(&text, hosts.len()).unwrap();
        let patterns: Vec<_> = parsed.rows.iter().map(|row| row.value.pattern[1..].to_owned()).collect();
        prop_assert_eq!(patterns, hosts);
        prop_assert_eq!(parsed.bad.count, 0);
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC*(\n\\PC*){0,9}", limit in 0_usize..20) {
        let counts = |result: Result<(usize, usize), TooManyRows>| match result {
            Ok((rows, bad)) => assert!(rows + bad <= limit),
            Err(refused) => assert_eq!(refused.limit, limit),
        };
        counts(parse_routes(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
        counts(parse_rules(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
        counts(parse_users(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
        counts(parse_matchers(&text, limit).map(|p| (p.rows.len(), p.bad.count)));
    }
}
