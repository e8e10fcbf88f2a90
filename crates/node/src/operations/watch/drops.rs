//! What is lost and why, and the last of it.

use rtun_core::{DropReason, udp_tunnel::DatagramDrop};
use serde::{Deserialize, Serialize};

use super::{service::WatchedService, state::ServiceWatch};
use crate::counters::{DropSample, DropSamples};

/// What is lost and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropsView {
    /// By service and reason, the most frequent first.
    pub reasons: Vec<DropReasonView>,
    /// Whether samples are kept now.
    pub sampling: bool,
    /// The last packets of each reason, the oldest first, as far as they were kept.
    pub samples: Vec<DropSample>,
}

/// Packets lost for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropReasonView {
    /// The service that lost them.
    pub service: String,
    /// The fixed word.
    pub reason: String,
    /// How many, since the service started.
    pub packets: u64,
    /// When the last one was, in seconds of Unix time, to the ten seconds between two samples.
    pub last: u64,
    /// What it means and what to do.
    pub help: String,
}

impl ServiceWatch {
    /// What is lost at these services.
    pub(crate) fn drops(
        &self,
        services: &[WatchedService<'_>],
        samples: &DropSamples,
    ) -> DropsView {
        // Enters what was lost until now.
        drop(self.sampled(services));
        let state = self.state();
        let mut reasons: Vec<_> = services
            .iter()
            .flat_map(|service| {
                let seen = state.drops.of(service.id);
                seen.map(|(reason, (packets, last))| DropReasonView {
                    service: service.name.to_owned(),
                    reason: reason.clone(),
                    packets: *packets,
                    last: *last,
                    help: help(reason),
                })
            })
            .collect();
        drop(state);
        reasons.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.reason.cmp(&b.reason)));
        DropsView { reasons, sampling: samples.is_on(), samples: samples.after(0) }
    }
}

fn help(word: &str) -> String {
    let of_hub = DropReason::ALL.into_iter().find(|it| it.as_str() == word);
    let of_tunnel = DatagramDrop::ALL.into_iter().find(|it| it.as_str() == word);
    let help = of_hub.map(DropReason::help).or_else(|| of_tunnel.map(DatagramDrop::help));
    help.unwrap_or_default().to_owned()
}
