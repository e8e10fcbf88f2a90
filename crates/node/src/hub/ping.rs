//! The leg between a hub and a host, measured for somebody who asks: another host of its namespace, or who operates the hub.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rtun_core::{HostName, NamespaceId};
use rtun_proto::extension::{Echo, EchoOutcome, EchoReply};
use tokio::{sync::mpsc, time::sleep};

use super::{
    HubServiceView,
    association::HostAssociation,
    echo_desk::{APART, EchoDesk},
    namespace::Namespace,
};
use crate::{
    link::{ECHO_PATIENCE, EchoQuestion, NoEcho, ReturnedEcho},
    report::{PathLeg, PathQuery, PathView},
};

/// Takes an echo of `asker` about another host of its namespace. The answer comes later.
pub(super) fn take_echo(asker: &Arc<HostAssociation>, namespace: &Arc<Namespace>, echo: Echo) {
    let desk = asker.echoes.get_or_init(|| {
        let (asker, namespace) = (Arc::downgrade(asker), Arc::downgrade(namespace));
        EchoDesk::open(move |asked| answer(asker, namespace, asked))
    });
    let busy = reply_to(&echo, EchoOutcome::Busy);
    if !desk.take(echo) {
        asker.link.reply_to_echo(&busy);
    }
}

/// Answers one question after the other, until its host has left.
async fn answer(
    asker: Weak<HostAssociation>,
    namespace: Weak<Namespace>,
    mut asked: mpsc::Receiver<Echo>,
) {
    while let Some(echo) = asked.recv().await {
        let target = namespace.upgrade().and_then(|namespace| newest(&namespace, &echo.host));
        let reply = measure(target.as_deref(), &echo).await;
        let Some(asker) = asker.upgrade() else { return };
        asker.link.reply_to_echo(&reply);
        drop(asker);
        sleep(APART).await;
    }
}

fn newest(namespace: &Namespace, host: &str) -> Option<Arc<HostAssociation>> {
    let host = HostName::new(host).ok()?;
    namespace.claims(&host).into_iter().next()
}

/// Asks the host that `echo` names, if it is connected; what came of it.
async fn measure(host: Option<&HostAssociation>, echo: &Echo) -> EchoReply {
    let Some(host) = host else { return reply_to(echo, EchoOutcome::NotConnected) };
    let Some(greeting) = host.greeting.get() else { return reply_to(echo, EchoOutcome::Silent) };
    let question = match greeting.echoes {
        true => EchoQuestion::Echo { host: String::new(), length: echo.length },
        false => EchoQuestion::Ping,
    };
    let datagram = host.link.longest_datagram();
    let measured = EchoReply { mtu: greeting.mtu, datagram, ..reply_to(echo, EchoOutcome::Lost) };
    match host.link.echo(question, ECHO_PATIENCE).await {
        Ok(ReturnedEcho { round_trip, reply }) => EchoReply {
            outcome: EchoOutcome::Answered,
            round_trip,
            datagram: reply.map_or(datagram, |reply| datagram.min(reply.datagram)),
            ..measured
        },
        Err(NoEcho::Lost) => measured,
        Err(NoEcho::Busy) => reply_to(echo, EchoOutcome::Busy),
    }
}

/// A reply that says nothing but this.
fn reply_to(echo: &Echo, outcome: EchoOutcome) -> EchoReply {
    let Echo { stamp, length, .. } = *echo;
    EchoReply { stamp, outcome, round_trip: Duration::ZERO, mtu: 0, datagram: 0, length }
}

impl HubServiceView {
    /// The namespaces in which a host of this name is connected.
    pub(crate) fn namespaces_with(&self, host: &HostName) -> Vec<NamespaceId> {
        let registry = &self.connections.served.registry;
        registry.with_namespaces(|namespaces, _| {
            namespaces.filter(|(it, _)| it.has(host)).map(|(it, _)| it.id).collect()
        })
    }

    /// The path to a host in this namespace: one leg.
    pub(crate) async fn ping(&self, query: &PathQuery, namespace: NamespaceId) -> PathView {
        let connections = &self.connections;
        let (_, present) = connections.served.registry.moment(namespace);
        let target = present.and_then(|(namespace, _)| newest(&namespace, &query.host));
        let echo = Echo { stamp: [0; 8], host: query.host.clone(), length: query.size };
        let reply = measure(target.as_deref(), &echo).await;
        let service = connections.service.clone();
        let legs = vec![PathLeg::of_reply(&service, &query.host, &reply)];
        PathView { service, namespace, legs }
    }
}
