//! The `metrics` object.

use super::{Context, access};
use crate::{
    address,
    findings::{Report, quote},
    value::Cursor,
};
use rtun_settings::MetricsSettings;

/// Unless configured.
const PATH: &str = "/metrics";

pub(super) fn read(
    at: Option<Cursor<'_>>,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<MetricsSettings> {
    let at = at.filter(|at| !at.value.is_unset())?;
    let auther = access::reader(&at, context, report);
    let path = report.some_text(at.get("path").as_ref()).unwrap_or_else(|| PATH.to_owned());
    if let Some(at) = at.get("path").filter(|_| !path.starts_with('/')) {
        report
            .error(&at, format!("{} is no path of a URL", quote(&path)))
            .help(format!("write /{path}"));
        return None;
    }
    let Some(addr_at) = at.filled("addr") else {
        report.error(&at, "the metrics have no address").help(
            "add `addr:`, for example `addr: 127.0.0.1:9000` or `addr: unix:///run/rtun.sock`",
        );
        return None;
    };
    let addr = report.text(&addr_at)?;
    let socket = addr.strip_prefix("unix://");
    let wrong = match socket {
        Some("") => Some("it has no path".to_owned()),
        Some(_) => None,
        None => address::check(&addr).err().map(|error| error.to_string()),
    };
    if let Some(wrong) = wrong {
        report
            .error(&addr_at, format!("{} is no address to listen on: {wrong}", quote(&addr)))
            .help("write for example 127.0.0.1:9000 or unix:///run/rtun.sock");
        return None;
    }
    Some(MetricsSettings { addr, path, auther })
}
