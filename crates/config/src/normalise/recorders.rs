//! Recorders: where services write from which addresses they are connected to.

use std::sync::Arc;

use rtun_settings::{
    RecordFile, RecordKey, RecordKeyKind, RecordServer, RecordTarget, RecordUrl, RecorderSettings,
    Recording, ServiceKind,
};

use super::{
    Context, DocumentNames, choice::one_of_or_default, log, plugins, remote, sources,
    transport_stack,
};
use crate::{
    location::quote,
    print,
    schema::{
        Field, In, Setting, record_file, record_key, record_server, record_url, recorder,
        recorder_use, service,
    },
    suggest,
    value::Cursor,
};

/// The address of each connection, which is what rtun records.
const CLIENT_ADDRESS: &str = "recorder.service.client.address";

/// The addresses that a service connects to, and those of them that failed.
const DIALLED: [&str; 2] =
    ["recorder.service.router.dial.address", "recorder.service.router.dial.address.error"];

/// What a handler does for its clients.
const HANDLED: [&str; 3] = [
    "recorder.service.handler",
    "recorder.service.handler.serial",
    "recorder.service.handler.tunnel",
];

/// The targets of a recorder; of several the first counts.
const TARGETS: [Field<In>; 5] =
    [recorder::PLUGIN, recorder::FILE, recorder::TCP, recorder::HTTP, recorder::REDIS];

const KINDS: [(&str, RecordKeyKind); 3] = [
    ("set", RecordKeyKind::Set),
    ("list", RecordKeyKind::List),
    ("sset", RecordKeyKind::SortedSet),
];

/// All recorders, in order. One without a target is none.
pub(super) fn read(names: &DocumentNames<'_>) -> Vec<RecorderSettings> {
    let read = |(name, at): &(String, Cursor<'_>)| {
        let mut targets =
            TARGETS.iter().filter_map(|field| at.filled(field).map(|it| (field.name(), it)));
        let Some((kind, first)) = targets.next() else {
            let message = format!("the recorder {} writes nowhere", quote(name));
            at.warning(message).help("add `file:`, `redis:`, `http:`, `tcp:` or `plugin:`");
            return None;
        };
        for (other, at) in targets {
            let message = format!("`{other}` has no effect: this recorder has `{kind}`");
            at.key().warning(message).help("make it a recorder of its own");
        }
        Some(RecorderSettings { name: name.clone(), target: target(kind, &first)? })
    };
    names.recorders.list.iter().filter_map(read).collect()
}

/// Those that are given the addresses of connections to the service at `at`, which is of this kind.
pub(super) fn of_service(
    at: &Cursor<'_>,
    kind: &ServiceKind,
    context: &Context<'_>,
) -> Vec<Recording> {
    let uses = at.items_of(&service::RECORDERS);
    uses.iter().filter_map(|at| of_use(at, kind, context)).collect()
}

fn of_use(at: &Cursor<'_>, kind: &ServiceKind, context: &Context<'_>) -> Option<Recording> {
    let help = "add `name:` with the name of one of `recorders`";
    let named = at.required(&recorder_use::NAME, "this names no recorder", help);
    let help = format!("add `record: {CLIENT_ADDRESS}`");
    let (record, record_at) =
        at.required(&recorder_use::RECORD, "this does not say what is recorded", &help)?;
    let (name, name_at) = named?;
    let (name, recorder) = context.names.recorders.find(&name, &name_at)?;
    let listens = matches!(kind, ServiceKind::Hub(_) | ServiceKind::Relay(_));
    let is_hub = matches!(kind, ServiceKind::Hub(_));
    let is_relay = matches!(kind, ServiceKind::Relay(_));
    let no_effect = |why: &str| {
        record_at.warning(format!("{} has no effect: {why}", quote(&record)));
        None
    };
    match &*record {
        CLIENT_ADDRESS if !listens => no_effect("nobody connects to a service with a device"),
        CLIENT_ADDRESS => {
            if !TARGETS.iter().any(|field| recorder.filled(field).is_some()) {
                let message = format!("the recorder {} writes nowhere", quote(name));
                return name_at.refuse(message, "add a target to it, or name no recorder");
            }
            let settings = context.recorders.iter().find(|it| it.name == *name)?;
            Some(Recording { recorder: settings.clone(), metadata: metadata(at) })
        }
        it if DIALLED.contains(&it) && is_hub => no_effect("a hub connects to nobody"),
        it if DIALLED.contains(&it) || HANDLED.contains(&it) && is_relay => {
            let message = format!("{} is not supported: nothing would be recorded", quote(&record));
            record_at.refuse(message, format!("rtun records `{CLIENT_ADDRESS}`"))
        }
        it if HANDLED.contains(&it) => no_effect("this handler has nothing to record"),
        _ => {
            let known = [CLIENT_ADDRESS].into_iter().chain(DIALLED).chain(HANDLED);
            let help = suggest::did_you_mean(&record, known);
            let message = format!("{} is nothing that is recorded", quote(&record));
            record_at.warning(message).maybe_help(help);
            None
        }
    }
}

/// What a plugin is given with each record, with the keys of maps in order.
fn metadata(at: &Cursor<'_>) -> Arc<str> {
    let metadata = at.filled(&recorder_use::METADATA);
    let json = metadata.and_then(|at| {
        let value: serde_json::Value = serde_json::from_str(&print::json(at.value)).ok()?;
        Some(value.to_string())
    });
    json.as_deref().unwrap_or("null").into()
}

fn target(kind: &str, at: &Setting<'_, In>) -> Option<RecordTarget> {
    Some(if kind == recorder::PLUGIN.name() {
        RecordTarget::Plugin(plugins::read(at)?)
    } else if kind == recorder::FILE.name() {
        RecordTarget::File(file(at)?)
    } else if kind == recorder::TCP.name() {
        RecordTarget::Tcp(tcp(at)?)
    } else if kind == recorder::HTTP.name() {
        RecordTarget::Http(http(at)?)
    } else {
        RecordTarget::Redis(redis(at)?)
    })
}

fn file(at: &Cursor<'_>) -> Option<RecordFile> {
    let (path, _) = at.required(&record_file::PATH, "the file has no path", "add `path:`")?;
    let rotation = at.get(&record_file::ROTATION).map(|at| log::rotate(&at));
    let separator = at.read(&record_file::SEP).unwrap_or_default();
    Some(RecordFile { path: path.into(), separator, rotation })
}

fn tcp(at: &Cursor<'_>) -> Option<RecordServer> {
    let help = "add `addr:`, for example `addr: 127.0.0.1:9000`";
    let (addr, addr_at) = at.required(&record_server::ADDR, "the server has no address", help)?;
    let addr = remote::server(addr, &addr_at, "127.0.0.1:9000 or records.example:9000")?;
    Some(RecordServer { addr, timeout: at.or_default(&record_server::TIMEOUT) })
}

fn http(at: &Cursor<'_>) -> Option<RecordUrl> {
    let (url, url_at) = at.required(&record_url::URL, "the recorder has no URL", "add `url:`")?;
    let url = remote::url(remote::with_scheme(url), &url_at)?;
    let headers = at.get(&record_url::HEADER);
    let headers = headers.map(|at| transport_stack::headers(&at)).unwrap_or_default();
    Some(RecordUrl { url, timeout: at.or_default(&record_url::TIMEOUT), headers })
}

fn redis(at: &Cursor<'_>) -> Option<RecordKey> {
    let server = sources::redis_server(at);
    let key = at.required(&record_key::KEY, "the redis server has no key", "add `key:`");
    let kind = one_of_or_default(at, &record_key::TYPE, &KINDS);
    Some(RecordKey { server: server?, key: key?.0, kind })
}
