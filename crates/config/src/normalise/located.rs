//! Rows with the file and line that they were written on.

use rtun_settings::LocatedRow;

use crate::report::At;

/// A place of the configuration that a row is from.
pub(super) trait Located {
    /// `value` with the file and line it was written on.
    fn row<T>(&self, value: T) -> LocatedRow<T>;
}

impl Located for At<'_> {
    fn row<T>(&self, value: T) -> LocatedRow<T> {
        let (file, line) = self.file_and_line();
        LocatedRow { value, file, line }
    }
}
