//! `rtun gen`: files that a network needs, ready to use.

mod advice;
mod files;

use std::{
    collections::BTreeSet,
    fmt::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args as ClapArgs, Subcommand, value_parser};
use rtun_tls::{Authority, CertificateInfo, Inspected, Issued, TlsError};

pub(crate) use self::files::{Folder, FolderError};
use crate::{EXIT_FAILURE, complain, run::use_one_crypto_provider, say};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long certificates of hubs and hosts count, unless asked otherwise.
const DAYS: u32 = 365;

/// How long an authority counts, unless its certificates are wanted for longer.
const AUTHORITY_DAYS: u32 = 3650;

/// The longest name of a host, in bytes: its file has a name of at most 255.
const MAX_HOST_NAME: usize = 63;

/// Make files that a network needs
#[derive(ClapArgs)]
pub(crate) struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// An authority, and certificates of a hub and of hosts that it signs
    ///
    /// An authority that is there already is used again, so that hosts can be added at any time. Nothing that exists is
    /// replaced without --force, and the authority never.
    Cert(Cert),
}

/// What is to be made, and where.
#[derive(ClapArgs)]
struct Cert {
    /// Where they are, and are made; only the own user can look into a directory that is made
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Names and addresses under which hosts reach the hub
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = hub_name)]
    hub: Vec<String>,
    /// The name a host reports; may be repeated
    #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
    hosts: Vec<String>,
    /// How long the certificates of hub and hosts count
    #[arg(long, value_name = "N", default_value_t = DAYS, value_parser = value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Replace certificates of the hub and of hosts that exist already
    #[arg(long)]
    force: bool,
}

/// Nothing has been made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    #[error("name a hub with --hub, or a host with --host")]
    Nothing,
    #[error("the host {0} is named twice")]
    Twice(String),
    #[error("no certificate can name the hub: {0}")]
    HubName(String),
    #[error(
        "{} is there already; leave {option} out to keep it, or replace it with --force",
        path.display()
    )]
    Exists { path: PathBuf, option: String },
    #[error("{} is there, but {} is not: put the whole authority there, or use another directory", there.display(), missing.display())]
    HalfAuthority { there: PathBuf, missing: PathBuf },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl Generate {
    pub(crate) fn run(self) -> ExitCode {
        use_one_crypto_provider();
        let What::Cert(cert) = self.what;
        match cert.make() {
            Ok(text) => say(&text),
            Err(error) => {
                complain(&format!("rtun: {error}"));
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }
}

/// Makes the certificate of a hub with these names in `dir`, and the authority if there is none; returns which there are.
pub(crate) fn server_certificate(
    dir: &Path,
    names: &[String],
    force: bool,
) -> Result<String, GenerateError> {
    let hub = Pair::new(dir, "hub");
    if let Some(path) = hub.existing().filter(|_| !force) {
        return Err(GenerateError::Exists { path: path.clone(), option: "--dir".to_owned() });
    }
    let names = names.iter().map(|name| hub_name(name));
    let names: Result<_, _> = names.collect();
    let names = names.map_err(GenerateError::HubName)?;
    let cert = Cert { dir: dir.into(), hub: names, hosts: Vec::new(), days: DAYS, force };
    cert.issue(&hub, &[])
}

/// A certificate and its key in a folder.
pub(crate) struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}-key.pem")),
        }
    }

    /// The first of its files that is there.
    fn existing(&self) -> Option<&PathBuf> {
        [&self.certificate, &self.key].into_iter().find(|path| path.symlink_metadata().is_ok())
    }
}

impl Cert {
    /// Makes all of it, or nothing but the authority; returns what there is to say.
    fn make(&self) -> Result<String, GenerateError> {
        let Self { dir, hub, hosts, force, .. } = self;
        if hub.is_empty() && hosts.is_empty() {
            return Err(GenerateError::Nothing);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = hosts.iter().find(|host| !seen.insert(host.to_ascii_lowercase())) {
            return Err(GenerateError::Twice(twice.clone()));
        }
        let hub_pair = Pair::new(dir, "hub");
        let host_pairs: Vec<_> = hosts.iter().map(|host| (host, Pair::new(dir, host))).collect();
        if !force {
            let hub = (!hub.is_empty()).then_some((&hub_pair, "--hub".to_owned()));
            let hosts = host_pairs.iter().map(|(host, pair)| (pair, format!("--host {host}")));
            for (pair, option) in hub.into_iter().chain(hosts) {
                if let Some(path) = pair.existing() {
                    return Err(GenerateError::Exists { path: path.clone(), option });
                }
            }
        }
        let mut text = self.issue(&hub_pair, &host_pairs)?;
        let ca = Pair::new(dir, "ca");
        let names = match hub.is_empty() {
            false => hub.clone(),
            true => Inspected::all(&hub_pair.certificate)
                .map_or_else(|_| Vec::new(), |found| found[0].info.names.clone()),
        };
        if !hub.is_empty() {
            text += &advice::for_hub(&ca, &hub_pair);
        }
        for (host, pair) in &host_pairs {
            text += &advice::for_host(&ca, host, pair, names.first().map(String::as_str));
        }
        text += &advice::about(&ca);
        Ok(text)
    }

    /// Makes the certificates of hub and hosts; returns which there are.
    fn issue(
        &self,
        hub_pair: &Pair,
        host_pairs: &[(&String, Pair)],
    ) -> Result<String, GenerateError> {
        let Self { dir, hub, force, .. } = self;
        let folder = Folder::open(dir)?;
        let mut text = String::new();
        let authority = self.authority(&folder, &Pair::new(dir, "ca"), &mut text)?;
        let validity = DAY * self.days;
        let mut made = Vec::new();
        if !hub.is_empty() {
            made.push((hub_pair, authority.server(hub, validity)?));
        }
        for (host, pair) in host_pairs {
            made.push((pair, authority.client(host, validity)?));
        }
        for (pair, Issued { certificate, key, info }) in &made {
            // A hub that looks just now must not find a new certificate whose key is still to come.
            folder.write(&pair.key, key, true, *force)?;
            folder.write(&pair.certificate, certificate, false, *force)?;
            announce(&mut text, "made", &pair.certificate, info);
        }
        Ok(text)
    }

    /// The authority that is there, or a new one.
    fn authority(
        &self,
        folder: &Folder,
        ca: &Pair,
        text: &mut String,
    ) -> Result<Authority, GenerateError> {
        let Pair { certificate, key } = ca;
        let there = |path: &Path| path.symlink_metadata().is_ok();
        match (there(certificate), there(key)) {
            (true, true) => {
                let authority = Authority::read(certificate, key)?;
                announce(text, "kept", certificate, authority.info());
                Ok(authority)
            }
            (false, false) => {
                let name =
                    format!("rtun authority of {}", self.hub.first().map_or("hosts", |hub| hub));
                let validity = DAY * self.days.max(AUTHORITY_DAYS);
                let (authority, issued) = Authority::make(&name, validity)?;
                folder.write(key, &issued.key, true, false)?;
                folder.write(certificate, &issued.certificate, false, false)?;
                announce(text, "made", certificate, &issued.info);
                Ok(authority)
            }
            (has_certificate, _) => {
                let (there, missing) =
                    if has_certificate { (certificate, key) } else { (key, certificate) };
                Err(GenerateError::HalfAuthority { there: there.clone(), missing: missing.clone() })
            }
        }
    }
}

fn announce(text: &mut String, what: &str, certificate: &Path, info: &CertificateInfo) {
    let names = match info.names.is_empty() {
        true => info.subject.clone(),
        false => info.names.join(", "),
    };
    let path = certificate.display();
    let CertificateInfo { sha256, .. } = info;
    let until = info.until();
    let _ = writeln!(text, "{what} {path}: {names}, until {until}\n     fingerprint {sha256}");
}

/// A DNS name or an address.
pub(crate) fn hub_name(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() || is_dns_name(text) {
        return Ok(text.to_owned());
    }
    Err("this is neither a DNS name nor an address; no port belongs here".into())
}

/// A name that can be a DNS name of a certificate and the name of a file.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if ["ca", "hub"].contains(&&*lower) || lower.ends_with("-key") {
        return Err("that is the name of another file here".into());
    }
    match is_dns_name(text) && text.len() <= MAX_HOST_NAME && text.parse::<IpAddr>().is_err() {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a name in a certificate has at most {MAX_HOST_NAME} letters, digits, `-`, `_` and `.`"
        )),
    }
}

/// What TLS takes as a DNS name: labels of at most 63 letters, digits, `-` and `_` (RFC 1035 section 2.3.4).
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_certificate_and_a_file_can_have() {
        for name in ["host-1", "a", "berlin.example", "server_ip", "Rome"] {
            assert_eq!(host_name(name).as_deref(), Ok(name));
        }
        let long = "x".repeat(64);
        for name in [
            "",
            ".",
            "a..b",
            "../a",
            "a/b",
            "-a",
            "a b",
            "büro",
            "10.0.0.1",
            "ca",
            "CA",
            "hub",
            "hub-key",
            "a-key",
            "*.example",
            &long,
        ] {
            assert!(host_name(name).is_err(), "{name}");
        }
        for name in ["hub.example", "203.0.113.5", "fd00::1", "hub"] {
            assert_eq!(hub_name(name).as_deref(), Ok(name));
        }
        for name in ["", "hub.example:8443", "[fd00::1]", "https://hub.example", "a,b"] {
            assert!(hub_name(name).is_err(), "{name}");
        }
    }
}
