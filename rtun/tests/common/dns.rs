//! A name server of the test's own, which knows the hub by one name: over UDP, TCP, TLS and HTTPS.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rtun_lab::NetNamespace;
use rtun_settings::{CertificateFiles, ServerCertificate, ServerTls};
use rtun_tls::{Acceptor, CertificateOrigin};
use rtun_transport::{Stream, io_stream::IoStream, tls};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{at, programs::Certificate};

/// The ports of the kinds of servers.
pub const UDP: u16 = 5301;
pub const TCP: u16 = 5302;
pub const TLS: u16 = 5303;
pub const HTTPS: u16 = 5304;

/// A running name server, for as long as the process lives.
#[derive(Clone, Default)]
pub struct Dns {
    /// While it is set, nothing is answered.
    pub silent: Arc<AtomicBool>,
    /// Questions so far.
    pub questions: Arc<AtomicUsize>,
}

/// Serves all kinds on an address of a machine.
pub fn start(machine: &NetNamespace, address: &str, certificate: &Certificate) -> Dns {
    let dns = Dns::default();
    let Certificate { file, key, .. } = certificate;
    let files = CertificateFiles { certificate: file.clone(), key: key.clone() };
    let tls = ServerTls::new(ServerCertificate::Files(files.clone()));
    let acceptor = |protocols: &[&str]| {
        let origin = CertificateOrigin::Files(files.clone());
        Arc::new(Acceptor::new(&tls, origin, protocols).unwrap().0)
    };
    let kinds = [(TCP, None), (TLS, Some(acceptor(&[]))), (HTTPS, Some(acceptor(&["h2"])))];
    let bind = |port| -> SocketAddr { at(address, port) };
    let udp = machine.run(|| std::net::UdpSocket::bind(bind(UDP))).unwrap().unwrap();
    let listeners = kinds.map(|(port, tls)| {
        let listener = machine.run(|| std::net::TcpListener::bind(bind(port))).unwrap().unwrap();
        (port, listener, tls)
    });
    let server = dns.clone();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (port, listener, tls) in listeners {
                tokio::spawn(server.clone().accept(port, listener, tls));
            }
            server.datagrams(udp).await
        })
    };
    machine.thread(serve).unwrap();
    dns
}

impl Dns {
    async fn datagrams(self, socket: std::net::UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).await?;
            if let Some(answer) = self.answer(&query[..length]) {
                socket.send_to(&answer, from).await?;
            }
        }
    }

    async fn accept(
        self,
        port: u16,
        listener: std::net::TcpListener,
        acceptor: Option<Arc<Acceptor>>,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            let (server, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move { server.connection(port, client, acceptor).await });
        }
    }

    async fn connection(
        self,
        port: u16,
        client: TcpStream,
        acceptor: Option<Arc<Acceptor>>,
    ) -> io::Result<()> {
        let mut stream: Arc<dyn Stream> = Arc::new(client);
        if let Some(acceptor) = acceptor {
            stream = tls::accept(&acceptor, stream).await.map_err(io::Error::other)?.stream;
        }
        if port == HTTPS {
            return self.requests(stream).await;
        }
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).await?;
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).await?;
            let Some(answer) = self.answer(&query) else { continue };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
        }
    }

    /// DNS over HTTPS (RFC 8484), by POST.
    async fn requests(self, stream: Arc<dyn Stream>) -> io::Result<()> {
        let mut http = h2::server::handshake(IoStream(stream)).await.map_err(io::Error::other)?;
        while let Some(request) = http.accept().await {
            let (request, mut respond) = request.map_err(io::Error::other)?;
            assert_eq!(request.uri().path(), "/dns-query");
            let mut body = request.into_body();
            let mut query = Vec::new();
            while let Some(piece) = body.data().await {
                query.extend_from_slice(&piece.map_err(io::Error::other)?);
            }
            let Some(answer) = self.answer(&query) else { continue };
            let response = http::Response::builder()
                .header("content-type", "application/dns-message")
                .header("content-length", answer.len())
                .body(())
                .map_err(io::Error::other)?;
            let mut sending = respond.send_response(response, false).map_err(io::Error::other)?;
            sending.send_data(Bytes::from(answer), true).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            return None;
        }
        answer(query)
    }
}

/// The answer to a question about `hub.test`, which has an IPv4 address (RFC 1035 section 4).
pub fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|&byte| byte == 0)? + 13;
    let (question, kind) = (query.get(12..name + 4)?, query.get(name + 1)?);
    let known = question.starts_with(b"\x03hub\x04test\x00");
    let found = known && *kind == 1;
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(question);
    if found {
        // A pointer to the question's name, type A, class IN, 1 s, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 1]);
    }
    Some(answer)
}
