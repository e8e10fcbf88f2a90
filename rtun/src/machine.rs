//! What is to be said of a configuration on this machine: its files' modes, its limits, the user rtun runs as.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::Uid,
};
use rtun_config::{
    Environment,
    cli::Args,
    findings::{Code, Finding, Location, Profile, Severity},
    model::{Config, HubRules, Named, Provider, Quotas, ServiceKind, Source, User},
    source,
};

/// Descriptors that a hub needs besides one for each host: 10 % of them all.
const SPARE: u64 = 10;

/// C08: files that others may write or, where they hold secrets, read.
pub(crate) fn files(
    args: &Args,
    environment: &Environment,
    config: &Config,
    profile: Profile,
) -> Vec<Finding> {
    let secret = has_secrets(config);
    let own = configuration_files(args, environment).into_iter().map(|path| (path, secret));
    let hubs = config.services.iter().filter_map(|service| match &service.kind {
        ServiceKind::Hub(hub) => Some(&hub.rules),
        ServiceKind::Host(_) => None,
    });
    // Users' passwords are secrets, whatever else is.
    let users = |rules: &HubRules| -> Vec<PathBuf> {
        rules.authers.iter().flatten().flat_map(Named::sources).filter_map(path_of).collect()
    };
    let sources = hubs.flat_map(|rules| {
        let users = users(rules);
        let files = rules.sources().filter_map(path_of);
        files.map(|path| (path.clone(), users.contains(&path))).collect::<Vec<_>>()
    });
    let mut findings = Vec::new();
    for (path, secret) in own.chain(sources) {
        let finding = file(&path, secret, profile);
        findings.extend(finding.filter(|finding| !findings.contains(finding)));
    }
    findings
}

/// C24 and C25, for a process that is about to run; what the limits do not carry is lowered.
pub(crate) fn process(config: &mut Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let room = usize::try_from(descriptors - descriptors / SPARE).unwrap_or(usize::MAX);
    let mut only_hubs = true;
    for service in &mut config.services {
        let ServiceKind::Hub(hub) = &mut service.kind else {
            only_hubs = false;
            continue;
        };
        let quotas = &mut hub.rules.quotas;
        if quotas.hosts > room {
            // Nobody has asked for what is so by default.
            if quotas.hosts != Quotas::default().hosts {
                let message = format!(
                    "there are descriptors for {room} hosts, not for {}; more are refused",
                    quotas.hosts
                );
                findings.push(finding(
                    Code::C24,
                    Severity::Warning,
                    None,
                    message,
                    "raise the limit of open files, or lower maxHosts",
                ));
            }
            quotas.hosts = room;
        }
    }
    if only_hubs && Uid::effective().is_root() {
        let message = "a hub needs no right of root's".to_owned();
        let help = "run it as a user of its own; for ports below 1024 give it CAP_NET_BIND_SERVICE";
        findings.push(finding(Code::C25, Severity::Warning, None, message, help));
    }
    findings
}

fn configuration_files(args: &Args, environment: &Environment) -> Vec<PathBuf> {
    let named = args.sources.iter().filter_map(|source| match source {
        source::Source::File(path) => Some(path.clone()),
        _ => None,
    });
    let named: Vec<_> = named.collect();
    if !args.sources.is_empty() || !args.services.is_empty() {
        return named;
    }
    let defaults = source::default_files(environment.home.as_deref().map(Path::new));
    defaults.into_iter().find(|path| path.exists()).into_iter().collect()
}

/// What there is to say of one file, if it is there.
fn file(path: &Path, secret: bool, profile: Profile) -> Option<Finding> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let severity = Code::C08.severity(profile);
    let (severity, message, mode) = match metadata.mode() {
        mode if mode & 0o002 != 0 => {
            (Severity::Error, "every user of this machine can change this file", "o-w")
        }
        mode if mode & 0o020 != 0 => (severity, "its whole group can change this file", "g-w"),
        mode if mode & 0o004 != 0 && secret => {
            (severity, "every user of this machine can read the secrets in this file", "o-r")
        }
        _ => return None,
    };
    let help = format!("chmod {mode} {}", path.display());
    Some(finding(Code::C08, severity, Some(path), message.to_owned(), &help))
}

fn finding(
    code: Code,
    severity: Severity,
    file: Option<&Path>,
    message: String,
    help: &str,
) -> Finding {
    let location = file.map(|file| Location::of_line(file, 1));
    let (path, help) = (String::new(), Some(help.to_owned()));
    Finding { code: Some(code), severity, location, path, message, help }
}

fn path_of(source: &Source) -> Option<PathBuf> {
    match source {
        Source::File(path) => Some(path.clone()),
        Source::Redis(_) | Source::Http(_) => None,
    }
}

/// Whether the configuration itself holds a password or token.
fn has_secrets(config: &Config) -> bool {
    config.services.iter().any(|service| match &service.kind {
        ServiceKind::Host(host) => host.hubs.iter().any(|hub| hub.auth.is_some()),
        ServiceKind::Hub(hub) => {
            let rules = &hub.rules;
            rules.authers.iter().flatten().any(has_users)
                || rules.plugins().any(|plugin| plugin.token.is_some())
                || rules.sources().any(has_secret)
        }
    })
}

fn has_users(auther: &Named<User>) -> bool {
    matches!(&auther.provider, Provider::Rows(rows) if !rows.inline.is_empty())
}

fn has_secret(source: &Source) -> bool {
    match source {
        Source::Redis(redis) => redis.password.is_some(),
        Source::Http(http) => http.url.contains('@'),
        Source::File(_) => false,
    }
}
