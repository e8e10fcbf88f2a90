//! Tables for terminals.

use std::fmt::Write;

/// Rows with their cells under each other, each column aligned as its letter says: `l`eft or `r`ight.
pub(crate) fn table(indent: &str, alignment: &str, rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max()
    };
    let widths: Vec<_> = (0..alignment.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = indent.to_owned();
        for ((cell, width), align) in row.iter().zip(&widths).zip(alignment.chars()) {
            let _ = match align {
                'r' => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
