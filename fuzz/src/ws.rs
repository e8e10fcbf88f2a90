//! The WebSocket upgrade and its frames.

use rtun_settings::WebSocketSettings;
use rtun_transport::ws::{frame, upgrade};

/// The frames of a WebSocket peer. The first byte is its role and the number of bytes after it that set the lengths of
/// reads; the rest is the stream.
pub fn ws_frames(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let is_client = first >= 128;
    let (reads, stream) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let decode = |mut rest: &[u8], reads: &[u8]| {
        let mut decoder = match is_client {
            true => frame::WsDecoder::of_client(),
            false => frame::WsDecoder::of_server(),
        };
        let mut reads = reads.iter().map(|n| usize::from(*n) + 1).chain(std::iter::repeat(1));
        let mut messages = Vec::new();
        let mut ping = None;
        while !rest.is_empty() {
            let read;
            (read, rest) = rest.split_at(reads.next().expect("endless").min(rest.len()));
            let mut read = read.to_vec();
            let len = decoder.decode(&mut read);
            messages.extend_from_slice(&read[..len]);
            ping = decoder.take_ping().or(ping);
        }
        if let Some(end) = decoder.end() {
            assert!(end.reason().len() + 2 <= frame::CONTROL_MAX);
        }
        (messages, ping, decoder.end().copied(), decoder.is_between_messages())
    };
    let outcome = decode(stream, reads);
    assert_eq!(outcome, decode(stream, &[]), "the lengths of reads make no difference");
    let (messages, ..) = outcome;
    assert!(messages.len() <= stream.len());

    let key = is_client.then_some([1, 2, 3, first]);
    let mut written =
        frame::WsHeader::new(frame::Opcode::Binary, messages.len(), key).bytes().to_vec();
    let payload_at = written.len();
    written.extend_from_slice(&messages);
    frame::mask(&mut written[payload_at..], key.unwrap_or_default());
    assert_eq!(decode(&written, reads), (messages, None, None, true));
}

/// The HTTP request of an unauthenticated peer, or the response of a server.
pub fn ws_upgrade(bytes: &[u8]) {
    for pattern in ["/ws", "/"] {
        let settings = WebSocketSettings { path: pattern.into(), ..WebSocketSettings::default() };
        match upgrade::answer(bytes, &settings) {
            Ok((response, forwarded)) => {
                assert!(response.is_ascii() && response.starts_with("HTTP/1.1 101 "));
                assert_eq!(response.find("\r\n\r\n"), Some(response.len() - 4));
                assert!(forwarded.present || forwarded.client().is_none());
                let error = upgrade::check(response.as_bytes(), &upgrade::UpgradeKey::new([0; 16]));
                assert!(error.is_err() || response.contains("ICX+Yqv66kxgM0FcWaLWlFLwTAI="));
            }
            Err(error) => {
                assert!(upgrade::refusal(&error).is_some(), "{error}");
                assert!(error.to_string().bytes().all(|byte| (32..127).contains(&byte)));
            }
        }
    }
    if let Err(error) = upgrade::check(bytes, &upgrade::UpgradeKey::new([0; 16])) {
        assert!(error.to_string().bytes().all(|byte| (32..127).contains(&byte)));
    }
}
