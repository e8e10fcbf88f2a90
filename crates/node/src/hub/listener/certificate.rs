//! The certificate that a listener shows: what the log says of it, and following its files as they change.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rtun_settings::ServerTls;
use rtun_tls::{Acceptor, CertificateInfo, CertificateOrigin, TlsError};
use tokio::sync::Notify;
use tracing::{info, warn};

const DAY: u64 = 24 * 60 * 60;

/// A certificate is warned of when less than each of these is left of its time, and when it is over.
const WARNED: [Duration; 3] =
    [Duration::from_secs(30 * DAY), Duration::from_secs(7 * DAY), Duration::from_secs(DAY)];

/// How often the files of a certificate are read.
const CERTIFICATE_POLL: Duration = Duration::from_secs(1);

/// What a listener's TLS is made with, `protocols` being those of the transport; says in the log what certificate that is.
/// One that is made is kept in the directory `state`.
pub(super) fn acceptor(
    service: &str,
    tls: &ServerTls,
    protocols: &[&str],
    state: Option<&Path>,
) -> Result<Acceptor, TlsError> {
    let origin = CertificateOrigin::of(&tls.certificate, state);
    let (acceptor, not_kept) = Acceptor::new(tls, origin, protocols)?;
    if let Some(error) = not_kept {
        warn!(
            service,
            "the certificate that was made cannot be kept, the next start makes another: {error}"
        );
    }
    describe(service, &acceptor.certificate());
    Ok(acceptor)
}

/// Follows the files of a listener's certificate as they change, without end, and reads them at once when `reread` is notified.
/// Connections that run are not affected. Files that cannot be used change nothing, and the log says so once. A certificate that
/// gets near its end is warned of, each time more of its time is over.
pub(super) async fn follow(service: &str, acceptor: &Acceptor, reread: &Notify) {
    let mut complained = None;
    let mut warned = stage(left(&acceptor.certificate()));
    loop {
        // It makes no difference which of the two ends the wait.
        let _ = tokio::time::timeout(CERTIFICATE_POLL, reread.notified()).await;
        match acceptor.reload() {
            Ok(true) => {
                complained = None;
                let shown = acceptor.certificate();
                describe(service, &shown);
                warned = stage(left(&shown));
            }
            Ok(false) => complained = None,
            Err(error) => {
                let text = error.to_string();
                if complained.as_ref() != Some(&text) {
                    warn!(service, "the certificate stays as it was: {text}");
                    complained = Some(text);
                }
            }
        }
        let shown = acceptor.certificate();
        let now = stage(left(&shown));
        if now > warned {
            warn_of_end(service, &shown);
        }
        warned = now;
    }
}

/// Says what is shown to hosts, and whether it is about to end.
fn describe(service: &str, certificate: &CertificateInfo) {
    let CertificateInfo { subject, names, sha256, .. } = certificate;
    let names = names.join(" ");
    info!(service, subject, names, fingerprint = %sha256, "certificate of the hub");
    if stage(left(certificate)) > 0 {
        warn_of_end(service, certificate);
    }
}

fn warn_of_end(service: &str, certificate: &CertificateInfo) {
    let CertificateInfo { sha256, .. } = certificate;
    match left(certificate) {
        None => warn!(service, fingerprint = %sha256, "the hub's certificate has expired"),
        Some(left) => {
            let days = left.as_secs() / DAY;
            warn!(service, fingerprint = %sha256, "the hub's certificate expires in {days} days");
        }
    }
}

/// What is left of a certificate's time; none when it is over.
fn left(certificate: &CertificateInfo) -> Option<Duration> {
    certificate.not_after.duration_since(SystemTime::now()).ok()
}

/// How many warnings are due of a certificate that has this much time left.
fn stage(left: Option<Duration>) -> usize {
    match left {
        Some(left) => WARNED.iter().filter(|limit| left < **limit).count(),
        None => WARNED.len() + 1,
    }
}

/// Seconds until a certificate's time is over, or the negative of those since.
pub(super) fn seconds_left(certificate: &CertificateInfo) -> f64 {
    match certificate.not_after.duration_since(SystemTime::now()) {
        Ok(left) => left.as_secs_f64(),
        Err(since) => -since.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_more_reason_to_warn_the_less_is_left() {
        let days = |days: u64| stage(Some(Duration::from_secs(days * DAY)));
        let stages = [400, 31, 30, 29, 8, 6, 2, 1].map(days);
        assert_eq!(stages, [0, 0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(stage(Some(Duration::from_secs(DAY - 1))), 3);
        assert_eq!(stage(None), 4);
    }
}
