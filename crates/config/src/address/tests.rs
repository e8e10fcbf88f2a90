use super::*;

#[test]
fn splits_as_go_does() {
    for (text, split) in [
        ("h:1", Some(("h", "1"))),
        (":1", Some(("", "1"))),
        ("h:", Some(("h", ""))),
        ("[::1]:1", Some(("::1", "1"))),
        ("h", None),
        ("::1", None),
        ("fd00:64::7", None),
        ("[::1]", None),
        ("[::1", None),
        ("a]:1", None),
        ("[a]b:1", None),
    ] {
        assert_eq!(split_host_port(text), split, "{text}");
    }
}

#[test]
fn expands_ranges() {
    let of = |text| expand(text).map(|addrs| addrs.join(" "));
    assert_eq!(of(":8000-8002").as_deref(), Ok(":8000 :8001 :8002"));
    assert_eq!(of("[::1]:1-2").as_deref(), Ok("[::1]:1 [::1]:2"));
    assert_eq!(of("host-1").as_deref(), Ok("host-1"));
    assert_eq!(of("").as_deref(), Ok(""));
    for bad in [":2-1", ":1-", ":1-2-3", ":0-65535"] {
        assert_eq!(of(bad), Err(AddressError::BadRange), "{bad}");
    }
    assert_eq!(of(":http"), Err(AddressError::BadPort));
    assert_eq!(of(":65536"), Err(AddressError::BadPort));
}

#[test]
fn loopback_is_this_machine() {
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example"] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn hosts_of_urls() {
    for (url, host) in [
        ("http://h", Some("h")),
        ("HTTPS://h:1/x?y", Some("h")),
        ("http://u:p@h:1", Some("h")),
        ("http://[::1]:80/", Some("::1")),
        ("http://[::1]", Some("::1")),
        ("http://", None),
        ("http:///x", None),
        ("http://h h", None),
        ("http://h:80a/", None),
        ("http://::1/", None),
        ("http://[::1/", None),
        ("ftp://h", None),
        ("h:1", None),
    ] {
        assert_eq!(url_host(url), host, "{url}");
    }
}

#[test]
fn checks_addresses() {
    assert_eq!(check(":8443"), Ok(("", 8443)));
    assert_eq!(check("hub.example:8443"), Ok(("hub.example", 8443)));
    assert_eq!(check("hub"), Err(AddressError::NoPort));
    assert_eq!(check("::1"), Err(AddressError::Brackets));
    assert_eq!(check("h:+1"), Err(AddressError::BadPort));
    assert_eq!(check("h h:1"), Err(AddressError::Characters));
}

#[test]
fn zones_are_interfaces_behind_ipv6_addresses() {
    assert_eq!(check("[fe80::1%eth0]:8443"), Ok(("fe80::1%eth0", 8443)));
    assert_eq!(check("[fe80::1%3]:8443"), Ok(("fe80::1%3", 8443)));
    for bad in
        ["[fe80::1%]:1", "192.0.2.1%eth0:1", "hub%eth0:1", "[fe80::1%a-much-too-long-name]:1"]
    {
        assert_eq!(check(bad), Err(AddressError::Zone), "{bad}");
    }
    for (url, plain) in [
        ("[fe80::1%25eth0]:8443", "[fe80::1%eth0]:8443"),
        ("[fe80::1%eth0]:8443", "[fe80::1%eth0]:8443"),
        ("[fe80::1%25]:8443", "[fe80::1%25]:8443"),
        ("[fe80::1%2525]:8443", "[fe80::1%25]:8443"),
        ("[fe80::1%25a]:1,[fe80::2%25b]:2", "[fe80::1%a]:1,[fe80::2%b]:2"),
        ("hub%25:1", "hub%25:1"),
    ] {
        assert_eq!(unescape_zone(url), plain, "{url}");
    }
    assert!(is_loopback("::1%lo"));
}
