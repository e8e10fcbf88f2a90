//! GOST's command line, row by row: what each URL becomes, as `-O yaml` prints it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its arguments has failed")]

use rtun_config::{
    Environment, Outcome, Variable, cli,
    findings::Profile,
    load,
    source::{ConfigSource, Content, ReadError},
};
use rtun_settings::LogLevel;
use rtun_settings::{Matcher, Provider, ServiceKind};

fn run(arguments: &[&str]) -> Outcome {
    let args = cli::parse(arguments.iter().copied()).unwrap();
    let mut nothing = |_: &ConfigSource| Err(ReadError::NotFound);
    load(&args, &Environment::default(), &mut nothing, Profile::Compat)
}

fn printed(arguments: &[&str]) -> String {
    let outcome = run(arguments);
    let shown = || outcome.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    outcome.document.as_ref().unwrap_or_else(|| panic!("{}", shown())).emit(cli::OutputFormat::Yaml)
}

/// What is printed for `arguments`, without the indentation of this file.
fn assert_printed(arguments: &[&str], expected: &str) {
    let lines = expected.lines().filter(|line| !line.trim().is_empty());
    let indent = lines.clone().map(|l| l.len() - l.trim_start().len()).min().unwrap_or(0);
    let expected: Vec<&str> = lines.map(|line| &line[indent..]).collect();
    assert_eq!(printed(arguments), expected.join("\n") + "\n", "{arguments:?}");
}

#[test]
fn the_tutorials_host() {
    assert_printed(
        &["-L", "tun:///host-1?net=192.168.123.1/24", "-F", "router://server:8443"],
        "
        services:
        - name: service-0
          handler:
            type: tun
            chain: chain-0
            metadata:
              net: 192.168.123.1/24
          listener:
            type: tun
            metadata:
              net: 192.168.123.1/24
          forwarder:
            nodes:
            - name: target-0
              addr: host-1
          metadata:
            net: 192.168.123.1/24
        chains:
        - name: chain-0
          hops:
          - name: hop-0
            nodes:
            - name: node-0
              addr: server:8443
              connector:
                type: router
              dialer:
                type: tcp
                tls:
                  serverName: server
        ",
    );
}

#[test]
fn schemes_become_types() {
    for (url, handler, listener) in [
        ("router://:1", "router", "tcp"),
        ("ROUTER://:1", "router", "tcp"),
        ("router+tls://:1", "router", "tls"),
        ("router+wss://:1", "router", "wss"),
        ("tls://:1", "auto", "tls"),
        ("tun://:1", "tun", "tun"),
        ("tap://:1", "tap", "tap"),
        ("tap://:0/h:1", "tap", "tap"),
        ("https://:1", "http", "tls"),
        ("relay+tls://:1/x:2", "relay", "tls"),
        ("tcp://:1/x:2", "tcp", "tcp"),
        ("socks5+tls://:1/x:2", "forward", "tls"),
        ("udp://:1/x:2", "udp", "udp"),
    ] {
        let text = printed(&["-L", url]);
        let wanted =
            format!("  handler:\n    type: {handler}\n  listener:\n    type: {listener}\n");
        assert!(text.contains(&wanted), "{url}\n{text}");
    }
    for (url, connector, dialer) in [
        ("router://h:1", "router", "tcp"),
        ("router+quic://h:1", "router", "quic"),
        ("tls://h:1", "http", "tls"),
        ("https://h:1", "http", "tls"),
        ("socks5://h:1", "socks5", "tcp"),
    ] {
        let text = printed(&["-L", "router://:1", "-F", url]);
        let wanted = format!(
            "connector:\n        type: {connector}\n      dialer:\n        type: {dialer}\n"
        );
        assert!(text.contains(&wanted), "{url}\n{text}");
    }
}

#[test]
fn ports_addresses_and_targets() {
    assert_printed(
        &["-L", "tcp://:8000-8001/a:1,b:2-3"],
        "
        services:
        - name: service-0
          addr: :8000
          handler:
            type: tcp
          listener:
            type: tcp
          forwarder:
            nodes:
            - name: target-0
              addr: a:1
        - name: service-1
          addr: :8001
          handler:
            type: tcp
          listener:
            type: tcp
          forwarder:
            nodes:
            - name: target-1
              addr: b:2
        ",
    );
    let text = printed(&["-L", "tcp://:1/a:1-3,b"]);
    assert_eq!(text.matches("- name: target-").count(), 4);
    let text = printed(&["-L", "tcp://:1-3/a:1"]);
    assert_eq!((text.matches("service-").count(), text.matches("addr: a:1").count()), (3, 3));
    // The path stays percent-encoded; what it cannot hold is encoded.
    assert!(printed(&["-L", "tun:///h%2Cx?net=1.1.1.1/8"]).contains("addr: h%2Cx\n"));
    assert!(printed(&["-L", "tun:///hö?net=1.1.1.1/8"]).contains("addr: h%C3%B6\n"));
    // The host of a service is taken as it is, a node's is a list.
    assert!(printed(&["-L", "tun://a,b/h?net=1.1.1.1/8"]).contains("addr: \"a,b\"\n"));
    let text = printed(&["-L", "router://:1", "-F", "router://a:1,,b:2"]);
    for wanted in
        ["name: node-0\n      addr: a:1\n", "name: node-1\n      addr: b:2\n", "serverName: b\n"]
    {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn users_come_from_the_authority_or_the_query() {
    for url in [
        "router://u:p%2F@:1",
        "router://:1?auth=dTpwLw",
        "router://:1?AUTH=dTpwLw==",
        "router://u:p%2F@:1?auth=eDp5",
    ] {
        assert_printed(
            &["-L", url],
            "
            services:
            - name: service-0
              addr: :1
              handler:
                type: router
                auth:
                  username: u
                  password: p/
              listener:
                type: tcp
            ",
        );
    }
    let text = printed(&["-L", "router://:1", "-F", "router://u@h:1"]);
    assert!(text.contains(
        "connector:\n        type: router\n        auth:\n          username: u\n      dialer"
    ));
}

#[test]
fn parameters_go_to_every_metadata_unless_a_prefix_says_which() {
    assert_printed(
        &["-L", "router://:1?a=1&service.b=2&handler.c=x+y&listener.d=4&handler.a=5"],
        "
        services:
        - name: service-0
          addr: :1
          handler:
            type: router
            metadata:
              a: \"5\"
              c: \"x y\"
          listener:
            type: tcp
            metadata:
              a: \"1\"
              d: \"4\"
          metadata:
            a: \"1\"
            b: \"2\"
        ",
    );
    let text = printed(&[
        "-L",
        "router://:1",
        "-F",
        "router://h:1?hop.a=1&node.b=2&connector.c=3&dialer.d=4&e=5",
    ]);
    for (owner, keys) in [
        ("type: router\n        metadata:\n", "          c: \"3\"\n          e: \"5\"\n"),
        ("serverName: h\n        metadata:\n", "          d: \"4\"\n          e: \"5\"\n"),
        ("      metadata:\n", "        b: \"2\"\n        e: \"5\"\n"),
        ("    metadata:\n", "      a: \"1\"\n      e: \"5\"\n"),
    ] {
        assert!(text.contains(&format!("{owner}{keys}")), "{owner}{keys}\n{text}");
    }
}

#[test]
fn parameters_that_become_something_else() {
    for (query, wanted) in [
        (
            "certFile=c&key=k&ca=a",
            "listener:\n    type: tcp\n    tls:\n      certFile: c\n      keyFile: k\n      caFile: a\n",
        ),
        ("interface=eth0&so_mark=5", "  metadata:\n    interface: eth0\n    so_mark: \"5\"\n"),
        (
            "netns=a&netns.out=b&proxyProtocol=1",
            "  metadata:\n    proxyProtocol: \"1\"\n    netns: a\n    netns.out: b\n",
        ),
        ("retries=3", "  handler:\n    type: router\n    retries: \"3\"\n  listener"),
        (
            "admission=~10.0.0.0/8,::1",
            "admissions:\n- name: admission-0\n  whitelist: true\n  matchers:\n  - 10.0.0.0/8\n  - ::1\n",
        ),
        ("admission=10.0.0.0/8", "  admission: admission-0\n"),
        ("bypass=a", "bypasses:\n- name: bypass-0\n  matchers:\n  - a\n"),
        (
            "resolver=1.1.1.1,tls://a&prefer=ipv6",
            "resolvers:\n- name: resolver-0\n  nameservers:\n  - addr: 1.1.1.1\n    prefer: ipv6\n  - addr: tls://a\n    prefer: ipv6\n",
        ),
        (
            "hosts=a:1.1.1.1,b",
            "hosts:\n- name: hosts-0\n  mappings:\n  - hostname: a\n    ip: 1.1.1.1\n",
        ),
        (
            "limiter.in=1MB&limiter.out=2MB&limiter.conn.in=3KB",
            "limiters:\n- name: limiter-0\n  limits:\n  - \"$ 1MB 2MB\"\n  - \"$$ 3KB \"\n",
        ),
        ("climiter=5", "climiters:\n- name: climiter-0\n  limits:\n  - \"$ 5\"\n"),
        ("rlimiter=0.5", "rlimiters:\n- name: rlimiter-0\n  limits:\n  - \"$ 0.5\"\n"),
        (
            "dns=1.1.1.1,::1",
            "listener:\n    type: tcp\n    metadata:\n      dns:\n      - 1.1.1.1\n      - ::1\n",
        ),
    ] {
        let text = printed(&["-L", &format!("router://:1?{query}")]);
        assert!(text.contains(wanted), "{query}\n{text}");
    }
    let text = printed(&["-L", "tcp://:1/a:1?strategy=fifo&max_fails=2"]);
    assert!(
        text.contains(
            "    selector:\n      strategy: fifo\n      maxFails: \"2\"\n      failTimeout: 30s\n"
        ),
        "{text}"
    );
    let text =
        printed(&["-L", "router+wss://:1?ca=a&rejectUnknownSNI=true&serverNames=a,b&bindNames=1"]);
    assert!(
        text.contains(
            "    tls:\n      caFile: a\n      rejectUnknownSNI: \"true\"\n      serverNames:\n      - a\n      - b\n      bindNames: \"1\"\n"
        ),
        "{text}"
    );
    for (query, wanted) in [
        (
            "secure=true&serverName=x&caFile=a",
            "tls:\n          caFile: a\n          secure: \"true\"\n          serverName: x\n",
        ),
        (
            "tls.secure=true&tls.servername=x",
            "tls:\n          secure: \"true\"\n          serverName: x\n",
        ),
        (
            "failTimeout=5s",
            "selector:\n      strategy: round\n      maxFails: 1\n      failTimeout: 5s\n",
        ),
        ("bypass=a", "    bypass: bypass-0\n"),
        ("interface=eth0", "    metadata:\n      interface: eth0\n"),
    ] {
        let text = printed(&["-L", "router://:1", "-F", &format!("router://h:1?{query}")]);
        assert!(text.contains(wanted), "{query}\n{text}");
    }
}

#[test]
fn every_service_uses_the_chain_and_every_node_url_is_a_hop() {
    let text = printed(&[
        "-L",
        "router://:1",
        "-L",
        "tun:///h?net=1.1.1.1/8",
        "-L",
        "rtcp://:2/a:1",
        "-F",
        "router://a:1",
        "-F",
        "router://b:1",
    ]);
    assert_eq!(text.matches("chain: chain-0\n").count(), 3);
    assert!(text.contains("listener:\n    type: rtcp\n    chain: chain-0\n"));
    assert!(text.contains("- name: hop-0\n") && text.contains("- name: hop-1\n"));
    assert_eq!(text.matches("- name: node-0\n").count(), 2);
}

#[test]
fn flags_and_environment_come_after_files() {
    let file = "log: {level: warn, format: text}\nservices: [{name: a, addr: ':1', handler: {type: router}}]\n";
    let level = |arguments: &[&str], variable: Option<&str>| {
        let args = cli::parse(arguments.iter().copied()).unwrap();
        let environment = Environment {
            logger_level: variable.map(|value| Variable {
                name: "GOST_LOGGER_LEVEL".to_owned(),
                value: value.to_owned(),
            }),
            ..Environment::default()
        };
        let mut files =
            |_: &ConfigSource| Ok(Content { bytes: file.as_bytes().to_vec(), content_type: None });
        let outcome = load(&args, &environment, &mut files, Profile::Compat);
        outcome.config.unwrap().log.level
    };
    assert_eq!(level(&["-C", "a.yaml"], None), LogLevel::Warn);
    assert_eq!(level(&["-C", "a.yaml"], Some("error")), LogLevel::Error);
    assert_eq!(level(&["-C", "a.yaml", "-D"], Some("error")), LogLevel::Debug);
    assert_eq!(level(&["-C", "a.yaml", "-D", "-DD"], None), LogLevel::Trace);
}

#[test]
fn the_api_and_metrics_flags_replace_the_objects() {
    let text = printed(&[
        "-L",
        "router://:1",
        "-api",
        "u:p@:2?pathPrefix=/x&accesslog=true",
        "-metrics",
        "h:3?path=/m",
    ]);
    for wanted in [
        "metrics:\n  addr: h:3\n  path: /m\n",
        "api:\n  addr: :2\n  auth:\n    username: u\n    password: p\n  pathPrefix: /x\n  accesslog: \"true\"\n",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn metrics_of_a_flag_are_served() {
    let metrics = |arguments: &[&str]| {
        let outcome = run(&[&["-L", "router://127.0.0.1:1"], arguments].concat());
        let shown: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
        let config = outcome.config.unwrap_or_else(|| panic!("{}", shown.join("\n")));
        let metrics = config.metrics.unwrap();
        (metrics.addr, metrics.path, metrics.auther.is_some())
    };
    let is = |addr: &str, path: &str, auth| (addr.to_owned(), path.to_owned(), auth);
    assert_eq!(metrics(&["-metrics", ":9000"]), is(":9000", "/metrics", false));
    assert_eq!(metrics(&["-metrics", "u:p@[::1]:9000?path=/m"]), is("[::1]:9000", "/m", true));
    assert_eq!(
        metrics(&["-metrics", "unix:///run/m.sock?path=/m"]),
        is("unix:///run/m.sock", "/m", false)
    );
}

#[test]
fn an_admission_of_a_url_counts() {
    let outcome = run(&["-L", "router://127.0.0.1:1?admission=~10.0.0.0/8,::1,office.example"]);
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
    let config = outcome.config.unwrap();
    let ServiceKind::Hub(hub) = &config.services[0].kind else { panic!("{config:?}") };
    let [admission] = &hub.rules.admissions[..] else { panic!("{hub:?}") };
    assert!(admission.whitelist);
    let Provider::Rows(rows) = &admission.matchers.provider else { panic!("{admission:?}") };
    let matchers: Vec<&Matcher> = rows.inline.iter().map(|row| &row.value).collect();
    let prefix = |text: &str| Matcher::Prefix(text.parse().unwrap());
    let name = Matcher::Name("office.example".to_owned());
    assert_eq!(matchers, [&prefix("10.0.0.0/8"), &prefix("::1/128"), &name]);
}
