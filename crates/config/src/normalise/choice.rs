//! Words that stand for a value, whatever their case.

use crate::{
    findings::Report,
    location::quote,
    schema::{Field, OneText},
    suggest,
    value::Cursor,
};

/// The value of the word in `field`; any other word is an error.
pub(super) fn one_of<T: Copy>(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    words: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    let written = at.read(field)?;
    let found = find(&written, words);
    if found.is_none() {
        let message = format!("expected one of {}, found {}", all(words), quote(&written));
        let help = suggest::did_you_mean(&written, words.iter().map(|(word, _)| *word));
        report.error(at.place_of(field), message).maybe_help(help);
    }
    found
}

/// The value of the word in `field`; where GOST does not know a word, it starts with the default, and so do we.
pub(super) fn one_of_or_default<T: Copy>(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    words: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    let written = at.read(field)?;
    let found = find(&written, words);
    if found.is_none() {
        let message = format!("{} is not known, `{}` is taken", quote(&written), field.default());
        report.warning(at.place_of(field), message).help(format!("write one of {}", all(words)));
    }
    found
}

fn find<T: Copy>(written: &str, words: &[(&str, T)]) -> Option<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(written));
    found.map(|(_, value)| *value)
}

fn all<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}
