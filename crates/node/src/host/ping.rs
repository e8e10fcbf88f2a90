//! The path from a host to another one of its namespace, leg by leg: to the hub, and what the hub measures from there.

use std::time::Duration;

use rtun_core::HostName;

use super::{HostProgress, session::Session};
use crate::{
    link::{ECHO_PATIENCE, EchoQuestion, NoEcho, ReturnedEcho},
    report::{LegOutcome, PathLeg, PathQuery, PathView},
};

/// How long the hub may take to answer for another host: that host's time, that of the way, and of questions before.
const HUB_PATIENCE: Duration = Duration::from_millis(2500);

const TOO_OFTEN: &str = "it is asked too often: 50 times a second at most";

impl HostProgress {
    /// The path to `host`, measured once; the error says why nothing can be measured.
    pub(crate) async fn ping(
        &self,
        service: &str,
        host: &HostName,
        query: &PathQuery,
    ) -> Result<PathView, String> {
        let (Some(session), Some((hub, namespace))) = (self.session.load_full(), self.hub()) else {
            return Err(format!("{service} is not connected to a hub"));
        };
        if query.namespace.is_some_and(|wanted| wanted != namespace) {
            return Err(format!(
                "{service} is in namespace {namespace}, and sees hosts of that only"
            ));
        }
        let legs = self.legs(&session, &hub, host, query.size).await;
        Ok(PathView { service: service.to_owned(), namespace, legs })
    }

    async fn legs(
        &self,
        session: &Session,
        hub: &str,
        host: &HostName,
        length: u16,
    ) -> Vec<PathLeg> {
        let (own, host) = (self.host.as_str(), host.as_str());
        if !session.is_rtun {
            let because = "the hub runs a program other than rtun, which answers no echoes";
            return [(own, hub), (hub, host)]
                .map(|(from, to)| PathLeg::not_measured(from, to, because))
                .into();
        }
        if !session.echoes() {
            let because = "the hub runs an older rtun, which measures no legs for its hosts";
            let first = session.link.echo(EchoQuestion::Ping, ECHO_PATIENCE).await;
            let second = PathLeg::not_measured(hub, host, because);
            return vec![self.first_leg(session, hub, first), second];
        }
        let to = |host: &str| EchoQuestion::Echo { host: host.to_owned(), length };
        let (first, second) = tokio::join!(
            session.link.echo(to(""), ECHO_PATIENCE),
            session.link.echo(to(host), HUB_PATIENCE)
        );
        let second = match second {
            Ok(ReturnedEcho { reply: Some(reply), .. }) => PathLeg::of_reply(hub, host, &reply),
            Err(NoEcho::Busy) => PathLeg::not_measured(hub, host, TOO_OFTEN),
            Ok(ReturnedEcho { reply: None, .. }) | Err(NoEcho::Lost) => {
                PathLeg::of(hub, host, LegOutcome::Unknown, 0, 0)
            }
        };
        vec![self.first_leg(session, hub, first), second]
    }

    /// The leg to the hub, of which this came.
    fn first_leg(
        &self,
        session: &Session,
        hub: &str,
        answer: Result<ReturnedEcho, NoEcho>,
    ) -> PathLeg {
        let own = self.host.as_str();
        let mut datagram = session.link.longest_datagram();
        let outcome = match answer {
            Ok(ReturnedEcho { round_trip, reply }) => {
                datagram = reply.map_or(datagram, |reply| datagram.min(reply.datagram));
                LegOutcome::Answered { round_trip }
            }
            Err(NoEcho::Lost) => LegOutcome::Lost,
            Err(NoEcho::Busy) => return PathLeg::not_measured(own, hub, TOO_OFTEN),
        };
        let takes = session.reply.get().map_or(u16::MAX, |reply| reply.max_frame);
        PathLeg::of(own, hub, outcome, self.mtu.min(takes), datagram)
    }
}
