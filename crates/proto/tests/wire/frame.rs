//! Frames on a stream with reads that end anywhere, compared with a model that reads one byte at a time.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};
use rtun_proto::frame::{
    FrameBuffer, FrameError, Frames, LEN_PREFIX, MAX_FRAME, length_prefix, write_frame,
};

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        3 => Just(0_usize),
        10 => 1..200_usize,
        5 => 1200..1500_usize,
        1 => 60_000..=MAX_FRAME,
        1 => Just(MAX_FRAME),
    ];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

/// The stream that carries `payloads`, empty ones too.
fn stream(payloads: &[Vec<u8>]) -> Vec<u8> {
    let frame = |payload: &Vec<u8>| {
        [&u16::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat()
    };
    payloads.iter().map(frame).collect::<Vec<_>>().concat()
}

/// The whole frames of a byte stream, byte by byte, and how many bytes they are.
fn slow_frames(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut left: VecDeque<u8> = bytes.iter().copied().collect();
    let mut payloads = Vec::new();
    let mut consumed = 0;
    while left.len() >= 2 {
        let len = usize::from(left[0]) * 256 + usize::from(left[1]);
        if left.len() < 2 + len {
            break;
        }
        left.drain(..2);
        payloads.push(left.drain(..len).collect());
        consumed += 2 + len;
    }
    (payloads, consumed)
}

#[derive(Debug, Clone)]
enum Step {
    Receive(usize),
    Consume(prop::sample::Index),
    ConsumeAll,
    Shrink,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..3000_usize).prop_map(Step::Receive),
        2 => Just(Step::Receive(usize::MAX)),
        3 => any::<prop::sample::Index>().prop_map(Step::Consume),
        1 => Just(Step::ConsumeAll),
        1 => Just(Step::Shrink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_walker_finds_what_the_slow_one_finds(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(prop_oneof![4 => Just(0_u8), 1 => 0..9_u8], 0..400),
        ],
    ) {
        let mut frames = Frames::new(&bytes);
        let mut got = Vec::new();
        let mut end = 0;
        for frame in frames.by_ref() {
            prop_assert_eq!(frame.range.start, end);
            prop_assert_eq!(&bytes[frame.range.start + LEN_PREFIX..frame.range.end], frame.payload);
            end = frame.range.end;
            got.push(frame.payload.to_vec());
        }
        prop_assert_eq!((got, frames.consumed()), slow_frames(&bytes));
    }

    #[test]
    fn frames_survive_any_cuts(
        payloads in vec(payload(), 0..30),
        cuts in vec(prop_oneof![1..5_usize, 1..100_000_usize], 1..50),
        capacity in prop_oneof![Just(0), Just(FrameBuffer::DEFAULT_CAPACITY)],
    ) {
        let stream = stream(&payloads);
        let mut buffer = FrameBuffer::with_capacity(capacity);
        let mut rest = &stream[..];
        let mut got = Vec::new();
        for cut in cuts.iter().cycle() {
            let space = buffer.space();
            prop_assert!(!space.is_empty(), "whole frames are consumed, so there is room");
            let n = rest.len().min(*cut).min(space.len());
            space[..n].copy_from_slice(&rest[..n]);
            buffer.advance(n);
            rest = &rest[n..];
            let mut frames = Frames::new(buffer.filled());
            got.extend(frames.by_ref().map(|frame| frame.payload.to_vec()));
            let consumed = frames.consumed();
            buffer.consume(consumed);
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(buffer.filled().is_empty());
        prop_assert!(got == payloads);
    }

    #[test]
    fn the_buffer_is_a_queue_of_bounded_memory(
        steps in vec(step(), 0..60),
        capacity in prop_oneof![Just(0), 65_000..300_000_usize],
    ) {
        let mut buffer = FrameBuffer::with_capacity(capacity);
        let mut model = VecDeque::new();
        let mut next = (0..=250_u8).cycle();
        for step in steps {
            match step {
                Step::Receive(wanted) => {
                    let space = buffer.space();
                    let n = space.len().min(wanted);
                    for byte in &mut space[..n] {
                        *byte = next.next().unwrap();
                        model.push_back(*byte);
                    }
                    prop_assert!(n > 0 || model.len() >= FrameBuffer::MIN_CAPACITY);
                    buffer.advance(n);
                }
                Step::Consume(index) => {
                    let n = index.index(model.len() + 1);
                    buffer.consume(n);
                    model.drain(..n);
                }
                Step::ConsumeAll => {
                    buffer.consume(model.len());
                    model.clear();
                }
                Step::Shrink => {
                    buffer.shrink();
                    prop_assert!(!model.is_empty() || buffer.allocated() == 0);
                }
            }
            prop_assert!(buffer.filled() == model.make_contiguous());
            prop_assert!(buffer.allocated() <= capacity.max(FrameBuffer::MIN_CAPACITY));
        }
    }

    #[test]
    fn never_emit_empty(payloads in vec(payload(), 0..30)) {
        let mut out = Vec::new();
        for payload in &payloads {
            let before = out.len();
            match write_frame(payload, &mut out) {
                Ok(()) => prop_assert!(out.len() == before + LEN_PREFIX + payload.len()),
                Err(error) => {
                    prop_assert_eq!((error, payload.len()), (FrameError::Empty, 0));
                    prop_assert!(out.len() == before);
                }
            }
        }
        let (sent, consumed) = slow_frames(&out);
        prop_assert_eq!(consumed, out.len());
        prop_assert!(sent.iter().eq(payloads.iter().filter(|payload| !payload.is_empty())));
    }
}

/// Every legal length, and some illegal ones.
#[test]
fn no_length_makes_an_empty_frame() {
    assert_eq!(length_prefix(0), Err(FrameError::Empty));
    for len in 1..=MAX_FRAME {
        let [high, low] = length_prefix(len).unwrap();
        assert_eq!(usize::from(high) * 256 + usize::from(low), len);
    }
    for len in [MAX_FRAME + 1, 2 * (MAX_FRAME + 1), usize::MAX] {
        assert_eq!(length_prefix(len), Err(FrameError::TooBig(len)));
    }
}
