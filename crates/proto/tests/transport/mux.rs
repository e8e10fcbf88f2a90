//! Frames of smux with reads that end anywhere, compared with a model that reads whole frames; and bytes recorded from smux
//! 1.5.31.

use proptest::{collection::vec, prelude::*};
use rtun_proto::mux::{Command, Decoder, Event, FrameError, Version, header, update_frame};

/// An event, the bytes of a stream one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Syn(u32),
    Fin(u32),
    Byte(u32, u8),
    Nop,
    Upd(u32, u32, u32),
}

/// The events of the bytes, and the error in the rest.
fn slow(version: Version, mut bytes: &[u8]) -> (Vec<Step>, Option<FrameError>) {
    let mut steps = Vec::new();
    while bytes.len() >= 8 {
        let length = u16::from(bytes[2]) + 256 * u16::from(bytes[3]);
        let word = |at: usize| (0..4).map(|i| u32::from(bytes[at + i]) << (8 * i)).sum::<u32>();
        let id = word(4);
        let body = &bytes[8..bytes.len().min(8 + usize::from(length))];
        let wrong = |command| Some(FrameError::Length { command, length });
        if bytes[0] != version as u8 {
            return (steps, Some(FrameError::Version { expected: version, got: bytes[0] }));
        }
        match bytes[1] {
            0 if length > 0 => return (steps, wrong(Command::Syn)),
            1 if length > 0 => return (steps, wrong(Command::Fin)),
            3 if length > 0 => return (steps, wrong(Command::Nop)),
            0 => steps.push(Step::Syn(id)),
            1 => steps.push(Step::Fin(id)),
            2 => steps.extend(body.iter().map(|byte| Step::Byte(id, *byte))),
            3 => steps.push(Step::Nop),
            4 if version == Version::Two && length != 8 => return (steps, wrong(Command::Upd)),
            4 if version == Version::Two && body.len() < 8 => break,
            4 if version == Version::Two => steps.push(Step::Upd(id, word(8), word(12))),
            unknown => return (steps, Some(FrameError::Command(unknown))),
        }
        bytes = &bytes[8 + body.len()..];
    }
    (steps, None)
}

/// The same, read in pieces that end at `cuts`.
fn read(version: Version, bytes: &[u8], cuts: &[usize]) -> (Vec<Step>, Option<FrameError>) {
    let mut decoder = Decoder::new(version);
    let mut steps = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        let mut piece = &bytes[from..to];
        loop {
            match decoder.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Syn(id))) => steps.push(Step::Syn(id)),
                Ok(Some(Event::Fin(id))) => steps.push(Step::Fin(id)),
                Ok(Some(Event::Nop)) => steps.push(Step::Nop),
                Ok(Some(Event::Psh(id, payload))) => {
                    assert!(!payload.is_empty());
                    steps.extend(payload.iter().map(|byte| Step::Byte(id, *byte)));
                }
                Ok(Some(Event::Upd { id, consumed, window })) => {
                    steps.push(Step::Upd(id, consumed, window));
                }
                Err(error) => return (steps, Some(error)),
            }
        }
        assert!(piece.is_empty());
        from = to;
    }
    (steps, None)
}

fn frame(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let control = prop_oneof![Just(Command::Syn), Just(Command::Fin), Just(Command::Nop)];
    prop_oneof![
        4 => (control, any::<u32>())
            .prop_map(move |(command, id)| header(version, command, 0, id).to_vec()),
        4 => (any::<u32>(), vec(any::<u8>(), 0..300)).prop_map(move |(id, payload)| {
            let length = u16::try_from(payload.len()).unwrap();
            [&header(version, Command::Psh, length, id)[..], &payload].concat()
        }),
        2 => any::<[u32; 3]>().prop_map(|[id, consumed, window]| {
            update_frame(id, consumed, window).to_vec()
        }),
        1 => (0..4_u8, 0..6_u8, any::<u16>(), any::<u32>()).prop_map(|(version, command, length, id)| {
            let mut head = header(Version::One, Command::Syn, length, id).to_vec();
            (head[0], head[1]) = (version, command);
            head
        }),
    ]
}

fn stream() -> impl Strategy<Value = (Version, Vec<u8>)> {
    prop_oneof![Just(Version::One), Just(Version::Two)].prop_flat_map(|version| {
        (Just(version), vec(frame(version), 0..20).prop_map(|frames| frames.concat()))
    })
}

proptest! {
    #[test]
    fn frames_are_read_wherever_they_are_cut(
        (version, bytes) in stream(),
        cuts in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(read(version, &bytes, &cuts), slow(version, &bytes));
    }

    #[test]
    fn any_bytes_are_read_as_the_model_reads_them(bytes in vec(0..10_u8, 0..200)) {
        for version in [Version::One, Version::Two] {
            let every: Vec<_> = (0..bytes.len()).collect();
            prop_assert_eq!(read(version, &bytes, &every), slow(version, &bytes));
        }
    }
}

/// The bytes written as two hexadecimal digits each.
fn hex(text: &str) -> Vec<u8> {
    let digits = text.split([' ', '|', '\n']).filter(|digits| !digits.is_empty());
    digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// A client opened a stream, wrote ten bytes, read them back, and closed it; the server wrote what it read until the end.
#[test]
fn what_was_recorded_is_read_and_written_the_same() {
    let payload: Vec<u8> = (0..10).collect();
    let bytes = || payload.iter().map(|byte| Step::Byte(3, *byte));
    let update = Step::Upd(3, 10, 65_536);
    let cases = [
        (include_str!("../fixtures/smux/version-1-client.hex"), Version::One, [true, false]),
        (include_str!("../fixtures/smux/version-1-server.hex"), Version::One, [false, false]),
        (include_str!("../fixtures/smux/version-2-client.hex"), Version::Two, [true, false]),
        (include_str!("../fixtures/smux/version-2-server.hex"), Version::Two, [false, true]),
    ];
    for (text, version, [opens, tells_first]) in cases {
        let mut steps = Vec::new();
        let mut frames = Vec::new();
        let tell = |steps: &mut Vec<_>, frames: &mut Vec<_>| {
            steps.push(update.clone());
            frames.extend(update_frame(3, 10, 65_536));
        };
        if opens {
            steps.push(Step::Syn(3));
            frames.extend(header(version, Command::Syn, 0, 3));
        }
        if version == Version::Two && tells_first {
            tell(&mut steps, &mut frames);
        }
        steps.extend(bytes());
        frames.extend([&header(version, Command::Psh, 10, 3)[..], &payload].concat());
        if version == Version::Two && !tells_first {
            tell(&mut steps, &mut frames);
        }
        steps.push(Step::Fin(3));
        frames.extend(header(version, Command::Fin, 0, 3));
        let recorded = hex(text);
        assert_eq!(read(version, &recorded, &[]), (steps, None));
        assert_eq!(frames, recorded);
    }
}
