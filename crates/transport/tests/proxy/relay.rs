//! Relays and SOCKS 4 proxies that say what a test wants them to.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
};

use rtun_transport::{
    Stream,
    proxy::socks4,
    relay_hop::{RelayHop, open, open_answered},
};

use crate::scripted::{login, pair};

const TARGET: &str = "hub.example:8443";
const REQUEST: &[u8] = b"\x01\x01\x00\x12\x02\x00\x0f\x03\x0bhub.example\x20\xfb";

type Answers = Arc<Mutex<Vec<bool>>>;

/// A stream through a relay, the relay's end, and what was said about the answer.
async fn hop() -> (RelayHop, Arc<dyn Stream>, Answers) {
    let (a, b) = pair();
    let answers = Answers::default();
    let noted = Arc::clone(&answers);
    let on_answer = Box::new(move |leads_on| noted.lock().unwrap().push(leads_on));
    let hop = open(a, "relay.example:1", TARGET, None, on_answer).await.unwrap();
    let mut asked = [0; REQUEST.len()];
    b.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, REQUEST);
    (hop, b, answers)
}

fn try_read(hop: &RelayHop) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 64];
    hop.try_read(&mut bytes).map(|read| bytes[..read].to_vec())
}

#[tokio::test]
async fn the_answer_of_a_relay_is_no_part_of_the_stream() {
    // With a feature, in pieces, and the target's first bytes right after it.
    let answer = [&[1, 0, 0, 5, 4, 0, 2, 0, 0][..], b"hello"].concat();
    for piece in 1..answer.len() {
        let (hop, relay, answers) = hop().await;
        let stream: &dyn Stream = &hop;
        stream.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        relay.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question", "it does not wait for the answer");
        let mut arrived = Vec::new();
        for piece in answer.chunks(piece) {
            relay.write_all(piece).await.unwrap();
            match try_read(&hop) {
                Ok(bytes) => arrived.extend(bytes),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert_eq!(arrived, b"hello", "pieces of {piece}");
        assert_eq!(*answers.lock().unwrap(), [true]);
        relay.shutdown().await.unwrap();
        assert_eq!(try_read(&hop).unwrap(), b"");
    }
}

#[tokio::test]
async fn what_is_no_yes_fails_for_good_and_names_the_relay() {
    for (answer, why) in [
        (&[1, 7, 0, 0][..], "the relay refused: 7 network unreachable"),
        (b"HTTP/1.1 400", "the answer is none of the relay protocol: "),
        (&[1, 0], "the relay closed the connection before its answer"),
    ] {
        let (hop, relay, answers) = hop().await;
        relay.write_all(answer).await.unwrap();
        relay.shutdown().await.unwrap();
        for _ in 0..2 {
            let error = try_read(&hop).unwrap_err().to_string();
            assert!(error.starts_with(&format!("relay.example:1: {why}")), "{error}");
        }
        assert_eq!(*answers.lock().unwrap(), [false], "{why}");
    }
}

#[tokio::test]
async fn a_relay_that_answers_at_once_is_waited_for() {
    let me = login(Some(("me", "s3cret")));
    for (answer, says) in
        [(&[1, 0, 0, 0][..], None), (&[1, 2, 0, 0], Some("the relay refused: 2 unauthorized"))]
    {
        let (a, b) = pair();
        b.write_all(&[answer, b"hello"].concat()).await.unwrap();
        let opened = open_answered(&*a, TARGET, me.as_ref()).await;
        assert_eq!(opened.err().map(|error| error.to_string()).as_deref(), says);
        let mut rest = [0; 5];
        a.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"hello");
    }
}

#[tokio::test]
async fn a_socks_4_proxy_opens_the_way_or_is_named() {
    let me = login(Some(("me", "")));
    for (answer, says) in [
        (&b"\0\x5a\x01\x02\x03\x04\x05\x06"[..], None),
        (b"\0\x5b", Some("the proxy refused the request")),
        (b"\0\x5d", Some("the proxy refused the user")),
        (b"\x05\xff", Some("the answer is not SOCKS 4")),
    ] {
        let (a, b) = pair();
        b.write_all(answer).await.unwrap();
        let opened = socks4(&*a, TARGET, me.as_ref()).await;
        let said = opened.err().map(|error| error.to_string());
        assert!(
            said.as_deref().zip(says).is_none_or(|(said, says)| said.starts_with(says)),
            "{said:?}"
        );
        assert_eq!(said.is_some(), says.is_some());
        let mut asked = [0; 23];
        b.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"\x04\x01\x20\xfb\0\0\0\x01me\0hub.example\0");
    }
}
