//! What there is to say about a configuration: findings with their place, and how they look to a person.

use std::fmt;

pub use crate::location::Location;
use crate::location::{At, Texts};

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

/// Collects findings about the texts of one configuration.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) texts: Texts,
    pub(crate) profile: Profile,
    findings: Vec<Finding>,
    left_out: usize,
    left_out_error: bool,
}

impl Report {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            texts: Texts::default(),
            profile,
            findings: Vec::new(),
            left_out: 0,
            left_out_error: false,
        }
    }

    pub(crate) fn error(&mut self, at: impl Into<At>, message: impl Into<String>) -> Draft<'_> {
        self.draft(None, Severity::Error, at.into(), message.into())
    }

    /// Reports an error with its help; always `None`, for a reader that ends there.
    pub(crate) fn refuse<T>(
        &mut self,
        at: impl Into<At>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.error(at, message).help(help);
        None
    }

    pub(crate) fn warning(&mut self, at: impl Into<At>, message: impl Into<String>) -> Draft<'_> {
        self.draft(None, Severity::Warning, at.into(), message.into())
    }

    pub(crate) fn info(&mut self, at: impl Into<At>, message: impl Into<String>) -> Draft<'_> {
        self.draft(None, Severity::Info, at.into(), message.into())
    }

    pub(crate) fn coded(
        &mut self,
        code: Code,
        at: impl Into<At>,
        message: impl Into<String>,
    ) -> Draft<'_> {
        let severity = code.severity(self.profile);
        self.draft(Some(code), severity, at.into(), message.into())
    }

    fn draft(
        &mut self,
        code: Option<Code>,
        severity: Severity,
        at: At,
        message: String,
    ) -> Draft<'_> {
        if !self.has_room(severity) {
            self.left_out += 1;
            self.left_out_error |= severity == Severity::Error;
            return Draft { report: self, finding: None };
        }
        let location = at.place.map(|place| self.texts.locate(place));
        let finding = Finding { code, severity, location, path: at.path, message, help: None };
        Draft { report: self, finding: Some(finding) }
    }

    /// Errors push out what is less serious.
    fn has_room(&self, severity: Severity) -> bool {
        self.findings.len() < MAX_FINDINGS
            || severity == Severity::Error
                && self.findings.iter().any(|f| f.severity != Severity::Error)
    }

    fn push(&mut self, finding: Finding) {
        // One command-line parameter lands in several places, and a value may be read more than once: what is
        // said of it is said once, and the first error of a key is the one to correct.
        let said = |f: &Finding| {
            let again = f.message == finding.message;
            let follows = f.path == finding.path
                && (f.severity, finding.severity) == (Severity::Error, Severity::Error);
            f.location.is_some() && f.location == finding.location && (again || follows)
        };
        if self.findings.iter().any(said) {
            return;
        }
        if self.findings.len() >= MAX_FINDINGS {
            let less = self.findings.iter().rposition(|f| f.severity != Severity::Error);
            self.findings.remove(less.unwrap_or(MAX_FINDINGS - 1));
            self.left_out += 1;
        }
        self.findings.push(finding);
    }

    /// Whether anything found so far is an error.
    pub(crate) fn failed(&self) -> bool {
        self.left_out_error || self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// The findings in the order of their places, and the texts.
    pub(crate) fn finish(mut self) -> (Vec<Finding>, Texts) {
        let texts = &self.texts;
        self.findings.sort_by_key(|f| {
            let place = f.location.as_ref();
            place.map_or((usize::MAX, 0, 0), |l| (texts.position_of(&l.file), l.line, l.column))
        });
        if self.left_out > 0 {
            self.findings.push(Finding {
                code: None,
                severity: if self.left_out_error { Severity::Error } else { Severity::Warning },
                location: None,
                path: String::new(),
                message: format!("{} more findings are not shown", self.left_out),
                help: None,
            });
        }
        (self.findings, self.texts)
    }
}

/// A finding that is recorded when it goes out of scope, after its help was added.
#[derive(Debug)]
pub(crate) struct Draft<'r> {
    report: &'r mut Report,
    finding: Option<Finding>,
}

impl Draft<'_> {
    pub(crate) fn help(mut self, help: impl Into<String>) {
        if let Some(finding) = &mut self.finding {
            finding.help = Some(help.into());
        }
    }

    /// Like [`Draft::help`], where finding the help takes time: not done for findings that are left out.
    pub(crate) fn help_with<H: Into<Option<String>>>(self, help: impl FnOnce() -> H) {
        if self.finding.is_some() {
            self.maybe_help(help().into());
        }
    }

    pub(crate) fn maybe_help(self, help: Option<String>) {
        if let Some(help) = help {
            self.help(help);
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(finding) = self.finding.take() {
            self.report.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
