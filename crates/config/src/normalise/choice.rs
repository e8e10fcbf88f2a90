//! Words that stand for a value, whatever their case.

use crate::{
    location::quote,
    schema::{Field, OneText},
    suggest,
    value::Cursor,
};

/// The value of the word in `field`, or the default; any other word is an error.
pub(super) fn one_of<T: Copy + Default>(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    words: &[(&str, T)],
) -> T {
    let Some(written) = at.read(field) else { return T::default() };
    find(&written, words).unwrap_or_else(|| {
        let message = format!("expected one of {}, found {}", all(words), quote(&written));
        let help = suggest::did_you_mean(&written, words.iter().map(|(word, _)| *word));
        at.place_of(field).error(message).maybe_help(help);
        T::default()
    })
}

/// The same; where GOST does not know a word, it starts with the default, and so do we.
pub(super) fn one_of_or_default<T: Copy + Default>(
    at: &Cursor<'_>,
    field: &Field<OneText>,
    words: &[(&str, T)],
) -> T {
    let Some(written) = at.read(field) else { return T::default() };
    find(&written, words).unwrap_or_else(|| {
        let message = format!("{} is not known, `{}` is taken", quote(&written), field.default());
        at.place_of(field).warning(message).help(format!("write one of {}", all(words)));
        T::default()
    })
}

/// The value of the word `written`.
pub(super) fn find<T: Copy>(written: &str, words: &[(&str, T)]) -> Option<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(written));
    found.map(|(_, value)| *value)
}

pub(super) fn all<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}
