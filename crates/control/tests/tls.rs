//! Encrypted plugins: whose certificate is taken, and which name is asked for.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use base64::Engine;
use rtun_control::{PluginError, connect_route_plugin};
use rtun_settings::{ClientTls, PluginSettings};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use support::{facts, namespace};
use tokio::net::{TcpListener, TcpStream};

const NAME: &str = "plugin.example";

/// Tells this program, when it runs itself, where the certificate and key are.
const DIRECTORY: &str = "RTUN_TEST_CERTIFICATE";

/// Takes TLS connections for `backend`, and notes which names were asked for.
async fn front(
    backend: SocketAddr,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    protocol: &[u8],
) -> (SocketAddr, Arc<Mutex<Vec<Option<String>>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = Arc::new(Mutex::new(Vec::new()));
    let asked_for = Arc::clone(&names);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            asked_for.lock().unwrap().push(name);
            tokio::spawn(async move {
                let mut backend = TcpStream::connect(backend).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut backend).await;
            });
        }
    });
    (address, names)
}

/// The settings of both plugins that speak TLS, without the TLS settings, and the names they are asked by.
async fn plugins(
    certificate: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
) -> [(PluginSettings, Arc<Mutex<Vec<Option<String>>>>); 2] {
    let http = support::http_server(facts()).await;
    let (grpc, _task) = support::grpc::Fake::new(facts()).serve("127.0.0.1:0").await;
    let (http, http_names) = front(http, certificate.clone(), key.clone_key(), b"http/1.1").await;
    let (grpc, grpc_names) = front(grpc, certificate.clone(), key.clone_key(), b"h2").await;
    let mut over_https = support::http(http, "route");
    over_https.addr = format!("https://{http}/route");
    [(over_https, http_names), (support::grpc(grpc), grpc_names)]
}

async fn ask(
    settings: &PluginSettings,
    verify: bool,
    name: Option<&str>,
) -> Result<bool, PluginError> {
    let tls = ClientTls { verify, server_name: name.map(str::to_owned) };
    let settings = PluginSettings { tls: Some(tls), ..settings.clone() };
    let plugin = connect_route_plugin(&settings).unwrap();
    let answer = plugin.route(namespace(), [10, 0, 0, 7].into()).await;
    answer.map(|gateway| gateway.is_some())
}

fn is_about_the_certificate(answer: &Result<bool, PluginError>) -> bool {
    matches!(answer, Err(PluginError::Unreachable(text)) if text.contains("certificate"))
}

#[tokio::test]
async fn an_unknown_certificate_is_taken_only_where_none_is_verified() {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    for (settings, names) in plugins(made.cert.der(), &key).await {
        assert_eq!(ask(&settings, false, None).await, Ok(true), "{settings:?}");
        assert_eq!(ask(&settings, false, Some("other.example")).await, Ok(true));
        let refused = ask(&settings, true, Some(NAME)).await;
        assert!(is_about_the_certificate(&refused), "{settings:?}: {refused:?}");
        let expected = [None, Some("other.example".to_owned())];
        assert_eq!(*names.lock().unwrap(), expected, "an address is no name to ask for");
    }
}

#[tokio::test]
async fn without_tls_in_its_settings_a_grpc_plugin_is_not_encrypted() {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let [_, (settings, names)] = plugins(made.cert.der(), &key).await;
    let plugin = connect_route_plugin(&settings).unwrap();
    assert!(plugin.route(namespace(), [10, 0, 0, 7].into()).await.is_err());
    assert!(names.lock().unwrap().is_empty(), "no handshake");
}

#[test]
fn a_certificate_that_the_system_trusts_is_taken_for_its_name() {
    let directory = std::env::temp_dir().join(format!("rtun-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    std::fs::write(directory.join("certificate"), pem).unwrap();
    std::fs::write(directory.join("key"), made.signing_key.serialize_der()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "with_a_trusted_certificate"])
        .env("SSL_CERT_FILE", directory.join("certificate"))
        .env(DIRECTORY, &directory)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by a_certificate_that_the_system_trusts_is_taken_for_its_name"]
async fn with_a_trusted_certificate() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let certificate = CertificateDer::from_pem_file(directory.join("certificate")).unwrap();
    let key = PrivateKeyDer::Pkcs8(std::fs::read(directory.join("key")).unwrap().into());
    for (settings, names) in plugins(&certificate, &key).await {
        assert_eq!(ask(&settings, true, Some(NAME)).await, Ok(true), "{settings:?}");
        assert_eq!(*names.lock().unwrap(), [Some(NAME.to_owned())]);
        for name in [Some("other.example"), None] {
            let refused = ask(&settings, true, name).await;
            assert!(is_about_the_certificate(&refused), "{settings:?} as {name:?}: {refused:?}");
        }
    }
}
