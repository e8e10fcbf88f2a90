//! The `metrics` object.

use super::{Context, access};
use crate::{
    address,
    location::quote,
    schema::{metrics, root},
    value::Cursor,
};
use rtun_settings::MetricsSettings;

pub(super) fn read(root: &Cursor<'_>, context: &Context<'_>) -> Option<MetricsSettings> {
    let at = root.filled(&root::METRICS)?;
    let auther = access::reader(&at, context);
    let path = at.or_default(&metrics::PATH);
    if !path.starts_with('/') {
        let message = format!("{} is no path of a URL", quote(&path));
        at.place_of(&metrics::PATH).error(message).help(format!("write /{path}"));
    }
    let help = "add `addr:`, for example `addr: 127.0.0.1:9000` or `addr: unix:///run/rtun.sock`";
    let (addr, addr_at) = at.required(&metrics::ADDR, "the metrics have no address", help)?;
    let wrong = match addr.strip_prefix("unix://") {
        Some("") => Some("it has no path".to_owned()),
        Some(_) => None,
        None => address::check(&addr).err().map(|error| error.to_string()),
    };
    if let Some(wrong) = wrong {
        let message = format!("{} is no address to listen on: {wrong}", quote(&addr));
        let help = "write for example 127.0.0.1:9000 or unix:///run/rtun.sock";
        return addr_at.refuse(message, help);
    }
    Some(MetricsSettings { addr, path, auther })
}
