//! Answers without an end: events, log lines and samples of lost packets, a line of JSON each, until the client goes.

use std::{io, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{MissedTickBehavior, interval, timeout},
};

use super::protocol::{DEADLINE, FollowAnswer, FollowRequest};
use crate::{
    operations::board::Board,
    runtime::{events::Followed, live_log::FollowedLine},
};

/// How often samples of lost packets are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Sends `stream` what it asks for, until it is closed, takes nothing for [`DEADLINE`], or this process ends.
pub(super) async fn follow(
    mut stream: UnixStream,
    board: &Board,
    request: FollowRequest,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = stream.split();
    let gone = async {
        let mut ignored = [0; 64];
        while from_client.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    };
    let mut send = async |answer: &FollowAnswer| {
        let line = line(answer)?;
        timeout(DEADLINE, to_client.write_all(&line)).await?
    };
    let following = async {
        match request {
            FollowRequest::Events { after } => {
                let mut follower = board.follow_events(after);
                while let Some(followed) = follower.next().await {
                    send(&match followed {
                        Followed::Event(event) => FollowAnswer::Event(Arc::unwrap_or_clone(event)),
                        Followed::Missed(count) => FollowAnswer::Missed(count),
                    })
                    .await?;
                }
                Ok(())
            }
            FollowRequest::Log { level } => {
                let mut follower = board.follow_log(level);
                while let Some(followed) = follower.next().await {
                    send(&match followed {
                        FollowedLine::Line(line) => FollowAnswer::Log(Arc::unwrap_or_clone(line)),
                        FollowedLine::Missed(count) => FollowAnswer::Missed(count),
                    })
                    .await?;
                }
                Ok(())
            }
            FollowRequest::Drops => {
                let _sampling = board.lease_drop_samples();
                let mut looks = interval(LOOK);
                looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut last = board.drop_samples_after(0).last().map_or(0, |sample| sample.id);
                loop {
                    looks.tick().await;
                    let samples = board.drop_samples_after(last);
                    let Some(newest) = samples.last().map(|sample| sample.id) else { continue };
                    let missed = (newest - last) - samples.len() as u64;
                    last = newest;
                    if missed > 0 {
                        send(&FollowAnswer::Missed(missed)).await?;
                    }
                    for sample in samples {
                        send(&FollowAnswer::Drop(sample)).await?;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = gone => Ok(()),
        ended = following => ended,
    }
}

fn line(answer: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}
