//! A URL.

use std::{
    io::Read,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rtun_control::{HttpSource, Loaded, MAX_TEXT, Source, SourceError};

use crate::{
    battery::{Act, Stage, TEXT, battery, right},
    server::{Server, write},
};

struct Served {
    server: Server,
    source: HttpSource,
}

impl Served {
    fn new() -> Self {
        // All tests of this process want the same provider; only the first can install it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = Server::new();
        let url = format!("http://user:s3cret@{}/routes?token=t0ken", server.address);
        let timeout = Duration::from_millis(700);
        let source = HttpSource::new(&rtun_settings::HttpSourceSettings { url, timeout }).unwrap();
        Self { server, source }
    }

    /// Reads from a server that sends `answer`, a format of head and body.
    async fn load(&mut self, answer: String) -> Result<Loaded, SourceError> {
        self.server.answer(move |stream| {
            head(stream);
            write(stream, answer.as_bytes());
        });
        self.source.load().await
    }
}

/// The head of a request.
fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn ok(more: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{more}Content-Length: {len}\r\n\r\n{body}")
}

impl Stage for Served {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn play(&mut self, act: Act) -> bool {
        if act == Act::Gone {
            self.server.go_away();
            return true;
        }
        self.server.answer(move |stream| {
            head(stream);
            match act {
                Act::Slow => {
                    for byte in ok("", TEXT).as_bytes() {
                        thread::sleep(Duration::from_millis(3));
                        write(stream, &[*byte]);
                    }
                }
                Act::Hang => {
                    let _ = stream.read(&mut [0]);
                }
                Act::Refuse => {
                    write(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
                }
                Act::CutShort => {
                    write(stream, ok("", TEXT).strip_suffix("host-2\n").unwrap().as_bytes());
                }
                Act::TooLarge => {
                    let len = MAX_TEXT + 1;
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
                    write(stream, head.as_bytes());
                }
                Act::NotUtf8 => {
                    write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\n");
                }
                Act::Empty => {
                    write(stream, ok("", "").as_bytes());
                }
                Act::Right | Act::Gone => {
                    write(stream, ok("", TEXT).as_bytes());
                }
            }
        });
        true
    }
}

#[tokio::test]
async fn a_url_passes_the_battery() {
    assert_eq!(battery(&mut Served::new(), Duration::from_secs(3)).await, 9);
}

#[tokio::test]
async fn secrets_of_the_url_are_sent_but_not_shown() {
    let mut served = Served::new();
    let (heads, sent) = mpsc::channel();
    served.server.answer(move |stream| {
        heads.send(head(stream).to_ascii_lowercase()).unwrap();
        write(stream, ok("", TEXT).as_bytes());
    });
    assert_eq!(served.source.load().await, right());
    let head = sent.recv().unwrap();
    assert!(head.starts_with("get /routes?token=t0ken http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: basic dxnlcjpzm2nyzxq=\r\n"), "{head}");
    assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    let label = served.source.label();
    assert_eq!(&*label, format!("http://{}/routes", served.server.address));
    served.server.go_away();
    let error = served.source.load().await.unwrap_err().to_string();
    assert!(!error.contains("s3cret") && !error.contains("t0ken"), "{error}");
}

#[tokio::test]
async fn only_status_200_is_an_answer() {
    let mut served = Served::new();
    for status in
        ["201 Created", "204 No Content", "206 Partial Content", "304 Not Modified", "500 No"]
    {
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let code = status[..3].parse().unwrap();
        assert_eq!(served.load(answer).await, Err(SourceError::Status(code)));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut served = Served::new();
    let mut catcher = Server::new();
    let (caught, hits) = mpsc::channel();
    catcher.answer(move |_| caught.send(()).unwrap());
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        catcher.address
    );
    assert_eq!(served.load(answer).await, Err(SourceError::Status(302)));
    assert!(hits.try_recv().is_err(), "the other server was not asked");
}

#[tokio::test]
async fn what_never_ends_is_given_up_in_time() {
    let mut served = Served::new();
    let start = Instant::now();
    served.server.answer(|stream| {
        head(stream);
        write(stream, b"HTTP/1.1 200 OK\r\n\r\n");
        while write(stream, b"# \n") {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let result = served.source.load().await;
    assert_eq!(result, Err(SourceError::Timeout(Duration::from_millis(700))));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_never_ends_is_given_up_at_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    let server = {
        let (mut served, sent) = (Served::new(), Arc::clone(&sent));
        served.server.answer(move |stream| {
            head(stream);
            write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [b"100000\r\n".as_slice(), &[b'\n'; 1 << 20], b"\r\n"].concat();
            while write(stream, &chunk) {
                sent.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        });
        served.server
    };
    let url = format!("http://{}/", server.address);
    let patient = rtun_settings::HttpSourceSettings { url, timeout: Duration::from_secs(60) };
    let source = || HttpSource::new(&patient).unwrap();
    let result = source().load().await;
    assert_eq!(result, Err(SourceError::TooLarge(MAX_TEXT)));
    let before = sent.load(Ordering::Relaxed);
    let result = source().at_most(1 << 20).load().await;
    assert_eq!(result, Err(SourceError::TooLarge(1 << 20)));
    assert_eq!(result.unwrap_err().to_string(), "is larger than 1 MiB");
    // What is not read stands in the buffers of the two sockets.
    let more = sent.load(Ordering::Relaxed) - before;
    assert!(more < 32 << 20, "{more} bytes were sent");
}

#[tokio::test]
async fn compressed_answers_are_not_read() {
    let mut served = Served::new();
    let result = served.load(ok("Content-Encoding: gzip\r\n", "bomb")).await;
    assert_eq!(result, Err(SourceError::Encoding("\"gzip\"".into())));
    assert_eq!(served.load(ok("Content-Encoding: identity\r\n", TEXT)).await, right());
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let mut served = Served::new();
    served.server.answer(|stream| {
        let head = head(stream);
        let known =
            ["if-none-match: \"v1\"\r\n", "if-modified-since: Sun, 22 Nov 2026 08:00:00 GMT\r\n"];
        if known.iter().all(|header| head.contains(header)) {
            write(stream, b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
        } else {
            let validators = "ETag: \"v1\"\r\nLast-Modified: Sun, 22 Nov 2026 08:00:00 GMT\r\n";
            write(stream, ok(validators, TEXT).as_bytes());
        }
    });
    assert_eq!(served.source.load().await, right());
    assert_eq!(served.source.load().await, Ok(Loaded::Unchanged));
    assert_eq!(served.source.load().await, Ok(Loaded::Unchanged));
    assert_eq!(
        served.load(ok("ETag: \"v2\"\r\n", "10.0.0.0/8 a\n")).await,
        Ok(Loaded::Text("10.0.0.0/8 a\n".into()))
    );
    served.server.answer(|stream| {
        let head = head(stream);
        assert!(!head.contains("if-modified-since"), "{head}");
        let known = head.contains("if-none-match: \"v2\"\r\n");
        let status = if known { "304 Not Modified" } else { "404 Not Found" };
        write(stream, format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").as_bytes());
    });
    assert_eq!(served.source.load().await, Ok(Loaded::Unchanged));
}
