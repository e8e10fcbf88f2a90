//! Hosts that are a connection only: they join, say that they are alive, and do nothing with what they get.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rtun_proto::{
    extension::{self, Capabilities, Extension, Hello},
    frame::LEN_PREFIX,
    relay::{Association, Decoded, Network, Request, Response, Status},
};

/// How often an rtun hub wants to hear from a host that it does not send to (docs/wire.md section 7): well within the
/// 9 s after which it gives one up.
pub(super) const PING_EVERY: Duration = Duration::from_secs(3);

/// For one step of joining.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const MAX_ANSWER: usize = 1024;

/// A connection to the hub that has asked to join.
pub(super) struct RawHost {
    stream: TcpStream,
    is_rtun: bool,
}

impl RawHost {
    /// Connects from the namespace of the calling thread and asks to join.
    pub(super) fn ask(hub: SocketAddr, name: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&hub, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = Request::associate(&Association {
            user: None,
            network: Network::Ip,
            source: None,
            host: name.to_owned(),
            router_id: [0; 16],
        });
        stream.write_all(&request.encode().map_err(io::Error::other)?)?;
        Ok(Self { stream, is_rtun: false })
    }

    /// Waits until it is admitted and exchanges hellos with an rtun hub.
    pub(super) fn join(&mut self) -> io::Result<()> {
        let response = self.response()?;
        if response.status != Status::Ok {
            return Err(io::Error::other(response.status.to_string()));
        }
        self.is_rtun = response.connector_id().is_some_and(|id| id.rtun_version().is_some());
        if self.is_rtun {
            self.say(&Extension::Hello(Hello {
                version: extension::VERSION,
                capabilities: Capabilities::GSO_FRAMES,
                mtu: 1420,
                instance: [1; 16],
                software: "rtun-workbench".into(),
            }))?;
            let mut length = [0; LEN_PREFIX];
            self.stream.read_exact(&mut length)?;
            let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
            self.stream.read_exact(&mut reply)?;
            if !matches!(Extension::decode(&reply), Ok(Extension::HelloReply(_))) {
                return Err(io::Error::other("the hub does not answer the hello"));
            }
        }
        Ok(())
    }

    /// Lets an rtun hub know that it is alive.
    pub(super) fn ping(&mut self) -> io::Result<()> {
        if self.is_rtun { self.say(&Extension::Ping([0; 8])) } else { Ok(()) }
    }

    /// Takes what has come within a moment and throws it away.
    pub(super) fn skip(&mut self, buffer: &mut [u8], within: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(within))?;
        match self.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the hub still holds it, as far as this end knows.
    pub(super) fn is_held(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // What has come is read first: the end comes after it.
        let drained = self.stream.set_nonblocking(true).and_then(|()| {
            loop {
                match self.stream.read(&mut buffer) {
                    Ok(0) => return Ok(false),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
        });
        drained.unwrap_or(false)
    }

    fn response(&mut self) -> io::Result<Response> {
        let mut answer = Vec::new();
        loop {
            let wanted = match Response::decode(&answer).map_err(io::Error::other)? {
                Decoded::Complete { value, .. } => return Ok(value),
                Decoded::Incomplete { needed } => needed,
            };
            if wanted > MAX_ANSWER {
                return Err(io::Error::other("the hub's answer is too long"));
            }
            let have = answer.len();
            answer.resize(wanted, 0);
            self.stream.read_exact(&mut answer[have..])?;
        }
    }

    fn say(&mut self, frame: &Extension<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.write_frame(&mut bytes).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }
}
