//! The Web API beyond its machine: TLS with a certificate of its own or one that is made, users and readers; and what is refused there.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use rtun_lab::NetNamespace;
use rtun_tls::fingerprint;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;

use super::common::{
    HUB as HUB_ADDRESS, SOON, World,
    programs::Certificate,
    wait_until,
    web::{Web, WebAnswer},
};

const NAME: &str = "hub.example";

/// A hub whose API is at `api`.
fn config(api: &str) -> String {
    format!(
        "
services:
- name: hub
  addr: :8443
  handler: {{type: router, metadata: {{router: main}}}}
  listener: {{type: tcp}}
routers:
- name: main
  routes: [{{dst: 192.168.123.1, gateway: host-1}}]
authers:
- name: operators
  auths: [{{username: admin, password: sesame}}, {{username: monitor, password: watchful}}]
api: {api}
"
    )
}

/// Asks from another machine over TLS. `None`: there is no answer, since the certificate is not one of `authority` for [`NAME`].
fn ask(
    from: &NetNamespace,
    authority: &CertificateDer<'static>,
    login: Option<&str>,
    request: &str,
    body: &str,
) -> Option<WebAnswer> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
    let login = login.map_or(String::new(), |login| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        format!("Authorization: Basic {}\r\n", STANDARD.encode(login))
    });
    let request = format!(
        "{request} HTTP/1.1\r\nHost: {HUB_ADDRESS}:18080\r\n{login}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = from.run(move || {
        let stream = TcpStream::connect((HUB_ADDRESS, 18080)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut stream = StreamOwned::new(tls, stream);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Some(String::from_utf8(answer).unwrap())
    });
    answer.unwrap().map(|answer| WebAnswer::read(&answer))
}

#[test]
fn users_ask_over_tls_by_the_hubs_own_certificate() {
    let Some(world) = World::new() else { return };
    let certificate = Certificate::new(&world, NAME);
    let (file, key) = (certificate.file.display(), certificate.key.display());
    let api = format!(
        "{{addr: ':18080', auther: operators, readers: [monitor], tls: {{certFile: '{file}', keyFile: '{key}'}}}}"
    );
    let hub = world.hub(&config(&api));
    hub.wait_for("the Web API is served");
    let away = world.machine("operator");
    let authority = CertificateDer::from_pem_file(&certificate.authority).unwrap();
    let own = CertificateDer::from_pem_file(&certificate.file).unwrap();
    assert_eq!(
        hub.wait_for("certificate of the Web API")["fingerprint"],
        fingerprint(&own).to_string()
    );

    let as_user = |login: Option<&str>, request: &str, body: &str| {
        ask(&away, &authority, login, request, body).unwrap()
    };
    let admin = Some("admin:sesame");
    let shown = as_user(admin, "GET /config", "");
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(!shown.body.contains("sesame") && shown.body.contains("***"), "{}", shown.body);
    let start = Instant::now();
    for wrong in ["admin:Sesame", "admin:", "nobody:sesame", "monitor:sesame"] {
        let refused = as_user(Some(wrong), "GET /v1/status", "");
        assert_eq!(refused.status, 401, "{wrong}: {refused:?}");
    }
    assert!(start.elapsed() >= Duration::from_secs(4), "each wrong password takes a second");
    assert_eq!(as_user(None, "GET /", "").status, 401);
    let monitor = Some("monitor:watchful");
    let table = json!({"routes": []}).to_string();
    assert_eq!(as_user(monitor, "GET /config/routers", "").status, 200);
    assert_eq!(as_user(monitor, "GET /v1/overview", "").json()["role"], "reader");
    for request in [
        "PUT /config/routers/main",
        "POST /config",
        "POST /config/reload",
        "POST /v1/drops/sampling",
    ] {
        let refused = as_user(monitor, request, &table);
        assert_eq!(refused.status, 403, "{request}: {refused:?}");
    }
    assert_eq!(as_user(admin, "PUT /config/routers/main", &table).status, 200);
    assert_eq!(as_user(admin, "GET /v1/overview", "").json()["role"], "admin");

    // Who does not trust the authority says nothing to the hub, and nobody is answered in the clear.
    let other = Certificate::new(&world, "other.example");
    let other = CertificateDer::from_pem_file(&other.authority).unwrap();
    assert!(ask(&away, &other, admin, "GET /config", "").is_none());
    let web = Web::at(&away, &format!("{HUB_ADDRESS}:18080"));
    let clear = web.get("/config");
    assert!(!clear.body.contains("hub") && clear.status == 0, "{clear:?}");
    hub.stop();
    let log = hub.log();
    assert!(!["sesame", "Sesame", "watchful"].iter().any(|secret| log.contains(secret)), "{log}");
}

#[test]
fn beyond_the_machine_there_are_users_and_tls_or_it_is_said_loudly() {
    let Some(world) = World::new() else { return };
    for (api, says) in [
        ("{addr: ':18080'}", "C06"),
        ("{addr: '10.0.0.1:18080'}", "C06"),
        ("{addr: '[::]:18080'}", "C06"),
        ("{addr: ':18080', auther: operators}", "C06"),
        ("{addr: ':18080', tls: {}}", "C06"),
        (
            "{addr: ':18080', tls: {certFile: /nonexistent, keyFile: /nonexistent}, auther: operators}",
            "/nonexistent",
        ),
    ] {
        let file = world.file("hub.yaml", &config(api));
        let hub = world.start(&world.hub, &["-C", file.to_str().unwrap()]);
        let status = hub.process.wait(SOON).unwrap();
        assert!(status.is_some_and(|status| !status.success()), "{api}: {status:?}: {}", hub.log());
        assert!(hub.log().contains(says), "{api}: {}", hub.log());
    }
    let away = world.machine("operator");
    let hub = world.hub(&config("{addr: ':18080', insecure: true}"));
    let web = Web::at(&away, &format!("{HUB_ADDRESS}:18080"));
    assert_eq!(web.get("/config/routers").status, 200);
    assert!(hub.log().contains("can change this configuration"), "{}", hub.log());
    hub.stop();

    // Without files the hub makes a certificate, keeps it, and says its fingerprint.
    let made = "{addr: ':18080', auther: operators, tls: {}}";
    let prints = [(); 2].map(|()| {
        let hub = world.hub(&config(made));
        let print =
            hub.wait_for("certificate of the Web API")["fingerprint"].as_str().unwrap().to_owned();
        hub.stop();
        print
    });
    assert_eq!(prints[0], prints[1]);
    assert_eq!(prints[0].len(), 64, "{}", prints[0]);
}

#[test]
fn operators_of_a_file_are_followed() {
    let Some(world) = World::new() else { return };
    let file = world.file("operators.txt", "admin sesame\nmonitor watchful\n");
    let listed =
        "auths: [{username: admin, password: sesame}, {username: monitor, password: watchful}]";
    let text = config("{addr: '127.0.0.1:18080', auther: operators, readers: [monitor]}");
    let text = text.replace(listed, &format!("file: {{path: {}}}", file.display()));
    let text = text + "metrics: {addr: '127.0.0.1:9000', auther: operators}\n";
    let hub = world.hub(&text);
    let asks = |login, method: &str, path: &str| {
        let port = if path == "/metrics" { 9000 } else { 18080 };
        let web = Web { login, ..Web::at(&world.hub, &format!("127.0.0.1:{port}")) };
        web.ask(method, path, &[], "").status
    };
    let admin = Some("admin:sesame");
    wait_until("its users", || asks(admin, "GET", "/config") == 200);
    assert_eq!(asks(admin, "GET", "/metrics"), 200);
    assert_eq!(asks(None, "GET", "/config"), 401);
    assert_eq!(asks(Some("monitor:watchful"), "GET", "/config"), 200);
    assert_eq!(asks(Some("monitor:watchful"), "POST", "/config/reload"), 403);

    // Without a reload another password counts, and the former one does not.
    std::fs::write(&file, "admin changed\nmonitor watchful\n").unwrap();
    wait_until("other users", || asks(Some("admin:changed"), "GET", "/config") == 200);
    for path in ["/config", "/metrics"] {
        assert_eq!(asks(admin, "GET", path), 401, "{path}");
    }
    // A file that goes takes nobody's permission away.
    std::fs::remove_file(&file).unwrap();
    hub.wait_for("a source fails; its last good rows stay");
    assert_eq!(asks(Some("admin:changed"), "GET", "/metrics"), 200);
    hub.stop();
}
