//! Messages of a gRPC stream.

use rtun_transport::grpc_message;

/// The messages of a gRPC peer. The first byte is the number of bytes after it that set the lengths of reads; the rest is
/// the stream.
pub fn grpc_chunks(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let (reads, stream) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let decode = |mut rest: &[u8], reads: &[u8]| {
        let mut decoder = grpc_message::GrpcDecoder::default();
        let mut reads = reads.iter().map(|n| usize::from(*n) + 1).chain(std::iter::repeat(1));
        let mut data = Vec::new();
        while !rest.is_empty() && decoder.failure().is_none() {
            let read = &rest[..reads.next().expect("endless").min(rest.len())];
            let mut into = [0; 7];
            let progress = decoder.decode(read, &mut into);
            assert!(progress.consumed > 0 && progress.written <= progress.consumed);
            data.extend_from_slice(&into[..progress.written]);
            rest = &rest[progress.consumed..];
        }
        (data, decoder.failure(), decoder.is_between_messages())
    };
    let outcome = decode(stream, reads);
    assert_eq!(outcome, decode(stream, &[]), "the lengths of reads make no difference");
    let (data, ..) = outcome;
    let mut written = grpc_message::GrpcHeader::new(data.len() as u32).bytes().to_vec();
    written.extend_from_slice(&data);
    assert_eq!(decode(&written, reads), (data, None, true));
}
