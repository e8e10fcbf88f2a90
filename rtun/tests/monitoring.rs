//! The files of docs/monitoring, which a real Prometheus loads, and the series that docs/operating.md describes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeSet,
    fs, io,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use common::{THREE_HOSTS, World, programs, reaches, wait_until};
use rtun_lab::NetNamespace;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn monitoring(name: &str) -> PathBuf {
    root().join("docs/monitoring").join(name)
}

fn operating_page() -> String {
    fs::read_to_string(root().join("docs/operating.md")).unwrap()
}

/// The names of alarms, in the order of the file.
fn alarms() -> Vec<String> {
    let rules = fs::read_to_string(monitoring("rtun.rules.yml")).unwrap();
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// The expressions of the dashboard, with its variables filled in.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(monitoring("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let filled = expressions.map(|expression| {
        let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        expression.replace("$job", "rtun")
    });
    filled.collect()
}

/// The names of series in a text, without the endings of a histogram's.
fn series(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours =
        words.filter(|word| ["rtun_", "gost_", "process_"].iter().any(|it| word.starts_with(it)));
    let names = ours.map(|word| {
        let endings = ["_bucket", "_sum", "_count"];
        endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned()
    });
    names.collect()
}

/// An answer of Prometheus's API, of the path for this query; null while it starts.
fn ask(machine: &NetNamespace, path: &str, query: Option<&str>) -> Value {
    let encoded: String =
        query.unwrap_or_default().bytes().map(|byte| format!("%{byte:02x}")).collect();
    let query = query.map(|_| format!("?query={encoded}")).unwrap_or_default();
    let request = format!("GET /api/v1/{path}{query} HTTP/1.0\r\n\r\n");
    let answer = machine.run(move || -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", 9090))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.unwrap().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_default()
}

#[test]
fn every_alarm_is_heard_when_it_must_be() {
    let command = Command::new("/usr/bin/promtool")
        .args(["test", "rules"])
        .arg(monitoring("rtun.rules.test.yml"))
        .output();
    let output = match command {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert!(std::env::var_os("RTUN_TESTS_MUST_RUN").is_none(), "no promtool: {error}");
            let _ = io::stderr().write_all(b"skipped: no promtool\n");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let tests = fs::read_to_string(monitoring("rtun.rules.test.yml")).unwrap();
    let page = operating_page();
    for name in alarms() {
        let heard = format!("    alertname: {name}\n    exp_alerts:\n    - exp_labels:");
        assert!(tests.contains(&heard), "no test in which {name} is heard");
        assert!(
            tests.contains(&format!("alertname: {name}}}\n")),
            "no test in which {name} is silent"
        );
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/operating.md says nothing of {name}"
        );
    }
}

#[test]
fn a_prometheus_loads_the_rules_and_every_panel_has_its_series() {
    let Some(world) = World::new() else { return };
    let _hub = world.hub(&format!("{THREE_HOSTS}metrics: {{addr: '127.0.0.1:9000'}}\n"));
    let (one, two) = (world.machine("host-1"), world.machine("host-2"));
    let own = format!("{}:9000", programs::address(&one));
    let service = "tun:///host-1?net=192.168.123.1/24&name=tun0";
    let arguments = ["-L", service, "-F", "router://server_ip:8443", "-metrics", &own];
    let _hosts = [world.start(&one, &arguments), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ['{}']
scrape_configs:
- job_name: rtun
  static_configs: [{{targets: ['127.0.0.1:9000', '{own}']}}]
",
        monitoring("rtun.rules.yml").display()
    );
    let Some(_prometheus) = programs::prometheus(&world, &world.hub, &config) else { return };
    let up = || ask(&world.hub, "query", Some("sum(up)"))["data"]["result"][0]["value"][1] == "2";
    wait_until("both pages are read", up);

    let rules = || {
        let rules = ask(&world.hub, "rules", None)["data"]["groups"][0]["rules"].take();
        rules.as_array().cloned().unwrap_or_default()
    };
    let is_read = |rule: &Value| rule["health"] != "unknown";
    wait_until("the rules are read", || !rules().is_empty() && rules().iter().all(is_read));
    for rule in rules() {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
    assert_eq!(rules().len(), alarms().len());

    let described = series(&operating_page());
    let names = ask(&world.hub, "label/__name__/values", None);
    let shown = series(&names["data"].to_string());
    assert!(shown.len() > 20, "{shown:?}");
    let hidden: Vec<_> = shown.difference(&described).collect();
    assert!(hidden.is_empty(), "docs/operating.md says nothing of {hidden:?}");

    let rules = fs::read_to_string(monitoring("rtun.rules.yml")).unwrap();
    let expressions = dashboard();
    assert!(expressions.len() > 30, "{expressions:?}");
    for text in expressions.iter().chain([&rules]) {
        let unknown: Vec<_> = series(text).difference(&described).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?} in {text}");
    }
    for expression in &expressions {
        let answer = ask(&world.hub, "query", Some(expression));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        // Where nothing is lost, asked for or read there is no series yet.
        let is_there = series(expression).iter().all(|name| shown.contains(name));
        let may_be_empty = expression.ends_with("> 0") || expression.contains("rate(");
        let is_empty = answer["data"]["result"].as_array().unwrap().is_empty();
        assert!(!is_there || may_be_empty || !is_empty, "{expression}: {answer}");
    }
}
