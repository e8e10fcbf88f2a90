//! C22 and worse: what is wrong with the certificates that a configuration names, before anybody is shown them.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rtun_config::findings::{Code, Finding, Location, Profile, Severity};
use rtun_settings::{CertificateFiles, Config, ServerCertificate, ServerTls};
use rtun_tls::{CertificateInfo, CertificateOrigin, Inspected, TlsError};

use super::{authorities_of, dialers, listeners};
use crate::state;

/// A certificate that ends within this time is warned of.
const ENDS_SOON: Duration = Duration::from_secs(30 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// What there is to say of the certificates of all listeners and dialers, and of the authorities they trust.
pub(crate) fn certificates(config: &Config, profile: Profile, now: SystemTime) -> Vec<Finding> {
    let look = Look { profile, now };
    let mut all = Vec::new();
    for tls in listeners(config) {
        if let Some(CertificateFiles { certificate, key }) = files_of(tls)
            // One that is not there yet is made at the start.
            && (matches!(tls.certificate, ServerCertificate::Files(_)) || certificate.exists())
        {
            all.extend(look.pair(&certificate, &key, &tls.server_names));
        }
        all.extend(tls.client_ca.as_ref().and_then(|path| look.authorities(path)));
    }
    for tls in dialers(config) {
        if let Some(files) = &tls.certificate {
            all.extend(look.pair(&files.certificate, &files.key, &[]));
        }
        all.extend(authorities_of(tls).and_then(|path| look.authorities(path)));
    }
    let mut findings = Vec::new();
    // Several listeners, or hosts, may have the same files.
    for finding in all {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

/// Where a listener's certificate and its key are, or will be kept once they have been made; `None`: nowhere.
pub(super) fn files_of(tls: &ServerTls) -> Option<CertificateFiles> {
    CertificateOrigin::of(&tls.certificate, state::place().as_deref()).files()
}

struct Look {
    profile: Profile,
    now: SystemTime,
}

impl Look {
    fn pair(&self, certificate: &Path, key: &Path, wanted: &[String]) -> Vec<Finding> {
        let found = match Inspected::pair(certificate, key) {
            Ok(found) => found,
            Err(error) => return vec![unusable(certificate, &error)],
        };
        let mut findings = Vec::new();
        findings.extend(self.time(certificate, "this certificate", &found.info));
        let missing: Vec<&str> =
            wanted.iter().filter(|name| !found.is_for(name)).map(String::as_str).collect();
        if !missing.is_empty() {
            let names = match found.info.names.is_empty() {
                true => "no name".to_owned(),
                false => found.info.names.join(", "),
            };
            let missing = missing.join(", ");
            let message =
                format!("this certificate is for {names}, not for {missing} in `serverNames`");
            let help = "a host that asks for that name and verifies it will not connect: have it issued for \
                        all of them";
            findings.push(self.c22(certificate, message, help));
        }
        findings
    }

    /// Of several authorities it is enough that one counts on.
    fn authorities(&self, path: &Path) -> Option<Finding> {
        match Inspected::all(path) {
            Ok(all) => {
                let last = all.iter().map(|found| &found.info).max_by_key(|info| info.not_after)?;
                let what = match all.len() {
                    1 => "this authority",
                    _ => "the last of these authorities",
                };
                self.time(path, what, last)
            }
            Err(error) => Some(unusable(path, &error)),
        }
    }

    fn time(&self, path: &Path, what: &str, info: &CertificateInfo) -> Option<Finding> {
        let until = info.until();
        let help = "replace the file: a hub reads it again by itself, a host when it connects";
        match info.not_after.duration_since(self.now) {
            Err(_) => {
                let message = format!("{what} has run out: it was valid until {until}");
                let mut finding = self.c22(path, message, help);
                if self.profile == Profile::Strict {
                    finding.severity = Severity::Error;
                }
                Some(finding)
            }
            Ok(_) if info.not_before > self.now => {
                let message = format!("the time of {what} has not come yet");
                let help = "set this machine's clock, or wait: nobody who verifies it will connect";
                Some(self.c22(path, message, help))
            }
            Ok(left) if left < ENDS_SOON => {
                let days = left.as_secs() / DAY;
                let message = format!("{what} ends in {days} days: it is valid until {until}");
                Some(self.c22(path, message, help))
            }
            Ok(_) => None,
        }
    }

    fn c22(&self, path: &Path, message: String, help: &str) -> Finding {
        Finding {
            code: Some(Code::C22),
            severity: Code::C22.severity(self.profile),
            location: Some(Location::of_line(path, 1)),
            path: String::new(),
            message,
            help: Some(help.to_owned()),
        }
    }
}

/// Files that are not here may be where it runs; others are wrong everywhere.
fn unusable(path: &Path, error: &TlsError) -> Finding {
    let mut message = error.to_string();
    let (severity, help) = match error {
        TlsError::Read { .. } => (Severity::Warning, "nothing that needs it starts without it"),
        TlsError::KeyMismatch { .. } => {
            (Severity::Error, "put the key there that the certificate was made with")
        }
        TlsError::Unusable { path, reason, mend } => {
            message = format!("{}: {reason}", path.display());
            (Severity::Error, &**mend)
        }
        _ => (Severity::Error, "name other files"),
    };
    Finding {
        code: None,
        severity,
        location: Some(Location::of_line(path, 1)),
        path: String::new(),
        message,
        help: Some(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rtun_config::load_text;
    use rtun_tls::{Authority, Issued};

    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * DAY);

    /// Severity when lenient and when strict, code, words of the message.
    type Expected = (Severity, Severity, Option<Code>, &'static str);

    /// An authority of ten years; a hub's and a host's certificates of one year.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, issued: &Issued| {
            fs::write(folder.path().join(format!("{name}.pem")), &issued.certificate).unwrap();
            fs::write(folder.path().join(format!("{name}-key.pem")), &issued.key).unwrap();
        };
        let (authority, own) = Authority::make("authority", 10 * YEAR).unwrap();
        save("ca", &own);
        let names = ["hub.example".to_owned(), "*.sites.example".to_owned()];
        save("hub", &authority.server(&names, YEAR).unwrap());
        save("host", &authority.client("host-1", YEAR).unwrap());
        folder
    }

    fn hub(tls: &str) -> String {
        format!(
            "
services:
- name: service-0
  addr: 127.0.0.1:8443
  handler: {{type: router, metadata: {{router: r}}}}
  listener: {{type: tls, tls: {{{tls}}}}}
routers: [{{name: r, routes: [{{dst: 10.0.0.1, gateway: host-1}}]}}]
"
        )
    }

    fn host(tls: &str) -> String {
        format!(
            "
services:
- name: service-0
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: 10.0.0.1/24}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:
- name: chain
  hops:
  - name: proxy
    nodes:
    - name: proxy
      addr: proxy.example:3128
      connector: {{type: http}}
      dialer: {{type: tls, tls: {{secure: true, {tls}}}}}
  - name: hub
    nodes:
    - name: hub
      addr: hub.example:8443
      connector: {{type: router}}
      dialer: {{type: tls, tls: {{secure: true, {tls}}}}}
"
        )
    }

    fn findings(config: &str, profile: Profile, days: u64) -> Vec<Finding> {
        let outcome = load_text("test", config, false, Profile::Compat);
        let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.findings));
        certificates(&config, profile, SystemTime::now() + Duration::from_secs(days * DAY))
    }

    #[test]
    fn the_time_and_the_names_of_certificates_and_whose_key_it_is() {
        let folder = folder();
        let at = |text: &str| text.replace("DIR", folder.path().to_str().unwrap());
        let hub = |names: &str| {
            let files = "certFile: DIR/hub.pem, keyFile: DIR/hub-key.pem, caFile: DIR/ca.pem";
            hub(&at(&format!("{files}, rejectUnknownSNI: true, serverNames: [{names}]")))
        };
        let host =
            host(&at("certFile: DIR/host.pem, keyFile: DIR/host-key.pem, caFile: DIR/ca.pem"));
        let mixed = |tls: &str| self::hub(&at(tls));
        let (warning, error) = (Severity::Warning, Severity::Error);
        let (c22, none) = (Some(Code::C22), None);
        // Configuration, days from now, what is said of it.
        let cases: &[(&str, u64, &[Expected])] = &[
            (&hub("hub.example, x.sites.example"), 0, &[]),
            (&hub(""), 334, &[]),
            (&hub(""), 336, &[(warning, warning, c22, "this certificate ends in 28 days")]),
            (&hub(""), 366, &[(warning, error, c22, "this certificate has run out")]),
            (
                &hub(""),
                3640,
                &[
                    (warning, error, c22, "this certificate has run out"),
                    (warning, warning, c22, "this authority ends in 9 days"),
                ],
            ),
            (
                &hub("hub.example, other.example, sites.example"),
                0,
                &[(
                    warning,
                    warning,
                    c22,
                    "is for hub.example, *.sites.example, not for other.example, sites.example in",
                )],
            ),
            // Twice the same files, at the proxy and at the hub.
            (&host, 0, &[]),
            (&host, 350, &[(warning, warning, c22, "this certificate ends in 14 days")]),
            (
                &mixed("certFile: DIR/hub.pem, keyFile: DIR/host-key.pem"),
                0,
                &[(error, error, none, "host-key.pem does not belong to the certificate in ")],
            ),
            (
                &mixed("certFile: DIR/hub-key.pem, keyFile: DIR/hub-key.pem"),
                0,
                &[(error, error, none, "hub-key.pem: holds a private key, but no certificate")],
            ),
            (
                &mixed("certFile: DIR/gone.pem, keyFile: DIR/gone-key.pem"),
                0,
                &[(warning, warning, none, "cannot read ")],
            ),
        ];
        for (config, days, expected) in cases {
            for profile in [Profile::Compat, Profile::Strict] {
                let found = findings(config, profile, *days);
                assert_eq!(found.len(), expected.len(), "after {days} days {config}: {found:?}");
                for (finding, (compat, strict, code, words)) in found.iter().zip(*expected) {
                    assert!(finding.message.contains(words), "{words}: {}", finding.message);
                    let severity = if profile == Profile::Strict { strict } else { compat };
                    assert_eq!((&finding.severity, &finding.code), (severity, code), "{words}");
                    assert!(finding.location.as_ref().unwrap().file.ends_with(".pem"));
                }
            }
        }
    }

    #[test]
    fn before_its_time_a_certificate_is_warned_of() {
        let folder = folder();
        let certificate = folder.path().join("hub.pem");
        let look =
            Look { profile: Profile::Compat, now: SystemTime::now() - Duration::from_secs(DAY) };
        let found = look.pair(&certificate, &folder.path().join("hub-key.pem"), &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("has not come yet"), "{}", found[0].message);
    }
}
