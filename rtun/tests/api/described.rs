//! `/v1/openapi.json` against the server: whatever is asked, each answer has a status, a type and a body that are described there.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    HUB,
    common::{
        World, reaches, wait_until,
        web::{Web, WebAnswer},
    },
    schema::complaints,
};

/// What is described, as an API with these answers.
struct Described {
    description: Value,
    /// Method, path and status of the answers so far.
    seen: BTreeSet<(String, String, u16)>,
}

impl Described {
    fn of(web: &Web<'_>) -> Self {
        let description = web.get("/v1/openapi.json").json();
        assert_eq!(description["openapi"], "3.1.0");
        Self { description, seen: BTreeSet::new() }
    }

    /// Method and path of everything that may be asked.
    fn operations(&self) -> Vec<(String, String)> {
        let paths = self.description["paths"].as_object().unwrap();
        let of = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        &self.description["paths"][path][method.to_lowercase()]
    }

    /// The answer to a request for what is described at `pattern` is one of those that are described there.
    fn check(&mut self, method: &str, pattern: &str, asked: &str, answer: &WebAnswer) {
        let asked = format!("{method} {asked}");
        let known = &self.operation(method, pattern)["responses"][answer.status.to_string()];
        assert!(known.is_object(), "{asked}: {} is not described: {answer:?}", answer.status);
        let types = known["content"].as_object().unwrap();
        let given = answer.content_type().unwrap_or_default();
        let matches = |kind: &&String| match kind.strip_suffix("/*") {
            Some(family) => given.split('/').next() == Some(family),
            None => *kind == given,
        };
        let described = types.keys().find(matches);
        let kind = described.unwrap_or_else(|| panic!("{asked}: {given} is not described"));
        if given == "application/json" {
            let answered = answer.json();
            let complaints = complaints(&self.description, &types[kind]["schema"], &answered);
            assert!(complaints.is_empty(), "{asked}: {complaints:?}: {answered}");
        }
        self.seen.insert((method.to_owned(), pattern.to_owned(), answer.status));
    }
}

/// Values of a parameter: some that are taken, and some that are not, if there are any.
fn values(schema: &Value) -> (Vec<String>, Vec<&'static str>) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (schema["type"].as_str().unwrap(), &schema["enum"], &schema["format"]) {
        (_, Value::Array(words), _) => (words.iter().map(text).collect(), vec!["sideways"]),
        ("integer", ..) => {
            (vec![text(&schema["minimum"]), text(&schema["maximum"])], vec!["x", "-1", "1.5"])
        }
        ("number", ..) => {
            (vec!["0".into(), "0.5".into(), text(&schema["maximum"])], vec!["x", "-1", "NaN"])
        }
        ("boolean", ..) => (vec!["true".into(), "false".into()], vec!["maybe"]),
        (_, _, Value::String(_)) => {
            (vec!["1a2b3c4d-1111-4222-8333-444455556666".into()], vec!["x"])
        }
        _ if schema["anyOf"].is_array() => {
            (vec!["192.168.123.1".into(), "fd00::1".into()], vec!["x"])
        }
        _ => (vec!["host-1".into(), "%00%ff%e2%80%ae%3cscript%3e".into()], vec![]),
    }
}

#[test]
fn every_answer_is_as_it_is_described() {
    let Some(world) = World::new() else { return };
    let hub = world.hub(&format!("{HUB}quotas: [{{name: main, limit: 1TB}}]\n"));
    let one = world.machine("host-1");
    let two = world.machine("host-2");
    let _hosts = [world.join(&one, 1), world.join(&two, 2)];
    reaches(&one, "192.168.123.2");
    let web = Web::new(&world.hub);
    let mut described = Described::of(&web);
    // So that the lists have something in them: traffic, lost packets and their samples, a problem.
    let sampling = json!({"enabled": true, "for": 600}).to_string();
    web.ask("POST", "/v1/drops/sampling", &[], &sampling);
    wait_until("a sample of what is lost", || {
        super::pings(&one, "192.168.123.9");
        web.get("/v1/drops").json()["samples"].as_array().is_some_and(|it| !it.is_empty())
    });
    for list in ["hosts", "namespaces", "routes"] {
        let total = web.get(&format!("/v1/{list}")).json()["total"].clone();
        assert!(total.as_u64() > Some(0), "{list}");
    }
    assert!(!web.get("/v1/traffic").json()["flows"].as_array().unwrap().is_empty());

    let bodies =
        ["", "{}", "{", "7", "{\"name\": \"x\"}", "{\"enabled\": false}", "{\"used\": \"x\"}"];
    for (method, pattern) in described.operations() {
        if pattern == "/v1/events" {
            continue;
        }
        let operation = described.operation(&method, &pattern).clone();
        let has_body = operation["requestBody"].is_object();
        let parameters = operation["parameters"].as_array().unwrap().clone();
        let required: String = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query" && parameter["required"] == true)
            .map(|parameter| parameter["name"].as_str().unwrap())
            .map(|name| match name {
                "addresses" => "&addresses=192.168.123.1/24".to_owned(),
                _ => format!("&{name}=192.168.123.1"),
            })
            .collect();
        // Some of what is there, and of what is not; each list, and others.
        let groups = match pattern.contains("{group}") {
            true => vec!["routers", "services", "quotas", "hosts", "caches", "x%2F"],
            false => vec![""],
        };
        for group in groups {
            for name in ["main", "nobody", "%20", "%ff%00", "page.js"] {
                let path = pattern.replace("{group}", group).replace("{name}", name);
                for body in if has_body { &bodies[..] } else { &bodies[..1] } {
                    let answer = web.ask(&method, &path, &[], body);
                    described.check(&method, &pattern, &format!("{path} {body}"), &answer);
                }
                if !pattern.contains("{name}") {
                    break;
                }
            }
        }
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let (taken, refused) = values(&parameter["schema"]);
            let taken = taken.iter().map(|value| (value.as_str(), true));
            for (value, is_taken) in taken.chain(refused.into_iter().map(|value| (value, false))) {
                let path = format!("{pattern}?x=y{required}&{name}={value}");
                let answer = web.ask(&method, &path, &[], "");
                described.check(&method, &pattern, &path, &answer);
                // GOST takes any format for JSON, and rtun writes nowhere else.
                if name != "format" && name != "path" {
                    let is_refused = answer.status == 400;
                    assert!(is_taken || is_refused, "{path}: {answer:?}");
                }
            }
        }
        if has_body {
            let path = pattern.replace("{group}", "routers").replace("{name}", "main");
            let long = "x".repeat((1 << 20) + 1);
            described.check(&method, &pattern, "a long body", &web.ask(&method, &path, &[], &long));
        }
        let path = pattern.replace("{group}", "routers").replace("{name}", "main");
        let evil = web.ask(&method, &path, &["Origin: http://evil.example"], "");
        let form = web.ask(&method, &path, &["Content-Type: text/plain"], "");
        let no_host = web.raw(format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert_eq!((evil.status, no_host.status), (403, 400), "{method} {path}");
        assert_eq!(form.status == 415, method != "GET", "{method} {path}: {form:?}");
        for answer in [evil, form, no_host] {
            described.check(&method, &pattern, &path, &answer);
        }
    }
    // Which methods a path has is said as it is described.
    for (path, methods) in [
        ("/v1/hosts", "GET"),
        ("/config/routers/x", "GET, PUT, DELETE"),
        ("/config/reload", "POST"),
    ] {
        let asked = web.ask("OPTIONS", path, &[], "");
        let allowed = format!("\r\nallow: {methods}, OPTIONS").to_lowercase();
        assert!(asked.status == 204 && asked.head.contains(&allowed), "{asked:?}");
    }
    // What is answered where nothing is described, too.
    for (method, path, status) in
        [("GET", "/v2", 404), ("PATCH", "/v1/hosts", 405), ("TRACE", "/config", 405)]
    {
        assert_eq!(web.ask(method, path, &[], "").status, status, "{method} {path}");
    }
    // All that can be had without an end of the process, a failing disk or a slow client was had.
    for (method, pattern) in described.operations() {
        let statuses = described.operation(&method, &pattern)["responses"].as_object().unwrap();
        let unseen: Vec<_> = statuses
            .keys()
            .filter(|status| {
                !described.seen.contains(&(
                    method.clone(),
                    pattern.clone(),
                    status.parse().unwrap(),
                ))
            })
            .filter(|status| !["401", "408", "409", "500", "503"].contains(&status.as_str()))
            .filter(|_| pattern != "/v1/events")
            .collect();
        assert!(
            unseen.is_empty(),
            "{method} {pattern}: {unseen:?} are described and were not answered"
        );
    }
    hub.stop();
}

/// Schemathesis, a program that makes requests of a description, finds nothing; `RTUN_SCHEMATHESIS` is its path.
#[test]
fn schemathesis_finds_nothing() {
    let Some(program) = std::env::var_os("RTUN_SCHEMATHESIS") else {
        use std::io::Write as _;
        // Past the test harness, which shows the output of failed tests only.
        let _ = std::io::stderr().write_all(b"skipped: RTUN_SCHEMATHESIS names no schemathesis\n");
        return;
    };
    let Some(world) = World::new() else { return };
    let hub = world.hub(HUB);
    let web = Web::new(&world.hub);
    let mut command = Command::new(program);
    command.current_dir(world.path("")).stdin(Stdio::null());
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,allow_header_conformance";
    let said = world.path("schemathesis.log");
    let output = std::fs::File::create(&said).unwrap();
    command.args(["run", "http://127.0.0.1:18080/v1/openapi.json", "--checks", checks]);
    command.args([
        "--max-examples",
        "50",
        "--seed",
        "1",
        "--exclude-path",
        "/v1/events",
        "--generation-database",
        "none",
    ]);
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let run = world.hub.spawn(command).unwrap();
    let status = run.wait(std::time::Duration::from_secs(300)).unwrap();
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}: {}",
        std::fs::read_to_string(&said).unwrap()
    );
    assert_eq!(web.get("/v1/status").status, 200);
    hub.stop();
}
