//! Where the Web API is served and to whom: the `api` object, or a service with an `api` handler.

use super::{
    Context, access, checked_type,
    http_server::{self, ServiceWords},
    tls,
};
use crate::{
    findings::Code,
    location::quote,
    report::At,
    schema::{
        Field, LISTENERS, OneText, api, api_access, api_handler, listener_base, root, service,
    },
    value::Cursor,
};
use rtun_settings::{ApiSettings, Named, ServerTls, User};

const NO_ADDRESS: &str = "the Web API has no address";
const ADD_ADDRESS: &str =
    "add `addr:`, for example `addr: 127.0.0.1:18080` or `addr: unix:///run/rtun-api.sock`";

const WORDS: ServiceWords = ServiceWords {
    served: "the Web API is served",
    has_one: "the Web API has one auther",
    help: "write `api:` with `addr`, `auther` and `tls` instead, and remove it",
};

pub(super) fn read(root: &Cursor<'_>, context: &Context<'_>) -> Option<ApiSettings> {
    let at = root.filled(&root::API)?.cursor();
    let auther = access::http_users(&at, (&api::AUTHER, &api::AUTH), context);
    let tls = at.get(&api::TLS).map(|tls| tls::server(&tls, &context.tls));
    let (addr, place) = at.required(&api::ADDR, NO_ADDRESS, ADD_ADDRESS)?;
    let addr = http_server::address((addr, place.clone()))?;
    let insecure = at.or_default(&api_access::INSECURE);
    let settings = ApiSettings {
        addr,
        path_prefix: prefix(&at, &api::PATH_PREFIX),
        access_log: at.or_default(&api::ACCESS_LOG),
        readers: readers(at.read(&api_access::READERS), auther.as_ref()),
        origins: origins(at.read(&api_access::ORIGINS)),
        auther,
        tls,
    };
    exposure(&settings, insecure, &place);
    Some(settings)
}

/// The service at `at`, whose handler is `api`; `None` after an error was reported.
pub(super) fn of_service(at: &Cursor<'_>, context: &Context<'_>) -> Option<ApiSettings> {
    let (handler, listener) = (at.object(&service::HANDLER), at.object(&service::LISTENER));
    let tls = tls_of_listener(&listener, context)?;
    let auther = http_server::service_users(at, context, &WORDS)?;
    let (addr, place) = at.required(&service::ADDR, NO_ADDRESS, ADD_ADDRESS)?;
    let addr = http_server::address((addr, place.clone()))?;
    let insecure = handler.or_default(&api_handler::INSECURE);
    let settings = ApiSettings {
        addr,
        path_prefix: prefix(&handler, &api_handler::PATH_PREFIX),
        access_log: handler.or_default(&api_handler::ACCESS_LOG),
        readers: readers(handler.read(&api_handler::READERS), auther.as_ref()),
        origins: origins(handler.read(&api_handler::ORIGINS)),
        auther,
        tls,
    };
    exposure(&settings, insecure, &place);
    Some(settings)
}

fn tls_of_listener(listener: &Cursor<'_>, context: &Context<'_>) -> Option<Option<ServerTls>> {
    match checked_type(listener, &listener_base::TYPE, &LISTENERS)?.as_str() {
        "tcp" => Some(None),
        "tls" => Some(Some(tls::server(&listener.object(&listener_base::TLS), &context.tls))),
        _ => listener.place_of(&listener_base::TYPE).refuse(
            "the Web API is served over `tcp` and `tls` only",
            "write `type: tls` where others than this machine ask it",
        ),
    }
}

/// C06: who can reach it can change everything.
fn exposure(settings: &ApiSettings, insecure: bool, at: &At<'_>) {
    if http_server::is_local(&settings.addr) {
        return;
    }
    let addr = quote(&settings.addr);
    let has_users = settings.auther.is_some();
    let message = match (has_users, settings.tls.is_some()) {
        (true, true) => return,
        (false, _) => format!(
            "anybody who reaches {addr} can change this configuration: the Web API has no `auther`"
        ),
        (true, false) => {
            format!("passwords cross the network to {addr} readable: the Web API has no `tls`")
        }
    };
    if insecure {
        at.warning(message)
            .help("take `insecure` out, and see docs/api.md for what to say instead");
    } else {
        at.coded(Code::C06, message).help(
            "listen on 127.0.0.1 or a `unix://` socket, or give the API both an `auther` and `tls`; `insecure: true` serves it as it is",
        );
    }
}

/// Without an ending slash.
fn prefix(at: &Cursor<'_>, field: &Field<OneText>) -> String {
    let Some(written) = at.filled(field) else { return String::new() };
    let prefix = written.read().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if !prefix.starts_with('/') || !prefix.chars().all(is_plain) {
        let message = format!("{} is no path of a URL", quote(&prefix));
        written.error(message).help("write for example /rtun");
    }
    prefix.trim_end_matches('/').to_owned()
}

/// Those of `names` whom the auther has.
fn readers(names: Option<Vec<(String, At<'_>)>>, auther: Option<&Named<User>>) -> Vec<String> {
    let names = names.unwrap_or_default();
    for (name, at) in &names {
        match auther {
            None => {
                at.error("nobody is a reader where everybody may do all").help("name an `auther`")
            }
            Some(auther)
                if auther.is_all_inline() && auther.inline().all(|user| user.name != *name) =>
            {
                at.error(format!("the auther has no user {}", quote(name)))
                    .help("add the user to its `auths`");
            }
            Some(_) => {}
        }
    }
    names.into_iter().map(|(name, _)| name).collect()
}

/// In lower case, as browsers send them.
fn origins(texts: Option<Vec<(String, At<'_>)>>) -> Vec<String> {
    let checked = |(text, at): (String, At<'_>)| {
        let origin = text.trim_end_matches('/').to_ascii_lowercase();
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        if rest.is_none_or(|host| host.is_empty() || !host.chars().all(is_host)) {
            let message = format!("{} is no origin", quote(&text));
            return at
                .refuse(message, "write scheme, name and port only, as https://ops.example:8443");
        }
        Some(origin)
    };
    texts.unwrap_or_default().into_iter().filter_map(checked).collect()
}
