//! Where a table's or list's rows are: in the configuration, in sources, or with a plugin.

use super::{
    plugins,
    sources::{self, TableKind},
};
use crate::{
    schema::{rows_from, sources_from},
    value::Cursor,
};
use rtun_settings::{LocatedRow, Named, Provider, Rows};

/// The object at `at` under its name, with whose rows it uses; `inline` are those the configuration has, which a plugin
/// replaces.
pub(super) fn named<T>(
    name: &str,
    at: &Cursor<'_>,
    kind: &TableKind,
    inline: Vec<LocatedRow<T>>,
) -> Named<T> {
    let plugin = at.filled(&rows_from::PLUGIN).filter(|_| kind.plugins);
    let plugin = plugin.and_then(|plugin| plugins::read(&plugin));
    let provider = match plugin {
        Some(plugin) => {
            not_used(at, kind);
            Provider::Plugin(plugin)
        }
        None => {
            let (sources, reload) = sources::read(at, kind);
            Provider::Rows(Rows { inline, sources, reload })
        }
    };
    Named { name: name.to_owned(), provider }
}

/// What a plugin replaces.
pub(super) fn not_used(at: &Cursor<'_>, kind: &TableKind) {
    const WHY: &str = "not used: the plugin answers instead";
    let TableKind { rows, what, .. } = kind;
    if let Some(unused) = at.child_named(rows).filter(|at| !at.value.is_unset()) {
        let help = format!("put them into another {what} without plugin");
        unused.key().warning(format!("these {rows} are {WHY}")).help(help);
    }
    let sources = sources::FIELDS.map(|field| field.any());
    for field in sources.iter().chain([&sources_from::RELOAD.any()]) {
        let Some(unused) = at.filled(field) else { continue };
        let help = format!("remove it, or put it into another {what}");
        unused.key().warning(format!("`{}` is {WHY}", field.name())).help(help);
    }
}
