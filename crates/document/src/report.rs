//! Where findings about one configuration are collected, and from where they are reported.

use std::{cell::RefCell, sync::Arc};

use crate::{
    findings::{Code, Finding, MAX_FINDINGS, Profile, Severity},
    location::{Position, SourceTexts},
};

/// Collects findings about the texts of one configuration.
#[derive(Debug, Clone)]
pub struct Report {
    profile: Profile,
    texts: RefCell<SourceTexts>,
    collected: RefCell<Collected>,
}

#[derive(Debug, Default, Clone)]
struct Collected {
    findings: Vec<Finding>,
    left_out: usize,
    left_out_error: bool,
}

impl Report {
    /// Without findings so far; what is refused depends on `profile`.
    pub fn new(profile: Profile) -> Self {
        Self::of_texts(profile, SourceTexts::default())
    }

    /// The same, with texts that positions already lie in.
    pub fn of_texts(profile: Profile, texts: SourceTexts) -> Self {
        Self { profile, texts: RefCell::new(texts), collected: RefCell::default() }
    }

    /// The texts so far.
    pub fn texts(&self) -> SourceTexts {
        self.texts.borrow().clone()
    }

    /// Adds a text that positions may lie in, and gives its number.
    pub fn add_text(&self, name: &str, text: &str) -> u32 {
        self.texts.borrow_mut().add(name, text)
    }

    /// The configuration as a whole.
    pub fn whole(&self) -> At<'_> {
        At { report: self, place: None, path: String::new() }
    }

    /// A value at `place`, whatever its key.
    pub fn at(&self, place: Position) -> At<'_> {
        At { place: Some(place), ..self.whole() }
    }

    /// Whether anything found so far is an error.
    pub fn failed(&self) -> bool {
        let collected = self.collected.borrow();
        collected.left_out_error || collected.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// The first error that was found in the text of this name: its line and message.
    pub fn error_in(&self, text: &str) -> Option<(u32, String)> {
        let collected = self.collected.borrow();
        let mut errors = collected.findings.iter().filter(|it| it.severity == Severity::Error);
        errors.find_map(|error| {
            let place = error.location.as_ref().filter(|place| &*place.file == text)?;
            Some((place.line, error.message.clone()))
        })
    }

    /// The findings in the order of their places.
    pub fn finish(self) -> Vec<Finding> {
        let texts = self.texts.into_inner();
        let Collected { mut findings, left_out, left_out_error } = self.collected.into_inner();
        findings.sort_by_key(|f| {
            let place = f.location.as_ref();
            place.map_or((usize::MAX, 0, 0), |l| (texts.position_of(&l.file), l.line, l.column))
        });
        if left_out > 0 {
            findings.push(Finding {
                code: None,
                severity: if left_out_error { Severity::Error } else { Severity::Warning },
                location: None,
                path: String::new(),
                message: format!("{left_out} more findings are not shown"),
                help: None,
            });
        }
        findings
    }
}

impl Collected {
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
}

/// What a finding is about: a place and a key, either may be missing.
#[derive(Debug, Clone)]
pub struct At<'r> {
    /// Where findings about it are collected.
    pub report: &'r Report,
    /// Where it was written.
    pub place: Option<Position>,
    /// The key, as in `services[0].addr`; empty for the whole.
    pub path: String,
}

impl<'r> At<'r> {
    /// Reports an error: the configuration is refused.
    pub fn error(&self, message: impl Into<String>) -> Draft<'r> {
        self.draft(None, Severity::Error, message.into())
    }

    /// Reports an error with its help; always `None`, for a reader that ends there.
    pub fn refuse<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.error(message).help(help);
        None
    }

    /// Reports a warning.
    pub fn warning(&self, message: impl Into<String>) -> Draft<'r> {
        self.draft(None, Severity::Warning, message.into())
    }

    /// Reports what is worth knowing.
    pub fn info(&self, message: impl Into<String>) -> Draft<'r> {
        self.draft(None, Severity::Info, message.into())
    }

    /// Reports a finding with a number, as serious as the profile makes it.
    pub fn coded(&self, code: Code, message: impl Into<String>) -> Draft<'r> {
        self.draft(Some(code), code.severity(self.report.profile), message.into())
    }

    fn draft(&self, code: Option<Code>, severity: Severity, message: String) -> Draft<'r> {
        let report = self.report;
        let mut collected = report.collected.borrow_mut();
        if !collected.has_room(severity) {
            collected.left_out += 1;
            collected.left_out_error |= severity == Severity::Error;
            return Draft { report, finding: None };
        }
        let location = self.place.map(|place| report.texts.borrow().locate(place));
        let path = self.path.clone();
        let finding = Finding { code, severity, location, path, message, help: None };
        Draft { report, finding: Some(finding) }
    }

    /// `file:line:column`, if it has a place.
    pub fn shown(&self) -> Option<String> {
        let place = self.place?;
        let file = self.report.texts.borrow().file(place);
        Some(format!("{file}:{}:{}", place.line, place.column))
    }

    /// What is written there, unless its line is very long.
    pub fn written(&self) -> Option<String> {
        self.report.texts.borrow().written(self.place?)
    }

    /// The text it stands in, by name, and its line there; `?` and 0 without a place.
    pub fn file_and_line(&self) -> (Arc<str>, u32) {
        let file = self.place.map(|place| self.report.texts.borrow().file(place));
        (file.unwrap_or_else(|| "?".into()), self.place.map_or(0, |place| place.line))
    }
}

/// A finding that is recorded when it goes out of scope, after its help was added.
#[derive(Debug)]
pub struct Draft<'r> {
    report: &'r Report,
    finding: Option<Finding>,
}

impl Draft<'_> {
    /// Adds what would be right.
    pub fn help(mut self, help: impl Into<String>) {
        if let Some(finding) = &mut self.finding {
            finding.help = Some(help.into());
        }
    }

    /// Like [`Draft::help`], where finding the help takes time: not done for findings that are left out.
    pub fn help_with<H: Into<Option<String>>>(self, help: impl FnOnce() -> H) {
        if self.finding.is_some() {
            self.maybe_help(help().into());
        }
    }

    /// Like [`Draft::help`], if there is one.
    pub fn maybe_help(self, help: Option<String>) {
        if let Some(help) = help {
            self.help(help);
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(finding) = self.finding.take() {
            self.report.collected.borrow_mut().push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
