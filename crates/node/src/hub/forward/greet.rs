//! Extension frames of rtun hosts that hold no packets, and the hub's answers.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rtun_core::DropReason;
use rtun_proto::extension::{self, Capabilities, Extension, Hello, HelloReply, Notice};
use tracing::debug;

use crate::hub::{
    association::{Greeting, HostAssociation},
    namespace::{Moment, Namespace, RoutingSnapshot},
    ping::take_echo,
};

/// After the loss of a hub, this many hosts come back per second.
const RETURNS_PER_SECOND: f64 = 2000.0;

/// Bounds of the window over which they spread their return.
const WINDOW_MIN: Duration = Duration::from_millis(200);
const WINDOW_MAX: Duration = Duration::from_secs(30);

/// Handles a frame that holds no packet; an error is the reason why the frame counts as lost.
pub(super) fn answer(
    from: &Arc<HostAssociation>,
    namespace: &Arc<Namespace>,
    snapshot: &RoutingSnapshot,
    payload: &[u8],
) -> Result<(), DropReason> {
    if payload.is_empty() {
        return Err(DropReason::FrameEmpty);
    }
    let greeted = from.greeting.get().is_some();
    match Extension::decode(payload) {
        Ok(Extension::Hello(hello)) if !greeted => {
            greet(from, namespace, snapshot, hello);
            Ok(())
        }
        // From a host that has not sent a hello, such a frame is a packet of an unknown IP version.
        _ if !greeted => Err(DropReason::IpVersion),
        Ok(frame) => match from.link.take(frame) {
            None => Ok(()),
            Some(Extension::Echo(echo)) => {
                take_echo(from, namespace, echo);
                Ok(())
            }
            Some(_) => Err(DropReason::FrameUnknown),
        },
        Err(_) => Err(DropReason::FrameMalformed),
    }
}

fn greet(
    host: &Arc<HostAssociation>,
    namespace: &Namespace,
    snapshot: &RoutingSnapshot,
    hello: Hello,
) {
    let Hello { version, capabilities, mtu, instance, software } = hello;
    let mut offered = Capabilities::ECHOES;
    if snapshot.gso_frames {
        offered = offered.with(Capabilities::GSO_FRAMES);
    }
    if host.link.has_datagrams() {
        offered = offered.with(Capabilities::DATAGRAMS);
    }
    let accepted = capabilities.intersection(offered);
    let datagrams = accepted.has(Capabilities::DATAGRAMS);
    let gso_frames = accepted.has(Capabilities::GSO_FRAMES);
    // This goes before any other extension frame to the host: those are sent only after `greeting` is set.
    host.link.send_extension(&Extension::HelloReply(HelloReply {
        version: version.min(extension::VERSION),
        accepted,
        max_frame: u16::MAX,
        reconnect_window: return_window(host.population.load(Ordering::Relaxed)),
        namespace: *namespace.id.as_bytes(),
        addresses: known_address(host, namespace, snapshot).into_iter().collect(),
    }));
    debug!(
        namespace = %namespace.id, host = %host.host, software, mtu,
        super_frames = gso_frames, datagrams,
        "host speaks the extension"
    );
    let notices = capabilities.has(Capabilities::NOTICES);
    let echoes = capabilities.has(Capabilities::ECHOES);
    let greeting = Greeting { instance, mtu, gso_frames, notices, echoes, software };
    if host.greeting.set(greeting).is_ok() {
        host.link.greeted(datagrams);
        namespace.end_older_of_run(host);
        tell_of_namesakes(host, namespace);
    }
}

/// Sends a notice to a host, and to other runs that report the same name, about each other.
fn tell_of_namesakes(host: &Arc<HostAssociation>, namespace: &Namespace) {
    let instance = |it: &HostAssociation| it.greeting.get().map(|greeting| greeting.instance);
    for other in namespace.claims(&host.host) {
        if instance(&other) == instance(host) {
            continue;
        }
        for (to, namesake) in [(host, &other), (&other, host)] {
            if to.greeting.get().is_some_and(|greeting| greeting.notices) {
                let text = format!("{} reports this host's name too", namesake.peer);
                to.link.send_extension(&Extension::Notice(Notice { text }));
            }
        }
    }
}

/// The host's own address, unless it is known that it is not routed to this host.
fn known_address(
    host: &HostAssociation,
    namespace: &Namespace,
    snapshot: &RoutingSnapshot,
) -> Option<(IpAddr, u8)> {
    let addr = host.address?;
    let moment = Moment { snapshot, namespace: Some(namespace) };
    let known = snapshot.routing.leads_to(&host.host, addr, &moment) != Some(false);
    known.then_some((addr, if addr.is_ipv4() { 32 } else { 128 }))
}

/// The window over which this many hosts spread their return.
fn return_window(hosts: usize) -> Duration {
    let seconds = u32::try_from(hosts).map_or(f64::MAX, f64::from) / RETURNS_PER_SECOND;
    Duration::try_from_secs_f64(seconds).unwrap_or(WINDOW_MAX).clamp(WINDOW_MIN, WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_hosts_the_longer_their_return_takes() {
        assert_eq!(return_window(1), WINDOW_MIN);
        assert_eq!(return_window(10_000), Duration::from_secs(5));
        assert_eq!(return_window(usize::MAX), WINDOW_MAX);
    }
}
