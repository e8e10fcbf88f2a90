//! Quotas: how many bytes may pass in all.

use std::{path::PathBuf, time::Duration};

use rtun_core::limit::parse_size;
use rtun_settings::{QuotaDirection, QuotaTerms, VolumeQuota};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Context, DocumentNames, choice::one_of};
use crate::{
    location::quote,
    schema::{Field, OneText, quota_store, service, volume_quota},
    value::Cursor,
};

/// Least time between two savings.
const MIN_FLUSH: Duration = Duration::from_secs(1);

const DIRECTIONS: [(&str, QuotaDirection); 3] =
    [("total", QuotaDirection::Total), ("in", QuotaDirection::In), ("out", QuotaDirection::Out)];

/// All quotas, in order.
pub(super) fn read(names: &DocumentNames<'_>) -> Vec<VolumeQuota> {
    names.quotas.list.iter().map(|(name, at)| quota(name, at)).collect()
}

/// Those that the service at `service` names.
pub(super) fn of_service(service: &Cursor<'_>, context: &Context<'_>) -> Vec<VolumeQuota> {
    let mut found: Vec<VolumeQuota> = Vec::new();
    for (name, at) in service.read(&service::QUOTAS).unwrap_or_default() {
        // As GOST does.
        let Some((name, _)) = context.names.quotas.find(name.trim(), &at) else { continue };
        if found.iter().all(|quota| quota.name != *name) {
            found.extend(context.volumes.iter().find(|quota| quota.name == *name).cloned());
        }
    }
    found
}

fn quota(name: &str, at: &Cursor<'_>) -> VolumeQuota {
    let limit = at.read(&volume_quota::LIMIT).map_or(Ok(0), |text| {
        parse_size(text.trim()).map_err(|error| format!("{} {error}", quote(&text)))
    });
    let limit = match limit {
        Ok(0) => {
            let message = format!("the quota {} limits nothing", quote(name));
            let help = "add `limit:`, for example `limit: 100GB`; bytes are counted meanwhile";
            at.place_of(&volume_quota::LIMIT).warning(message).help(help);
            0
        }
        Ok(limit) => limit,
        Err(message) => {
            let (what, help) = message.split_once("; ").unwrap_or((&message, "write 100GB"));
            let help = help.replace("bytes per second", "bytes");
            at.place_of(&volume_quota::LIMIT).error(what).help(help);
            0
        }
    };
    let (starts, expires) =
        (moment(at, &volume_quota::STARTS_AT), moment(at, &volume_quota::EXPIRES_AT));
    if let (Some(starts), Some(expires)) = (starts, expires)
        && expires <= starts
    {
        at.place_of(&volume_quota::EXPIRES_AT)
            .error("the quota ends before it begins")
            .help("write a time after `startsAt`");
    }
    let direction = one_of(at, &volume_quota::DIRECTION, &DIRECTIONS);
    let flush = at.or_default(&volume_quota::FLUSH);
    if flush < MIN_FLUSH {
        at.place_of(&volume_quota::FLUSH).info("`flush` is raised to 1s, the least there is");
    }
    VolumeQuota {
        name: name.to_owned(),
        terms: QuotaTerms { limit, direction, starts, expires },
        flush: flush.max(MIN_FLUSH),
        file: at.get(&volume_quota::STORE).and_then(|store| file(&store)),
    }
}

/// A time in seconds since 1970.
fn moment(at: &Cursor<'_>, field: &Field<OneText>) -> Option<u64> {
    let text = at.read(field)?;
    let moment = OffsetDateTime::parse(text.trim(), &Rfc3339).ok();
    let seconds = moment.and_then(|moment| u64::try_from(moment.unix_timestamp()).ok());
    if seconds.is_none() {
        at.place_of(field)
            .error(format!("{} is no time", quote(&text)))
            .help("write date, time and zone as in 2026-03-01T00:00:00Z");
    }
    seconds
}

/// The file that a store names.
fn file(at: &Cursor<'_>) -> Option<PathBuf> {
    let kind = at.or_default(&quota_store::TYPE);
    if !kind.eq_ignore_ascii_case("file") {
        at.place_of(&quota_store::TYPE)
            .error(format!("a quota cannot be saved in {}", quote(&kind)))
            .help("write `file`");
    }
    at.read(&quota_store::FILE).map(PathBuf::from)
}
