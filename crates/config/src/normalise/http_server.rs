//! What rtun's own HTTP servers, metrics and the Web API, have in common: where they listen, and their users.

use super::{Context, access};
use crate::{
    address,
    location::quote,
    report::At,
    schema::{service, service_metadata},
    value::Cursor,
};
use rtun_settings::{Named, User};

/// The words of messages about such a server that is an ordinary service.
pub(super) struct ServiceWords {
    /// As in "metrics are served".
    pub(super) served: &'static str,
    /// As in "metrics have one auther".
    pub(super) has_one: &'static str,
    /// What to write in place of the service.
    pub(super) help: &'static str,
}

/// The users of the service at `at`, if it has any, and errors for what it has that is not supported there; `None` after an
/// error about the users was reported.
pub(super) fn service_users(
    at: &Cursor<'_>,
    context: &Context<'_>,
    words: &ServiceWords,
) -> Option<Option<Named<User>>> {
    let promises = [
        at.filled(&service::ADMISSION).map(|at| at.key()),
        at.filled(&service::ADMISSIONS).map(|at| at.key()),
        at.filled(&service::LISTENERS).map(|at| at.key()),
        at.filled(&service_metadata::NETNS).map(|at| at.key()),
        at.filled(&service_metadata::PROXY_PROTOCOL).map(|at| at.key()),
    ];
    for key in promises.into_iter().flatten() {
        key.error(format!("this is not supported where {}", words.served)).help(words.help);
    }
    let handler = at.object(&service::HANDLER);
    let authers = access::authers(&handler, context).unwrap_or_default();
    if authers.len() > 1 {
        return handler.refuse(words.has_one, "put all users into one");
    }
    let users = authers.into_iter().next();
    if let Some(users) = &users {
        access::refuse_plugin(users, &handler.key(), "");
    }
    Some(users)
}

/// The address and where it is written: `host:port`, or `unix://` and a path; `None` after an error was reported.
pub(super) fn address((addr, at): (String, At<'_>)) -> Option<String> {
    let wrong = match addr.strip_prefix("unix://") {
        Some("") => Some("it has no path".to_owned()),
        Some(_) => None,
        None => address::check(&addr).err().map(|error| error.to_string()),
    };
    if let Some(wrong) = wrong {
        let message = format!("{} is no address to listen on: {wrong}", quote(&addr));
        let help = "write for example 127.0.0.1:9000 or unix:///run/rtun.sock";
        return at.refuse(message, help);
    }
    Some(addr)
}

/// Whether only this machine can connect to an address.
pub(super) fn is_local(addr: &str) -> bool {
    addr.starts_with("unix://")
        || address::split_host_port(addr).is_some_and(|(host, _)| address::is_loopback(host))
}
