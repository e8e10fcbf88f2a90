//! What the limits of a server let through of each client's frames, sealed or not.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    common::{World, wait_until},
    support::{CLEAR, SEALED, Script, drops, place_of, server_url},
};

/// In bytes a second.
const LIMIT: f64 = 102_400.0;

/// The text of each frame.
const TEXT: usize = 1000;

#[test]
fn a_client_sends_and_gets_no_more_than_its_limits() {
    let Some(world) = World::new() else { return };
    let machine = world.machine("scripts");
    for (cipher, overhead) in [(CLEAR, 0), (SEALED, 48)] {
        for direction in ["in", "out"] {
            let url = server_url(cipher) + &format!("&limiter.conn.{direction}=100KB");
            let server = world.start(&world.hub, &["-L", &url]);
            wait_until("a listening server", || server.log().contains("listening on"));
            let new = if cipher == CLEAR { Script::new } else { Script::sealed };
            let [from, to] = [1, 2].map(|n| new(&machine, n));
            for script in [&from, &to] {
                script.say(rtun_proto::ethernet::MacAddress::BROADCAST, "hello");
                wait_until("a learnt address", || place_of(&server, script.mac).is_some());
            }
            let (len, ended) = (14 + TEXT + overhead, &AtomicBool::new(false));
            let frame = from.frame_to(to.mac, &"x".repeat(TEXT));
            let received = thread::scope(|scope| {
                scope.spawn(move || {
                    let (start, mut sent) = (Instant::now(), 0.0);
                    while !ended.load(Ordering::Relaxed) {
                        while sent < start.elapsed().as_secs_f64() * 3.0 * LIMIT {
                            from.send_frame(&frame);
                            sent += len as f64;
                        }
                        thread::sleep(Duration::from_millis(2));
                    }
                });
                let start = Instant::now() + Duration::from_millis(300);
                let mut received = 0;
                while start.elapsed() < Duration::from_millis(1500) {
                    let arrived = to.receive().map_or(0, |frame| frame.len());
                    let counts = arrived > TEXT && Instant::now() >= start;
                    received += if counts { len } else { 0 };
                }
                let rate = received as f64 / start.elapsed().as_secs_f64();
                ended.store(true, Ordering::Relaxed);
                rate
            });
            let what = format!("{direction}, cipher {cipher:?}: {received} bytes/s of {LIMIT}");
            // On a busy machine less passes: what was not sent in time is not made up for.
            assert!((0.5..1.1).contains(&(received / LIMIT)), "{what}");
            assert!(drops(&server, "rate_limited") > 50, "{what}");
            server.stop();
        }
    }
}
