//! Suggestions of what was probably meant.

use rtun_core::similar::closest;

use crate::location::quote;

/// ``did you mean `x`?``, if there is something close.
pub fn did_you_mean<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    closest(written, names).map(|name| format!("did you mean `{name}`?"))
}

/// The closest name, or else the ones there are; for references to names of `group`.
pub fn name_of(written: &str, group: &str, names: &[&str]) -> String {
    match did_you_mean(written, names.iter().copied()) {
        Some(help) => help,
        None if names.is_empty() => format!("there are no {group} at all"),
        None => {
            let more = if names.len() > 8 { ", ..." } else { "" };
            let quoted: Vec<String> = names.iter().take(8).map(|name| quote(name)).collect();
            format!("{group}: {}{more}", quoted.join(", "))
        }
    }
}
