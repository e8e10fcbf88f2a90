//! What there is to say about a configuration: findings with their place, and how they look to a person.

use std::fmt;

pub use crate::location::Location;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Info,
    /// Starts, but probably not what was meant.
    Warning,
    /// Nothing starts.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// How much is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Starts what GOST starts and warns of what is unsafe: for bare command lines.
    #[default]
    Compat,
    /// Refuses what is unsafe: for packages, units and generated files.
    Strict,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident: $compat:ident, $strict:ident;)*) => {
        /// The findings that have a number, so that they can be counted and looked up in
        /// `docs/findings.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $code,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$code),*];

            /// How serious it is in `profile`.
            pub fn severity(self, profile: Profile) -> Severity {
                match (self, profile) {
                    $((Self::$code, Profile::Compat) => Severity::$compat,
                      (Self::$code, Profile::Strict) => Severity::$strict,)*
                }
            }
        }
    };
}

codes! {
    /// A name that does not exist.
    C01: Error, Error;
    /// A hub beyond loopback with neither TLS nor users.
    C02: Warning, Error;
    /// A hub beyond loopback whose passwords cross the network as they are.
    C03: Warning, Error;
    /// A hub beyond loopback with TLS, but with neither users nor an ingress.
    C04: Warning, Error;
    /// A Web API that others than this machine reach, without users or without TLS.
    C06: Error, Error;
    /// A TLS client that does not verify the server.
    C07: Warning, Error;
    /// A file with secrets that others may read, or any trusted file that others may write.
    C08: Warning, Error;
    /// A password on the command line.
    C09: Warning, Error;
    /// A user with an empty password, who is never admitted.
    C10: Warning, Error;
    /// Users that may report any host name, and no ingress.
    C11: Warning, Error;
    /// An ingress endpoint that is no UUID, or the zero UUID.
    C12: Error, Error;
    /// Two ingress rules for one name with different endpoints.
    C13: Warning, Error;
    /// An ingress pattern whose `*` does not stand before a dot.
    C14: Warning, Error;
    /// A gateway no host can ever be.
    C15: Warning, Warning;
    /// An ingress endpoint without table and without default router.
    C16: Warning, Warning;
    /// A table that first match and longest prefix answer differently.
    C17: Warning, Warning;
    /// A prefix with host bits, a v4-mapped one, or a text that names none.
    C18: Warning, Error;
    /// A default route in a routing table.
    C19: Warning, Warning;
    /// A gateway that is an IP address.
    C20: Warning, Warning;
    /// A certificate that has run out or soon will, or whose names are not the listener's.
    C22: Warning, Warning;
    /// A source or plugin beyond this machine without TLS, or a redis server without a password.
    C23: Warning, Error;
    /// More hosts than the system gives descriptors for.
    C24: Warning, Warning;
    /// A hub that runs as root.
    C25: Warning, Warning;
    /// An unknown key.
    C26: Warning, Error;
    /// An MTU above 4096 towards a hub that may be GOST's.
    C27: Warning, Warning;
    /// A default router that also answers for namespaces with a table of their own.
    C28: Warning, Error;
    /// A bare number as a duration.
    C29: Warning, Error;
    /// A dialer to a hub without TLS next to one with it.
    C30: Warning, Error;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing to say about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its number, if it has one.
    pub code: Option<Code>,
    /// How serious it is, in the profile that was asked for.
    pub severity: Severity,
    /// Where; `None` if it is about the whole.
    pub location: Option<Location>,
    /// The key, as in `services[0].listener.metadata.mtu`; empty if it is about the whole.
    pub path: String,
    /// What is the case.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        write!(f, "{}", self.severity)?;
        if let Some(code) = self.code {
            write!(f, "[{code}]")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(location) = self.location.as_ref().filter(|l| !l.text.is_empty()) {
            write_excerpt(f, location, &self.path)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

fn write_excerpt(f: &mut fmt::Formatter<'_>, location: &Location, path: &str) -> fmt::Result {
    let length = location.text.chars().count();
    let indent = location.column.saturating_sub(location.text_column) as usize;
    let width = (location.width as usize).min(length.saturating_sub(indent)).max(1);
    let before = if location.text_column > 1 { "..." } else { "" };
    let number = location.line.to_string();
    let margin = " ".repeat(number.len());
    write!(f, "\n  {number} | {before}{}", location.text)?;
    let indent = " ".repeat(before.len() + indent.min(length));
    write!(f, "\n  {margin} | {indent}{}", "^".repeat(width))?;
    if path.is_empty() { Ok(()) } else { write!(f, " {path}") }
}

/// Most findings that are kept; the rest are counted in one last error.
pub const MAX_FINDINGS: usize = 100;
