//! Sealing and opening on one thread through memory: the own records compared to rustls's buffered connections.

use std::{
    hint::black_box,
    io::{self, IoSlice, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtun_settings::{DialTls, OwnCertificate, ServerCertificate, ServerTls, Verification};
use rtun_tls::{Acceptor, CertificateOrigin, Connector, MadeCertificate};
use rtun_transport::Stream;
use rustls::{ClientConnection, ServerConnection, pki_types::ServerName};

/// What one large read brings.
const BATCH: usize = 64 * 1024;

criterion_group!(benches, both);
criterion_main!(benches);

/// What a writer has put in and a reader has not taken.
#[derive(Default)]
struct Pipe(Mutex<Vec<u8>>);

impl Pipe {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

impl Stream for End {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.incoming.bytes().is_empty() {
            true => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(Ok(())),
        }
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.incoming.bytes();
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
        bytes.drain(..len);
        Ok(len)
    }

    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.outgoing.bytes();
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        Ok(pieces.iter().map(|piece| piece.len()).sum())
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn both(c: &mut Criterion) {
    let directory = std::env::temp_dir().join(format!("rtun-bench-{}", std::process::id()));
    let tls = ServerTls::new(ServerCertificate::Own(OwnCertificate::default()));
    let origin = CertificateOrigin::Made(MadeCertificate::new(&directory));
    let (acceptor, _) = Acceptor::new(&tls, origin, &[]).expect("a certificate can be made");
    let _ = std::fs::remove_dir_all(&directory);
    let tls = DialTls { verification: Verification::Off, ..DialTls::default() };
    let connector = Connector::new(&tls, &[]).expect("settings without files are good");
    let mut group = c.benchmark_group("tls");
    group.throughput(Throughput::Bytes(BATCH as u64));
    // As a batch, and as GOST sends: a record for each packet.
    for size in [BATCH, 1420] {
        group.bench_function(BenchmarkId::new("own", size), |b| {
            let (client, server) = own(&connector, &acceptor);
            let (plain, mut opened) = (vec![0x45; BATCH], vec![0; 4 * BATCH]);
            b.iter(|| {
                for chunk in plain.chunks(size) {
                    client.try_write(chunk).expect("the pipe takes all");
                }
                let mut read = 0;
                while read < BATCH {
                    read += server.try_read(&mut opened).expect("what was written is there");
                }
                black_box(&opened);
            });
        });
        group.bench_function(BenchmarkId::new("rustls", size), |b| {
            let (mut client, mut server) = rustls_pair(&connector, &acceptor);
            let (plain, mut opened) = (vec![0x45; BATCH], vec![0; 4 * BATCH]);
            let mut pipe = Vec::with_capacity(2 * BATCH);
            b.iter(|| {
                pipe.clear();
                for chunk in plain.chunks(size) {
                    client.writer().write_all(chunk).expect("memory takes all");
                    while client.wants_write() {
                        client.write_tls(&mut pipe).expect("memory takes all");
                    }
                }
                let (mut read, mut rest) = (0, &pipe[..]);
                while read < BATCH {
                    server.read_tls(&mut rest).expect("memory can be read");
                    server.process_new_packets().expect("nothing was changed");
                    while let Ok(len @ 1..) = server.reader().read(&mut opened[read..]) {
                        read += len;
                    }
                }
                black_box(&opened);
            });
        });
    }
}

fn own(connector: &Connector, acceptor: &Acceptor) -> (Arc<dyn Stream>, Arc<dyn Stream>) {
    let (there, back) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
    let client = End { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
    let server = End { incoming: there, outgoing: back };
    let connect = rtun_transport::tls::connect(connector, Arc::new(client), "gost.run");
    let accept = rtun_transport::tls::accept(acceptor, Arc::new(server));
    let both = futures_util::future::join(connect, accept);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (connected, accepted) = runtime.block_on(both);
    (connected.expect("it is who it is").stream, accepted.expect("nobody is refused").stream)
}

fn rustls_pair(connector: &Connector, acceptor: &Acceptor) -> (ClientConnection, ServerConnection) {
    let (client, _) = connector.quic_config().expect("TLS 1.3 is allowed");
    let server = acceptor.quic_config().expect("TLS 1.3 is allowed");
    let name = ServerName::try_from("gost.run").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory takes all");
        }
        server.read_tls(&mut &bytes[..]).expect("memory can be read");
        server.process_new_packets().expect("a handshake");
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory takes all");
        }
        client.read_tls(&mut &bytes[..]).expect("memory can be read");
        client.process_new_packets().expect("a handshake");
    }
    (client, server)
}
