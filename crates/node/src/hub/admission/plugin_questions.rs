//! Questions to plugins about a host that wants to join. A plugin that gives no answer admits no host.

use std::net::SocketAddr;

use rtun_control::AuthQuestion;
use rtun_core::{HostName, JoinRequest, NamespaceId, PluginAnswer, Secret};

use super::error::AdmissionError;
use crate::hub::rules::Rules;

/// Whether every admission plugin admits the address.
pub(super) async fn ask_about_address(
    rules: &Rules,
    service: &str,
    peer: SocketAddr,
) -> Result<(), AdmissionError> {
    for plugin in rules.plugins.admissions() {
        match plugin.ask(service, peer).await {
            Ok(true) => {}
            Ok(false) => return Err(AdmissionError::AddressRefused),
            Err(_) => return Err(AdmissionError::AddressUnavailable),
        }
    }
    Ok(())
}

/// Whether one of the auth plugins accepts the credential, asked in turn.
pub(super) async fn ask_about_user(
    rules: &Rules,
    service: &str,
    join: &JoinRequest<'_>,
    peer: SocketAddr,
) -> PluginAnswer<bool> {
    // Plugins take text; a credential that is not UTF-8 is of no user they know.
    let texts = join
        .credential
        .map(|(user, password)| Some((str::from_utf8(user).ok()?, str::from_utf8(password).ok()?)));
    let Some(Some((user, password))) = texts else { return PluginAnswer::Answered(false) };
    let mut unavailable = false;
    for plugin in rules.plugins.authers() {
        let question = AuthQuestion {
            service: service.to_owned(),
            user: user.to_owned(),
            password: Secret::new(password),
            client: peer,
        };
        match plugin.ask(question).await {
            Ok(Some(_)) => return PluginAnswer::Answered(true),
            Ok(None) => {}
            Err(_) => unavailable = true,
        }
    }
    if unavailable { PluginAnswer::Unavailable } else { PluginAnswer::Answered(false) }
}

/// Which namespace the ingress plugin places the host in.
pub(super) async fn ask_about_place(
    rules: &Rules,
    service: &str,
    host: &str,
) -> PluginAnswer<Option<NamespaceId>> {
    let (Some(plugin), Ok(host)) = (rules.plugins.ingress(), HostName::new(host)) else {
        return PluginAnswer::Unavailable;
    };
    match plugin.ask(&host, service).await {
        Ok(namespace) => PluginAnswer::Answered(namespace),
        Err(_) => PluginAnswer::Unavailable,
    }
}
