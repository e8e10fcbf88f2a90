//! Explains where a packet goes and why, by the rules and clients of now.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use rtun_core::{
    explain::{
        Listed, NetworkRows, Origin, RefusedRegister, TunnelConclusion, TunnelEnd,
        TunnelExplanation, TunnelQuestion, TunnelScene, explain_tunnel,
    },
    udp_tunnel::{DatagramDrop, RegisterRefusal},
};
use rtun_settings::{LocatedRow, Route};

use super::{super::limits::LimitedPath, UdpServerState};

impl UdpServerState {
    /// Explains what happens to a packet.
    pub(crate) fn explain(&self, question: &TunnelQuestion) -> TunnelExplanation {
        let TunnelQuestion { source, destination, .. } = *question;
        let rules = Arc::clone(&self.decisions().rules);
        // The rows are read without the lock: there may be many.
        let routes = rules.client_routes();
        let rows = NetworkRows::containing(source, destination, routes.iter().map(listed));
        let now = Instant::now();
        let decisions = self.decisions();
        let scene = TunnelScene {
            service: &self.service,
            routing: &decisions.routing,
            has_user: &|address| rules.has_user(address),
            is_live: true,
            now,
        };
        let mut explanation = explain_tunnel(&scene, rows, question);
        let gateways = [source, destination].map(|it| decisions.routing.routes.gateways(it));
        let mut about: HashSet<IpAddr> = gateways.concat().into_iter().collect();
        about.extend([source, destination]);
        let refused = decisions.refusals.about(&about);
        explanation.refused = refused.map(|refused| report(refused, now)).collect();
        drop(decisions);
        let outer = |end: Option<&TunnelEnd>| match end {
            Some(TunnelEnd::Client(client)) => client.live.as_ref().map(|live| live.outer),
            _ => None,
        };
        let ends = [(Some(&explanation.sender), LimitedPath::In)];
        let ends = ends.into_iter().chain([(explanation.receiver.as_ref(), LimitedPath::Out)]);
        let limits = ends.filter_map(|(end, path)| Some(self.limits.explained(outer(end)?, path)));
        explanation.limits = limits.flatten().collect();
        if self.limits.is_over_quota() && explanation.conclusion.is_delivered() {
            explanation.conclusion =
                TunnelConclusion::Dropped { reason: DatagramDrop::QuotaExceeded };
        }
        explanation
    }
}

fn listed(row: &LocatedRow<Route>) -> Listed<'_> {
    let LocatedRow { value: route, file, line } = row;
    Listed { route, origin: Origin::Inline, source: file, line: *line }
}

fn report(
    (address, outer, refusal, when): (IpAddr, SocketAddr, RegisterRefusal, Instant),
    now: Instant,
) -> RefusedRegister {
    let RegisterRefusal { reason, incumbent, .. } = refusal;
    let seconds = now.saturating_duration_since(when).as_secs();
    RefusedRegister { address, reason, outer, incumbent, seconds }
}
