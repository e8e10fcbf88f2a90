//! Chunks against a protobuf library that has each message whole.

use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct ProstChunk {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

/// Protobuf with fields that a chunk has not.
#[derive(Clone, PartialEq, prost::Message)]
struct Richer {
    #[prost(uint64, optional, tag = "2")]
    number: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "1")]
    data: Option<Vec<u8>>,
    #[prost(fixed64, optional, tag = "3")]
    wide: Option<u64>,
    #[prost(fixed32, optional, tag = "1000")]
    narrow: Option<u32>,
    #[prost(string, repeated, tag = "4")]
    texts: Vec<String>,
}

fn any_richer() -> impl Strategy<Value = Richer> {
    let data = prop_oneof![vec(any::<u8>(), 0..10), vec(any::<u8>(), 100..300)];
    (any::<Option<u64>>(), proptest::option::of(data), any::<Option<u64>>(), any::<Option<u32>>())
        .prop_flat_map(|(number, data, wide, narrow)| {
            vec(".{0,8}", 0..3).prop_map(move |texts| Richer {
                number,
                data: data.clone(),
                wide,
                narrow,
                texts,
            })
        })
}

fn message(encoded: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((encoded.len() as u32).to_be_bytes());
    bytes.extend(encoded);
    bytes
}

/// All data, and how it ends, when the stream comes in pieces of `cut` and there is room for `room` at a time.
fn decode(bytes: &[u8], cut: usize, room: usize) -> (Vec<u8>, Result<bool, ChunkError>) {
    let mut decoder = GrpcDecoder::default();
    let mut data = Vec::new();
    for mut piece in bytes.chunks(cut) {
        while !piece.is_empty() && decoder.failure().is_none() {
            let mut into = vec![0; room];
            let progress = decoder.decode(piece, &mut into);
            assert!(progress.consumed > 0);
            data.extend(&into[..progress.written]);
            piece = &piece[progress.consumed..];
        }
    }
    match decoder.failure() {
        Some(error) => {
            assert_eq!(
                decoder.decode(b"more", &mut [0]),
                DecodeProgress { consumed: 0, written: 0 }
            );
            (data, Err(error))
        }
        None => (data, Ok(decoder.is_between_messages())),
    }
}

proptest! {
    #[test]
    fn the_data_of_all_messages_is_read_however_the_stream_is_cut(
        messages in vec(any_richer(), 0..5), cut in 1_usize..400, room in 1_usize..400,
    ) {
        let bytes: Vec<u8> =
            messages.iter().flat_map(|richer| message(&richer.encode_to_vec())).collect();
        let data = messages.iter().flat_map(|richer| richer.data.clone().unwrap_or_default());
        let expected = (data.collect::<Vec<u8>>(), Ok(true));
        prop_assert_eq!(&decode(&bytes, cut, room), &expected);
        prop_assert_eq!(&decode(&bytes, 1, 1), &expected);
        prop_assert_eq!(&decode(&bytes, usize::MAX, 10_000), &expected);
    }

    #[test]
    fn noise_is_read_like_the_library_reads_it(encoded in vec(any::<u8>(), 0..40)) {
        let (data, end) = decode(&message(&encoded), usize::MAX, 100);
        prop_assert_eq!(decode(&message(&encoded), 1, 1), (data.clone(), end));
        match (ProstChunk::decode(&encoded[..]), end) {
            (Ok(chunk), Ok(true)) => prop_assert_eq!(chunk.data, data),
            (Ok(_), Err(error)) => {
                // What the library takes besides: groups, the last of several, tags cut to 32 bits or numbers to 64.
                let stricter = matches!(
                    error,
                    ChunkError::SecondData | ChunkError::UnknownWireType(_)
                );
                prop_assert!(stricter, "{error:?}");
            }
            (Err(_), Err(_)) => {}
            // Tags and numbers beyond what protobuf allows in fields that are skipped.
            (Err(_), Ok(true)) => {}
            (library, end) => prop_assert!(false, "{library:?}, {end:?}"),
        }
    }

    #[test]
    fn what_is_written_is_what_the_library_writes(len in 1_usize..40_000) {
        let data = vec![7; len];
        let mut bytes = GrpcHeader::new(data.len() as u32).bytes().to_vec();
        bytes.extend(&data);
        let expected = message(&ProstChunk { data }.encode_to_vec());
        prop_assert!(bytes == expected);
    }
}

#[test]
fn each_break_is_named() {
    let number = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0];
    for (bytes, error) in [
        (vec![1, 0, 0, 0, 0], ChunkError::Compressed),
        (vec![2, 0, 0, 0, 0], ChunkError::UnknownFlag(2)),
        (message(&number), ChunkError::NumberTooLong),
        (message(&[0x0b]), ChunkError::UnknownWireType(3)),
        (message(&[0x02, 0]), ChunkError::NoFieldNumber),
        (message(&[0x0a]), ChunkError::CutField),
        (message(&[0x0a, 3, b'h', b'i']), ChunkError::CutField),
        (message(&[0x0a, 255, 255, 255, 255, 255, 1]), ChunkError::CutField),
        (message(&[0x11, 1, 2, 3]), ChunkError::CutField),
        (message(&[0x08, 0x80]), ChunkError::CutField),
        (message(&[0x0a, 1, b'a', 0x0a, 1, b'b']), ChunkError::SecondData),
    ] {
        assert_eq!(decode(&bytes, 1, 1).1, Err(error), "{bytes:?}");
    }
}

#[test]
fn data_before_a_break_is_kept() {
    let mut bytes = message(&[0x0a, 2, b'h', b'i']);
    bytes.push(9);
    assert_eq!(decode(&bytes, 100, 100), (b"hi".to_vec(), Err(ChunkError::UnknownFlag(9))));
}

#[test]
fn an_end_within_a_message_is_seen() {
    let bytes = message(&[0x0a, 2, b'h', b'i']);
    for cut in 1..bytes.len() {
        assert_eq!(decode(&bytes[..cut], 100, 100).1, Ok(false), "{cut}");
    }
    assert_eq!(decode(&[0, 0, 0, 0, 0], 100, 100), (Vec::new(), Ok(true)));
}
