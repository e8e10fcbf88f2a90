//! What a host needs in order to join a hub of this process.

use super::{Board, View};
use crate::hub::{JoinNeeds, JoinQuery};

impl Board {
    /// What a host needs to join a hub; the error says what is wrong with the query.
    pub fn joining(&self, query: &JoinQuery) -> Result<JoinNeeds, String> {
        let asked = query.understand()?;
        let services = self.services.load();
        let is_meant = |name: &str| query.service.as_ref().is_none_or(|wanted| wanted == name);
        let hubs = services.iter().filter(|shown| is_meant(&shown.name));
        let hubs = hubs.filter_map(|shown| match &shown.view {
            View::Hub(hub) => Some((&shown.name, hub)),
            View::Host(_)
            | View::UdpServer(_)
            | View::UdpClient(_)
            | View::Relay(_)
            | View::TapServer(_)
            | View::TapClient(_) => None,
        });
        match hubs.collect::<Vec<_>>()[..] {
            [(_, hub)] => hub.joining(&asked),
            [] if query.service.is_some() => Err("there is no hub of that name".into()),
            [] => Err("no hub runs here".into()),
            [(one, _), (other, _), ..] => {
                Err(format!("there are several hubs: choose by `service`, as {one} or {other}"))
            }
        }
    }
}
