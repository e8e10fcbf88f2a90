//! What an rtun host says besides its packets, and what the hub answers.

use std::{sync::Arc, time::Duration};

use rtun_core::{DropReason, Known};
use rtun_proto::extension::{self, Capabilities, Extension, Hello, HelloReply};
use rtun_proto::frame::MAX_FRAME;
use tracing::info;

use super::{
    association::{Association, EndReason, Greeting},
    namespace::Snapshot,
};

/// Hosts that come back per second after the loss of a hub.
const RETURNS_PER_SECOND: usize = 2000;

/// Bounds of the window over which they spread.
const WINDOW_MIN: Duration = Duration::from_millis(200);
const WINDOW_MAX: Duration = Duration::from_secs(30);

/// Answers a frame that holds no packet; an error is why it counts as lost.
pub(super) fn answer(
    from: &Arc<Association>,
    snapshot: &Snapshot,
    payload: &[u8],
) -> Result<(), DropReason> {
    if payload.is_empty() {
        return Err(DropReason::FrameEmpty);
    }
    let greeted = from.greeting.get().is_some();
    match Extension::decode(payload) {
        Ok(Extension::Hello(hello)) if !greeted => {
            greet(from, snapshot, hello);
            Ok(())
        }
        // From hosts that have not said hello such frames are packets of no IP version.
        _ if !greeted => Err(DropReason::IpVersion),
        Ok(Extension::Ping(stamp)) => {
            from.send_control(&Extension::Pong(stamp));
            Ok(())
        }
        Ok(Extension::Pong(_)) => Ok(()),
        Ok(_) => Err(DropReason::FrameUnknown),
        Err(_) => Err(DropReason::FrameMalformed),
    }
}

fn greet(host: &Arc<Association>, snapshot: &Snapshot, hello: Hello) {
    let Hello { version, capabilities, mtu, instance, software } = hello;
    let offered =
        if snapshot.super_frames { Capabilities::SUPER_FRAMES } else { Capabilities::NONE };
    let accepted = capabilities.intersection(offered);
    let reply = HelloReply {
        version: version.min(extension::VERSION),
        accepted,
        max_frame: MAX_FRAME as u16,
        reconnect_window: window(host.population()),
        namespace: *host.namespace.id.as_bytes(),
        addresses: known_addresses(host, snapshot),
    };
    info!(
        namespace = %host.namespace.id, host = %host.host, software, mtu,
        super_frames = accepted.has(Capabilities::SUPER_FRAMES), "host speaks the extension"
    );
    let super_frames = accepted.has(Capabilities::SUPER_FRAMES);
    let greeting = Greeting { instance, mtu, super_frames, software };
    if host.greeting.set(greeting).is_err() {
        return;
    }
    host.send_control(&Extension::HelloReply(reply));
    host.namespace.end_older_runs(host, EndReason::Replaced);
}
