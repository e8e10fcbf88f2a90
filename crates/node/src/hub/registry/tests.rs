use std::{
    io::{self, IoSlice},
    sync::atomic::AtomicBool,
    task::{Context, Poll},
    time::Duration,
};

use rtun_core::{PluginAnswer, Route};
use rtun_proto::frame::write_frame;
use rtun_settings::{HubRules, LocatedRow, Named, Provider, Rows};
use rtun_transport::{
    Stream,
    memory::{self, MemoryStream},
};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    feeds::Feeds, hub::rules::ResolvedNames, report::Transport, runtime::machine::Machine,
};

const NAMESPACE: NamespaceId = NamespaceId::from_bytes([9; 16]);

/// A stream that fails when the test asks for it.
struct Fragile {
    inner: MemoryStream,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    reading_panics: AtomicBool,
    writing_panics: AtomicBool,
    reading_fails: AtomicBool,
}

impl Stream for Fragile {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        assert!(!self.faults.reading_panics.load(Ordering::Relaxed), "on purpose");
        match self.faults.reading_fails.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => self.inner.try_read(into),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(!self.faults.writing_panics.load(Ordering::Relaxed), "on purpose");
        self.inner.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.try_write_vectored(pieces)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_shutdown(cx)
    }
}

/// With routes for all namespaces that have none of their own.
fn registry() -> Arc<Registry> {
    let row = |n: u8| {
        let route = Route::new(
            format!("10.0.0.{n}/32").parse().unwrap(),
            format!("host-{n}").parse().unwrap(),
        );
        LocatedRow { value: route, file: "test".into(), line: 1 }
    };
    let provider = Provider::Rows(Rows::inline((1..=2).map(row).collect()));
    let config = Arc::new(HubRules {
        default_router: Some(Named { name: "table".into(), provider }),
        gso_frames: true,
        queue_budget: 4 << 20,
        ..HubRules::default()
    });
    let rules = Rules::compile(&config, &Feeds::default(), &ResolvedNames::default(), None);
    let (limiters, quotas) = (HubLimiters::default(), Arc::default());
    let machine = Machine::default();
    Arc::new(Registry::new("hub", rules.ok().unwrap(), limiters, quotas, None, &machine))
}

/// A host that has joined, and its task at the hub.
struct TestHost {
    stream: MemoryStream,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

fn join(registry: &Arc<Registry>, number: u8) -> TestHost {
    let (stream, inner) = memory::pair(4096);
    let faults = Arc::<Faults>::default();
    let at_hub = Arc::new(Fragile { inner, faults: Arc::clone(&faults) });
    let name = format!("host-{number}");
    let request = JoinRequest {
        client: [192, 0, 2, 1].into(),
        credential: None,
        host: &name,
        namespace: NAMESPACE,
        associate: true,
        accepted: PluginAnswer::NotAsked,
        placed: PluginAnswer::NotAsked,
    };
    let arrival = Arrival {
        peer: "192.0.2.1:1000".parse().unwrap(),
        transport: Transport::Tcp,
        address: None,
        stream: at_hub,
    };
    let Joining::Joined(member) = registry.join(&request, arrival) else { panic!("not admitted") };
    member.welcome(b"welcome").unwrap();
    let task = tokio::spawn(async move {
        member.run(FrameBuffer::new()).await;
        let farewell = member.link.farewell();
        drop(member);
        farewell.await;
    });
    TestHost { stream, faults, task }
}

/// A frame with a packet from one host to another.
fn frame(from: u8, to: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    (packet[0], packet[8], packet[9]) = (0x45, 64, 253);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[12..16].copy_from_slice(&[10, 0, 0, from]);
    packet[16..20].copy_from_slice(&[10, 0, 0, to]);
    let mut frame = Vec::new();
    write_frame(&packet, &mut frame).unwrap();
    frame
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(5), met).await.expect(what);
}

/// A way to end a host's association, and the reason that counts.
type EndCase = (&'static str, fn(&Arc<Registry>, &TestHost));

const ENDS: [EndCase; 8] = [
    ("peer_closed", |_, host| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(host.stream.poll_shutdown(&mut cx).is_ready());
    }),
    ("peer_reset", |_, host| {
        host.faults.reading_fails.store(true, Ordering::Relaxed);
        (&host.stream as &dyn Stream).try_write(b"x").unwrap();
    }),
    // The one that reads.
    ("internal", |_, host| {
        host.faults.reading_panics.store(true, Ordering::Relaxed);
        (&host.stream as &dyn Stream).try_write(b"x").unwrap();
    }),
    // The one that writes, while packets wait.
    ("internal", |_, host| host.faults.writing_panics.store(true, Ordering::Relaxed)),
    // Its task is ended from outside, wherever it is.
    ("internal", |_, host| host.task.abort()),
    ("shutdown", |registry, _| registry.end_all(EndReason::Shutdown)),
    ("revoked", |registry, _| registry.end_all(EndReason::Revoked)),
    ("replaced", |registry, _| registry.end_all(EndReason::Replaced)),
];

/// Packets wait for host 2, which takes nothing, when it ends.
#[tokio::test]
async fn whatever_ends_an_association_releases_all_that_it_had() {
    for (number, (reason, end)) in ENDS.into_iter().enumerate() {
        let registry = registry();
        let sender = join(&registry, 1);
        let host = join(&registry, 2);
        let sent = 20;
        for _ in 0..sent {
            let frame = frame(1, 2, 1000);
            (&sender.stream as &dyn Stream).write_all(&frame).await.unwrap();
        }
        let stats = || registry.stats();
        let traffic = || {
            let mut all = stats().gone;
            stats().namespaces.iter().for_each(|namespace| all += &namespace.traffic);
            all
        };
        until("all packets have come", || traffic().packets_in == sent).await;
        until("some wait", || stats().queue_memory > 0).await;
        if number == 3 {
            // Room wakes the task that writes.
            let mut some = [0; 2000];
            (&host.stream as &dyn Stream).read_exact(&mut some).await.unwrap();
        }
        end(&registry, &host);
        if number == 3 {
            let mut some = [0; 2000];
            let _ = (&host.stream as &dyn Stream).read_exact(&mut some).await;
        }
        until("it has left", || !names(&registry).contains(&"host-2".to_owned())).await;
        assert_eq!(registry.ends().get(reason).map(|it| it.count > 0), Some(true), "{reason}");
        let rest = async {
            let mut rest = [0; 8192];
            while (&host.stream as &dyn Stream).read(&mut rest).await.is_ok_and(|n| n > 0) {}
        };
        timeout(Duration::from_secs(5), rest).await.expect("its connection has ended");
        drop(sender);
        until("both have left", || names(&registry).is_empty()).await;
        assert!(stats().namespaces.is_empty(), "{reason}: the namespace is removed");
        until("nothing is held", || stats().queue_memory == 0).await;
        assert_eq!(registry.commons.population.load(Ordering::Relaxed), 0, "{reason}");
        let traffic = traffic();
        assert_eq!(
            traffic.packets_in,
            traffic.packets_out + traffic.all_dropped(),
            "{reason}: the books balance"
        );
    }
}

fn names(registry: &Registry) -> Vec<String> {
    let namespaces = registry.stats().namespaces;
    namespaces.iter().flat_map(|it| it.hosts.iter().map(|host| host.host.to_string())).collect()
}

#[tokio::test]
async fn a_namespace_goes_with_its_last_host() {
    let registry = registry();
    let host = join(&registry, 1);
    let namespace = Arc::downgrade(&registry.moment(NAMESPACE).1.unwrap().0);
    drop(host.stream);
    until("it has left", || names(&registry).is_empty()).await;
    host.task.await.unwrap();
    assert_eq!(namespace.strong_count(), 0, "nothing keeps it");
}
