//! Sessions against a model: whatever is done in whatever order, each stream carries its own bytes in their order.

use std::{io, sync::Arc};

use futures_util::FutureExt;
use proptest::{collection::vec, prelude::*};
use rtun_settings::{MuxSettings, MuxVersion};
use rtun_transport::{Stream, mux::MuxSession};
use tokio::task::yield_now;

use crate::{memory_pair, sessions};

#[derive(Debug, Clone)]
enum Step {
    Open,
    Write { stream: usize, end: usize, length: usize },
    Read { stream: usize, end: usize, length: usize },
    Flush { stream: usize, end: usize },
    Shut { stream: usize, end: usize },
    Drop { stream: usize, end: usize },
    Run(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..6_usize, 0..2_usize);
    let length = || prop_oneof![3 => 1..30_usize, 1 => 100..5000_usize];
    prop_oneof![
        2 => Just(Step::Open),
        12 => (place(), length())
            .prop_map(|((stream, end), length)| Step::Write { stream, end, length }),
        12 => (place(), length())
            .prop_map(|((stream, end), length)| Step::Read { stream, end, length }),
        2 => place().prop_map(|(stream, end)| Step::Flush { stream, end }),
        1 => place().prop_map(|(stream, end)| Step::Shut { stream, end }),
        1 => place().prop_map(|(stream, end)| Step::Drop { stream, end }),
        10 => (1..20_usize).prop_map(Step::Run),
    ]
}

fn any_settings() -> impl Strategy<Value = MuxSettings> {
    let sizes = (1..200_u16, 1..5000_usize, 1..5000_usize);
    (any::<bool>(), sizes).prop_map(|(two, (max_frame, receive_buffer, stream_buffer))| {
        MuxSettings {
            version: if two { MuxVersion::Two } else { MuxVersion::One },
            keepalive: None,
            max_frame,
            receive_buffer,
            stream_buffer,
            ..MuxSettings::default()
        }
    })
}

/// One end of a stream, and what the model knows of it.
#[derive(Default)]
struct End {
    stream: Option<Arc<dyn Stream>>,
    written: usize,
    read: usize,
    shut: bool,
    read_end: bool,
}

/// The byte at a place of what an end of a stream writes.
fn byte(stream: usize, end: usize, place: usize) -> u8 {
    (place ^ (place >> 8) ^ (stream << 5) ^ (end << 4)) as u8
}

struct Model {
    sessions: (MuxSession, MuxSession),
    /// The client's ends first. The server's appear when they are accepted, in the same order.
    streams: Vec<[End; 2]>,
    accepted: usize,
}

impl Model {
    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Open if self.streams.len() < 6 => {
                let stream = self.sessions.0.open().unwrap();
                self.streams.push([End { stream: Some(stream), ..End::default() }, End::default()]);
            }
            Step::Write { stream, end, length } => self.write(stream, end, length),
            Step::Read { stream, end, length } => self.read(stream, end, length),
            Step::Flush { stream, end } => {
                if let Some(stream) = self.stream(stream, end) {
                    let _ = stream.flush().now_or_never();
                }
            }
            Step::Shut { stream, end } => {
                if let Some(held) = self.stream(stream, end) {
                    // Begun is enough: the session does the rest.
                    let _ = held.shutdown().now_or_never();
                    self.streams[stream][end].shut = true;
                }
            }
            Step::Drop { stream, end } => {
                if self.stream(stream, end).is_some() {
                    self.streams[stream][end].stream = None;
                }
            }
            Step::Run(times) => {
                for _ in 0..times {
                    yield_now().await;
                }
                self.accept();
            }
            Step::Open => {}
        }
    }

    fn accept(&mut self) {
        while let Some(accepted) = self.sessions.1.accept().now_or_never() {
            let stream = accepted.unwrap().unwrap();
            self.streams[self.accepted][1].stream = Some(stream);
            self.accepted += 1;
        }
    }

    fn stream(&self, stream: usize, end: usize) -> Option<Arc<dyn Stream>> {
        self.streams.get(stream).and_then(|ends| ends[end].stream.clone())
    }

    fn write(&mut self, n: usize, end: usize, length: usize) {
        let Some(stream) = self.stream(n, end) else { return };
        let [own, other] = ends(&mut self.streams[n], end);
        let bytes: Vec<u8> = (0..length).map(|i| byte(n, end, own.written + i)).collect();
        match stream.try_write(&bytes) {
            Ok(written) => {
                assert!(!own.shut && (1..=length).contains(&written));
                own.written += written;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => assert!(!own.shut),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                let gone = other.shut || other.stream.is_none();
                assert!(own.shut || gone, "nobody has ended it");
            }
        }
    }

    fn read(&mut self, n: usize, end: usize, length: usize) {
        let Some(stream) = self.stream(n, end) else { return };
        let [own, other] = ends(&mut self.streams[n], end);
        let mut buffer = vec![0; length];
        match stream.try_read(&mut buffer) {
            Ok(0) => {
                assert!(other.shut || other.stream.is_none(), "nobody has ended it");
                assert_eq!(own.read, other.written, "the end is behind all bytes");
                own.read_end = true;
            }
            Ok(read) => {
                for (i, got) in buffer[..read].iter().enumerate() {
                    assert_eq!(*got, byte(n, 1 - end, own.read + i));
                }
                own.read += read;
                assert!(own.read <= other.written && !own.read_end);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    /// Everything that was written to an end that is still held is read there, and the end after it.
    async fn finish(&mut self) {
        for _ in 0..100_000 {
            self.accept();
            let mut waits = false;
            for n in 0..self.streams.len() {
                for end in 0..2 {
                    self.read(n, end, 1000);
                    let [own, other] = ends(&mut self.streams[n], end);
                    let expects_end = other.shut || (n < self.accepted && other.stream.is_none());
                    waits |= own.stream.is_some()
                        && (own.read < other.written || expects_end && !own.read_end);
                    waits |= self.accepted < self.streams.len();
                }
            }
            if !waits {
                return;
            }
            for end in self.streams.iter().flatten() {
                if let Some(stream) = &end.stream {
                    let _ = stream.flush().now_or_never();
                }
            }
            yield_now().await;
        }
        panic!("the session stands still");
    }
}

fn ends(ends: &mut [End; 2], end: usize) -> [&mut End; 2] {
    let [client, server] = ends;
    if end == 0 { [client, server] } else { [server, client] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_stream_carries_its_own_bytes(
        settings in any_settings(),
        capacity in 1..3000_usize,
        steps in vec(step(), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let sessions = sessions(memory_pair(capacity), settings);
            let mut model = Model { sessions, streams: Vec::new(), accepted: 0 };
            for step in &steps {
                model.step(step).await;
            }
            model.finish().await;
            let (client, server) = model.sessions;
            assert!(client.end().is_none() && server.end().is_none());
        });
    }
}
