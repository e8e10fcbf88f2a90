//! Where a table's or list's rows are: in the configuration, in sources, or with a plugin.

use super::{
    plugins,
    sources::{self, TableKind},
};
use crate::{findings::Report, schema::rows_from, value::Cursor};
use rtun_settings::{LocatedRow, Provider, Rows};

/// Whose rows the object at `at` uses; `inline` are those the configuration has, which a plugin replaces.
pub(super) fn provider<T>(
    at: &Cursor<'_>,
    kind: &TableKind,
    inline: Vec<LocatedRow<T>>,
    report: &mut Report,
) -> Provider<T> {
    let plugin = at.filled(&rows_from::PLUGIN).and_then(|plugin| plugins::read(&plugin, report));
    let Some(plugin) = plugin else {
        let (sources, reload) = sources::read(at, kind, report);
        return Provider::Rows(Rows { inline, sources, reload });
    };
    let others = [&rows_from::FILE, &rows_from::REDIS, &rows_from::HTTP].map(|field| field.name());
    for key in [kind.rows, rows_from::RELOAD.name()].into_iter().chain(others) {
        let Some(unused) = at.child_named(key).filter(|at| !at.value.is_unset()) else { continue };
        let (message, help) = match key == kind.rows {
            true => (
                format!("these {key} are"),
                format!("put them into another {} without plugin", kind.what),
            ),
            false => {
                (format!("`{key}` is"), format!("remove it, or put it into another {}", kind.what))
            }
        };
        let message = format!("{message} not used: the plugin answers instead");
        report.warning(unused.key(), message).help(help);
    }
    Provider::Plugin(plugin)
}

/// Whether all rows are in the configuration.
pub(crate) fn is_all_inline<T>(provider: &Provider<T>) -> bool {
    matches!(provider, Provider::Rows(rows) if rows.sources.is_empty())
}

/// Whether nobody has a row, whatever happens.
pub(super) fn is_empty<T>(provider: &Provider<T>) -> bool {
    matches!(provider, Provider::Rows(rows) if rows.sources.is_empty() && rows.inline.is_empty())
}
