//! A row of a table or list, and the line it stands on.

/// A row as a source of lines has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<T> {
    /// What it says.
    pub value: T,
    /// In its source, from 1.
    pub line: u32,
}
