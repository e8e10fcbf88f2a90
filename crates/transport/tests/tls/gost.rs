//! Against GOST itself, where `RTUN_GOST` names its program.

use std::{ffi::OsString, process::Stdio, sync::Arc};

use rtun_settings::{DialTls, ListenOptions, SocketOptions, TlsVersions, Verification};
use rtun_tls::Connector;
use rtun_transport::tcp;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use super::{PATIENCE, files::Dir, making, off, own, soon};

/// GOST's program; says so if there is none.
fn program() -> Option<OsString> {
    let program = std::env::var_os("RTUN_GOST");
    if program.is_none() {
        eprintln!("skipped: RTUN_GOST does not name a program");
    }
    program
}

fn start(program: &OsString, home: &Dir, arguments: &[&str]) -> Child {
    Command::new(program)
        .args(arguments)
        .env("HOME", home.path())
        .current_dir(home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn reach(address: &str) -> TcpStream {
    let address = address.parse::<std::net::SocketAddr>().unwrap().into();
    soon(async {
        loop {
            if let Ok(stream) =
                tcp::connect(&address, &SocketOptions::default(), None, PATIENCE).await
            {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn gost_as_server_with_its_own_certificate() {
    let Some(program) = program() else { return };
    let home = Dir::new();
    let address = free_address().await;
    let _gost = start(&program, &home, &["-L", &format!("http+tls://{address}")]);
    drop(reach(&address).await);
    let ca_file = home.file(".gost/auto-ca-cert.pem");
    let first = Connector::new(&off(), &[]).unwrap();
    let connected =
        soon(rtun_transport::tls::connect(&first, Arc::new(reach(&address).await), "127.0.0.1"))
            .await;
    let certificate = connected.unwrap().certificate.unwrap();
    let full = Verification::Full { ca: Some(ca_file.clone()) };
    for (verification, fingerprint, server_name) in [
        (Verification::Off, None, None),
        (Verification::Off, Some(certificate.sha256), None),
        (Verification::Chain { ca: ca_file }, None, None),
        (full, Some(certificate.sha256), Some("gost.run".to_owned())),
    ] {
        for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
            let settings = DialTls {
                verification: verification.clone(),
                fingerprints: fingerprint.into_iter().collect(),
                server_name: server_name.clone(),
                versions,
                ..DialTls::default()
            };
            let connector = Connector::new(&settings, &[]).unwrap();
            let below = Arc::new(reach(&address).await);
            let stream = soon(rtun_transport::tls::connect(&connector, below, "127.0.0.1"))
                .await
                .unwrap()
                .stream;
            // A proxy that is asked for nowhere answers all the same.
            stream.write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = [0; 9];
            soon(stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 ", "{versions:?} {verification:?}");
        }
    }
}

#[tokio::test]
async fn gost_as_client_that_verifies_the_generated_certificate() {
    let Some(program) = program() else { return };
    let home = Dir::new();
    let (acceptor, _) = making(&own(), home.file("hub"));
    let listener = tcp::listen("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let hub = listener.local_addr().unwrap();
    let entry = free_address().await;
    let ca_file = home.file("hub/auto-ca-cert.pem");
    let node =
        format!("http+tls://{hub}?secure=true&serverName=gost.run&caFile={}", ca_file.display());
    let _gost = start(&program, &home, &["-L", &format!("tcp://{entry}/there:80"), "-F", &node]);
    let mut client = reach(&entry).await;
    client.write_all(b"x").await.unwrap();
    let (below, _) = soon(listener.accept()).await.unwrap();
    let accepted = soon(rtun_transport::tls::accept(&acceptor, Arc::new(below))).await.unwrap();
    assert_eq!(accepted.server_name.as_deref(), Some("gost.run"));
    let mut request = [0; 16];
    soon(accepted.stream.read_exact(&mut request)).await.unwrap();
    assert_eq!(&request, b"CONNECT there:80");
}
