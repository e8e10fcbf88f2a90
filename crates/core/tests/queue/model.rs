//! Any sequence of calls, compared with a list of the pushed frames.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use proptest::prelude::*;
use rtun_core::{DropReason, FlowQueue, QueueLimits};
use rtun_proto::{extension, frame::LEN_PREFIX};

use crate::support::*;

const LIMITS: QueueLimits = QueueLimits {
    bytes: 150_000,
    frames: 40,
    age: Duration::from_millis(200),
    target: Duration::from_millis(5),
    interval: Duration::from_millis(100),
};

#[derive(Debug, Clone)]
struct Shape {
    sender: u64,
    flow: u16,
    size: Size,
    ecn: u8,
}

#[derive(Debug, Clone, Copy)]
enum Size {
    Small,
    Middle,
    Large,
    Super,
}

#[derive(Debug, Clone)]
enum Step {
    Push { shapes: Vec<Shape>, allowance: usize },
    Control(u8),
    StartWith { shape: Shape, sent: usize },
    Stage(usize),
    Advance(usize),
    Wait(u64),
    Clear,
    Shrink,
}

struct Loss {
    reason: DropReason,
    packets: u64,
    bytes: usize,
}

impl Loss {
    fn of(lost: rtun_core::Lost<'_>) -> Self {
        Self { reason: lost.reason, packets: lost.packets, bytes: lost.payload.len() }
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    let size = prop_oneof![
        6 => Just(Size::Small),
        3 => Just(Size::Middle),
        1 => Just(Size::Large),
        1 => Just(Size::Super),
    ];
    let ecn = prop_oneof![Just(0), Just(ECT)];
    (1_u64..4, 0_u16..6, size, ecn).prop_map(|(sender, flow, size, ecn)| Shape {
        sender,
        flow,
        size,
        ecn,
    })
}

/// A flow and its sender.
type Flow = (u64, u16);

impl Shape {
    fn of(&self) -> Flow {
        (self.sender, self.flow)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let allowance = prop_oneof![4 => Just(usize::MAX), 1 => 0_usize..200_000];
    let push = (prop::collection::vec(shape(), 1..12), allowance);
    prop_oneof![
        8 => push.prop_map(|(shapes, allowance)| Step::Push { shapes, allowance }),
        1 => any::<u8>().prop_map(Step::Control),
        1 => (shape(), any::<usize>()).prop_map(|(shape, sent)| Step::StartWith { shape, sent }),
        6 => (0_usize..40_000).prop_map(Step::Stage),
        6 => prop_oneof![0_usize..50, 0_usize..40_000].prop_map(Step::Advance),
        6 => (0_u64..60).prop_map(Step::Wait),
        1 => Just(Step::Clear),
        1 => Just(Step::Shrink),
    ]
}

/// A frame that was neither sent nor lost. All payloads have different lengths, so that a loss identifies its frame.
#[derive(Debug)]
struct Waiting {
    frame: Vec<u8>,
    flow: Flow,
    packets: u64,
    arrived: Option<Instant>,
}

struct Model {
    queue: FlowQueue,
    now: Instant,
    serial: usize,
    /// By length of payload.
    waiting: BTreeMap<usize, Waiting>,
    /// Control frames in order.
    control: Vec<Vec<u8>>,
    /// The sent bytes of the first frame.
    wire: Vec<u8>,
    /// The order of the frames pushed, and of those sent, by flow.
    pushed: BTreeMap<Flow, Vec<usize>>,
    sent: BTreeMap<Flow, Vec<usize>>,
    packets_in: u64,
    packets_out: u64,
    packets_lost: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            queue: FlowQueue::new(LIMITS, 7),
            now: Instant::now(),
            serial: 0,
            waiting: BTreeMap::new(),
            control: Vec::new(),
            wire: Vec::new(),
            pushed: BTreeMap::new(),
            sent: BTreeMap::new(),
            packets_in: 0,
            packets_out: 0,
            packets_lost: 0,
        }
    }

    /// Makes a frame that must be sent or lost.
    fn frame(&mut self, shape: &Shape, arrived: Option<Instant>) -> Vec<u8> {
        self.serial += 1;
        let fill = self.serial.to_le_bytes()[0];
        let base = match shape.size {
            Size::Small => 40,
            Size::Middle => 5_000,
            Size::Large => 40_000,
            Size::Super => 20_000,
        };
        let len = base + self.serial;
        let (frame, packets) = match shape.size {
            Size::Super => {
                let frame = gso_frame(shape.flow, len, fill, shape.ecn, 1000);
                (frame, (len - HEADERS).div_ceil(1000))
            }
            _ => (frame_of(&packet(shape.flow, len, fill, shape.ecn)), 1),
        };
        let packets = packets as u64;
        self.packets_in += packets;
        let waiting = Waiting { frame: frame.clone(), flow: shape.of(), packets, arrived };
        let length = frame.len() - LEN_PREFIX;
        assert!(self.waiting.insert(length, waiting).is_none(), "lengths differ");
        self.pushed.entry(shape.of()).or_default().push(length);
        frame
    }

    fn step(&mut self, step: &Step) {
        let mut losses: Vec<Loss> = Vec::new();
        match step {
            Step::Push { shapes, allowance } => {
                for shape in shapes {
                    let frame = self.frame(shape, Some(self.now));
                    self.queue.push(shape.sender, &frame, self.now, *allowance, |lost| {
                        losses.push(Loss::of(lost))
                    });
                    let bound = LIMITS.bytes.min(*allowance);
                    for lost in losses.drain(..) {
                        let budget = *allowance < LIMITS.bytes;
                        assert!(
                            lost.reason == DropReason::QueueFullOldest
                                || budget && lost.reason == DropReason::QueueBudget
                        );
                        self.lose(lost);
                    }
                    assert!(
                        self.queue.bytes() <= bound
                            || self.waiting.len() <= 1
                            || self.waiting.len() == self.staged_frames()
                    );
                    assert!(
                        self.waiting.len() <= LIMITS.frames
                            || self.waiting.len() == self.staged_frames()
                    );
                }
            }
            Step::Control(fill) => {
                let frame = frame_of(&[4, *fill]);
                if self.queue.push_control(&frame) {
                    self.control.push(frame);
                }
            }
            Step::StartWith { shape, sent } if staged(&self.queue).is_empty() => {
                let frame = self.frame(shape, None);
                let flow = self.pushed.get_mut(&shape.of()).unwrap();
                let length = flow.pop().unwrap();
                // It goes before the others of its flow.
                let place = flow.iter().position(|length| self.waiting.contains_key(length));
                flow.insert(place.unwrap_or(flow.len()), length);
                let sent = sent % frame.len();
                self.queue.start_with(&frame, sent);
                self.wire.extend(&frame[..sent]);
            }
            Step::StartWith { .. } => {}
            Step::Stage(bytes) => {
                let before = staged(&self.queue).len();
                self.queue.stage(*bytes, self.now, |lost| losses.push(Loss::of(lost)));
                for lost in losses {
                    let arrived = self.waiting[&lost.bytes].arrived.unwrap();
                    let is_old = self.now - arrived > LIMITS.age;
                    let reason =
                        if is_old { DropReason::QueueTooOld } else { DropReason::QueueCodel };
                    assert_eq!(lost.reason, reason);
                    self.lose(lost);
                }
                let after = staged(&self.queue);
                assert!(after.len() >= *bytes || after.len() == self.queue.bytes());
                for frame in split(&after[before..]) {
                    let waiting = self.waiting.get(&(frame.len() - LEN_PREFIX));
                    let arrived = waiting.and_then(|waiting| waiting.arrived);
                    assert!(arrived.is_none_or(|arrived| self.now - arrived <= LIMITS.age));
                }
            }
            Step::Advance(bytes) => self.advance(*bytes),
            Step::Wait(millis) => self.now += ms(*millis),
            Step::Clear => {
                self.queue.clear(DropReason::GatewayClosing, |lost| losses.push(Loss::of(lost)));
                self.wire.clear();
                self.control.clear();
                for lost in losses {
                    assert_eq!(lost.reason, DropReason::GatewayClosing);
                    self.lose(lost);
                }
                assert!(self.queue.is_empty() && self.waiting.is_empty());
            }
            Step::Shrink => {
                self.queue.shrink();
                assert!(!self.queue.is_empty() || self.queue.memory() == 0);
            }
        }
        self.compare();
    }

    /// Sends up to `bytes` of the staged bytes and checks the complete frames on the wire.
    fn advance(&mut self, bytes: usize) {
        let staged = staged(&self.queue);
        let bytes = bytes.min(staged.len());
        self.wire.extend(&staged[..bytes]);
        let (mut packets, mut payload) = (0, 0);
        while let Some((length, rest)) = self.wire.split_first_chunk::<LEN_PREFIX>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if rest.len() < length {
                break;
            }
            let rest = self.wire.split_off(LEN_PREFIX + length);
            let frame = std::mem::replace(&mut self.wire, rest);
            if extension::ip_packet(&frame[LEN_PREFIX..]).is_none() {
                assert_eq!(frame, self.control.remove(0));
                continue;
            }
            let waiting = self.waiting.remove(&length).expect("sent once, and not lost");
            assert_eq!(without_mark(&frame), without_mark(&waiting.frame));
            self.sent.entry(waiting.flow).or_default().push(length);
            packets += waiting.packets;
            payload += length;
        }
        let mut calls = (0, 0);
        self.queue.advance(bytes, |sent| {
            calls.0 += sent.packets;
            calls.1 += sent.bytes;
        });
        assert_eq!(calls, (packets, payload));
        self.packets_out += packets;
    }

    fn lose(&mut self, lost: Loss) {
        let waiting = self.waiting.remove(&lost.bytes).expect("lost once, and not sent");
        assert_eq!(lost.packets, waiting.packets);
        self.packets_lost += lost.packets;
    }

    fn staged_frames(&self) -> usize {
        let stream = [&self.wire[..], &staged(&self.queue)].concat();
        split(&stream).iter().filter(|frame| extension::ip_packet(&frame[2..]).is_some()).count()
    }

    fn compare(&self) {
        let frames = self.waiting.values().map(|waiting| &waiting.frame).chain(&self.control);
        let bytes = frames.map(Vec::len).sum::<usize>() - self.wire.len();
        assert_eq!(self.queue.bytes(), bytes);
        assert_eq!(self.queue.is_empty(), bytes == 0);
        let packets = self.waiting.values().map(|waiting| waiting.packets).sum::<u64>();
        assert_eq!(self.queue.packets(), packets);
        assert_eq!(self.packets_in, self.packets_out + self.packets_lost + packets);
    }
}

/// The frame without the fields that a CE mark changes.
fn without_mark(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let ip = extension::ip_packet_mut(&mut frame[LEN_PREFIX..]).unwrap();
    assert!([0, ECT, CE].contains(&ip[1]));
    ip[1] = 0;
    ip[10..12].fill(0);
    frame
}

proptest! {
    #[test]
    fn every_frame_is_sent_whole_or_lost_once(steps in prop::collection::vec(step(), 0..60)) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.step(&Step::Stage(usize::MAX));
        model.step(&Step::Advance(usize::MAX));
        assert!(model.queue.is_empty() && model.waiting.is_empty() && model.wire.is_empty());
        for (flow, sent) in &model.sent {
            let mut pushed = model.pushed[flow].iter();
            assert!(sent.iter().all(|sent| pushed.any(|pushed| pushed == sent)), "order of {flow:?}");
        }
    }
}
