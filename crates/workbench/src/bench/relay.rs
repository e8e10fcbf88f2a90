//! A plain user-space relay in the hub's place: the yardstick of the benchmark.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    str::FromStr,
    thread,
    time::Duration,
};

use clap::Args as ClapArgs;
use rtun_lab::tools;

use crate::complain;

/// Bytes per read and write.
const CHUNK: usize = 256 * 1024;

/// Connections at once; what comes above is closed. Above what any scenario opens.
const CONNECTIONS: usize = 256;

/// How long connecting onwards may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes TCP connections and UDP datagrams on, until it is killed
#[derive(ClapArgs)]
pub(crate) struct Relay {
    /// A port to listen on, TCP and UDP, and where to pass on to: 7001=10.0.1.2:6000
    #[arg(value_name = "PORT=ADDRESS", required = true)]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    port: u16,
    to: SocketAddr,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('=')
            .and_then(|(port, to)| Some(Self { port: port.parse().ok()?, to: to.parse().ok()? }));
        parsed.ok_or_else(|| format!("{text:?} is not like 7001=10.0.1.2:6000"))
    }
}

impl Relay {
    pub(crate) fn run(self) -> ExitCode {
        let Err(error) = self.relay();
        complain(&format!("rtun-workbench bench-relay: {error}"));
        ExitCode::FAILURE
    }

    fn relay(&self) -> io::Result<std::convert::Infallible> {
        // The first rule last: when its port answers, all of them do.
        for rule in self.rules.iter().rev() {
            let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, rule.port));
            let socket = tools::udp_receiver(at)?;
            let listener = TcpListener::bind(at)?;
            let to = rule.to;
            start(move || pass_datagrams(&socket, to))?;
            start(move || pass_connections(&listener, to))?;
        }
        loop {
            thread::park();
        }
    }
}

fn start(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let work = move || {
        if let Err(error) = work() {
            complain(&format!("rtun-workbench bench-relay: {error}"));
        }
    };
    thread::Builder::new().spawn(work).map(drop)
}

fn pass_connections(listener: &TcpListener, to: SocketAddr) -> io::Result<()> {
    let alive = std::sync::Arc::new(());
    loop {
        let (near, _) = listener.accept()?;
        // One of them is the loop's own.
        if std::sync::Arc::strong_count(&alive) > CONNECTIONS {
            continue;
        }
        // The other end may not listen: that ends this connection only.
        let Ok(far) = TcpStream::connect_timeout(&to, PATIENCE) else { continue };
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
        }
        let (near_too, far_too) = (near.try_clone()?, far.try_clone()?);
        let one_more = alive.clone();
        start(move || {
            copy(near, far);
            drop(one_more);
            Ok(())
        })?;
        start(move || {
            copy(far_too, near_too);
            Ok(())
        })?;
    }
}

/// Copies until either side ends, and then ends both directions.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // One that is down already is fine.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn pass_datagrams(socket: &UdpSocket, to: SocketAddr) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors tell of datagrams sent before: lost, as on any network.
        if let Ok(length) = socket.recv(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_refused() {
        let rule: Rule = "7001=10.0.1.2:6000".parse().unwrap();
        assert_eq!(rule, Rule { port: 7001, to: "10.0.1.2:6000".parse().unwrap() });
        for wrong in ["", "7001", "7001=", "x=10.0.1.2:6000", "7001=10.0.1.2", "70000=10.0.1.2:1"] {
            let error = wrong.parse::<Rule>().unwrap_err();
            assert!(error.contains("is not like"), "{error}");
        }
    }

    #[test]
    fn both_directions_are_passed_on_and_the_end_too() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, to) = (listener.local_addr().unwrap(), server.local_addr().unwrap());
        start(move || pass_connections(&listener, to)).unwrap();
        let mut client = TcpStream::connect(at).unwrap();
        let (mut served, _) = server.accept().unwrap();
        for stream in [&client, &served] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut text = [0; 5];
        client.write_all(b"there").unwrap();
        served.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"there");
        served.write_all(b"back!").unwrap();
        client.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"back!");
        drop(client);
        assert_eq!(served.read(&mut text).unwrap(), 0);
    }
}
